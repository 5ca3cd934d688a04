"""CustomResourceDefinitions of Evento's kinds, made from the models that check manifests, so that the two cannot differ.

A cluster takes *structural* schemas only: no references, no closed objects, a type everywhere. What the models say beyond that
(what refers to what, Avro) is checked when a manifest is deployed.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from evento.kubernetes.options import Object
from evento.registry.models import API_VERSION, MANIFESTS, ONE_OF, STANDS_WITH, FunctionFields

GROUP, _, VERSION = API_VERSION.partition("/")
_PLURALS = {"Entity": "entities", "Event": "events", "Command": "commands", "Function": "functions"}
# An Avro schema has a grammar of its own, which OpenAPI has no words for.
_AVRO: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "an Avro record"}
_KEPT = {
    "type",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "description",
}


def definitions() -> list[Object]:
    """Return one definition for each kind."""
    return [_definition(kind, model) for kind, model in sorted(MANIFESTS.items())]


def _definition(kind: str, model: type[BaseModel]) -> Object:
    plural = _PLURALS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "evento"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "categories": ["evento"],
            },
            "versions": [
                {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": _manifest_schema(model)}}
            ],
        },
    }


def _manifest_schema(model: type[BaseModel]) -> Object:
    fields = model.model_fields["spec"].annotation
    assert isinstance(fields, type) and issubclass(fields, BaseModel)  # noqa: S101 - each manifest has a model for its spec
    generated = fields.model_json_schema(schema_generator=_AsWritten)
    spec = _structural(generated, generated.get("$defs", {}))
    if "schema" in spec["properties"]:
        spec["properties"]["schema"] = _AVRO
    if fields is FunctionFields:
        spec["oneOf"] = [_alone(one) for one in ONE_OF]
    text: Object = {"type": "string"}
    return {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec},
    }


def _alone(one: str) -> Object:
    """Return the rule that this one of the three is given, and nothing that stands with another one."""
    others = [name for name in ONE_OF if name != one]
    others += [name for name, wanted in STANDS_WITH.items() if wanted != one] + (["env"] if one == "url" else [])
    return {"required": [one], "not": {"anyOf": [{"required": [name]} for name in others]}}


class _AsWritten(GenerateJsonSchema):
    """Makes the schema of what stands in a manifest, not of what it is read into."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        # Without words of its own it would be described as what comes out of it.
        raise TypeError(f"what {schema['function']} reads needs a WithJsonSchema beside it")


def _structural(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Object:
    """Return a schema in the few words that a cluster takes, references put in. Knows every word that the models bring."""
    if "$ref" in schema:
        return _structural(named[schema["$ref"].rpartition("/")[2]], named)
    if "anyOf" in schema:  # a model or nothing: a field that may be left out
        given = [each for each in schema["anyOf"] if each.get("type") != "null"]
        if len(given) != 1:
            raise TypeError(f"a field of several types has no structural schema: {schema}")
        return _structural(given[0], named)
    result = {word: value for word, value in schema.items() if word in _KEPT}
    if "items" in schema:
        result["items"] = _structural(schema["items"], named)
    if "properties" in schema:
        result["properties"] = {name: _structural(each, named) for name, each in schema["properties"].items()}
    elif values := _values(schema):
        result["additionalProperties"] = _structural(values, named)
    return result


def _values(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a mapping's values; that of its keys has no place in a structural one."""
    patterns = schema.get("patternProperties")
    if patterns:
        return next(iter(patterns.values()))  # type: ignore[no-any-return]
    values = schema.get("additionalProperties")
    return values if isinstance(values, Mapping) else None
