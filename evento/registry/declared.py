"""Manifest documents to checked resources, each by itself: every broken field is named, with the rule and the value.

Schemas are parsed and directories read here; what refers to what, and what was deployed before, is for `evento.registry.checks`.
"""

import os
import re

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evento.errors import DeploymentRefused, SchemaRefused
from evento.model.resources import FunctionSpec, Resources, Scale
from evento.registry.documents import Document, Documents, Origin, Problem, ValuePath
from evento.registry.hints import hint
from evento.registry.models import (
    MANIFESTS,
    CommandManifest,
    EntityManifest,
    EventManifest,
    FunctionManifest,
    Manifest,
)
from evento.registry.revision import function_revision
from evento.schema import Schema, parse_schema, require_record

_SCHEMA_PATH: ValuePath = ("spec", "schema")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_STEPS = re.compile(rf"\$(?:{_STEP.pattern})*")
_SPOKEN = {
    "missing": "is required",
    "string_type": "must be text: quote it",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
}


class Declared(Struct, frozen=True):
    """One resource as a document declares it: with a schema, or a Function with `function`.

    One whose own fields are not right lacks them, and perhaps the manifest; it is still known by its name, so that what refers to
    it is no second problem.
    """

    kind: str
    namespace: str
    name: str
    entity: str
    origin: Origin
    manifest: Manifest | None = None
    schema: Schema | None = None
    function: FunctionSpec | None = None

    @property
    def title(self) -> str:
        """Return how a person calls it: `Command bank/WithdrawCash`."""
        return title(self.kind, self.namespace, self.name)


def title(kind: str, namespace: str, name: str) -> str:
    """Return how a person calls a resource."""
    return f"{kind} {namespace}/{name}"


def title_of(document: Document) -> str:
    """Return how a person calls what a document declares, as far as it can be known."""
    kind = document.content.get("kind")
    metadata = document.content.get("metadata")
    namespace, name = _text(metadata, "namespace"), _text(metadata, "name")
    return title(str(kind), namespace, name) if namespace and name else str(kind)


def declare(documents: Documents) -> tuple[list[Declared], list[Problem]]:
    """Return the resources that documents declare, and every problem that one of them has by itself. Reads functions' files."""
    declared: list[Declared] = []
    problems = list(documents.problems)
    for document in documents.documents:
        resource = _declare(document, problems)
        if resource is not None:
            declared.append(resource)
    return declared, problems


def _declare(document: Document, problems: list[Problem]) -> Declared | None:
    content, origin = document.content, document.origin
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in MANIFESTS:
        problems.append(origin.problem(_unknown(kind, list(MANIFESTS), "must be one of"), ("kind",), value=kind))
        return None
    try:
        manifest = MANIFESTS[kind].model_validate(content)
    except ValidationError as refused:
        return _broken(kind, document, refused, problems)
    entity = "" if isinstance(manifest, EntityManifest | FunctionManifest) else manifest.spec.entity
    named = Declared(kind, manifest.metadata.namespace, manifest.metadata.name, entity, origin, manifest)
    if isinstance(manifest, FunctionManifest):
        return replace(named, function=_function(manifest, named, problems))
    schema = None if document.schema_refused else _schema(manifest, named, problems)
    return replace(named, schema=schema)


def _broken(kind: str, document: Document, refused: ValidationError, problems: list[Problem]) -> Declared | None:
    for error in refused.errors(include_url=False):
        problems.append(_translated(MANIFESTS[kind], error, document.origin, title_of(document)))
    metadata = document.content.get("metadata")
    namespace, name = _text(metadata, "namespace"), _text(metadata, "name")
    if not (namespace and name):
        return None
    return Declared(kind, namespace, name, _text(document.content.get("spec"), "entity"), document.origin)


def _text(mapping: object, name: str) -> str:
    value = mapping.get(name) if isinstance(mapping, dict) else None
    return value if isinstance(value, str) else ""


def _translated(model: type[BaseModel], error: ErrorDetails, origin: Origin, resource: str) -> Problem:
    path: ValuePath = tuple(step for step in error["loc"] if step != "[key]")
    kind = error["type"]
    value = None if kind in ("missing", "extra_forbidden") or isinstance(error["input"], dict) else error["input"]
    if kind == "extra_forbidden":
        message = _unknown(path[-1], _fields(model, path[:-1]), "is not a field here; there are")
    elif kind == "literal_error":
        message = f"must be {error['ctx']['expected'].strip(chr(39))}"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    else:
        spoken = _SPOKEN.get(kind)
        message = spoken.format_map(error.get("ctx", {})) if spoken else error["msg"]
    return origin.problem(message, path, resource=resource, value=value)


def _fields(model: type[BaseModel], path: ValuePath) -> list[str]:
    """The names of the fields of the mapping at `path`."""
    for step in path:
        by_name = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        inner = by_name.get(str(step))
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown(given: object, known: list[str], rule: str) -> str:
    return f"{rule} {', '.join(known)}{hint(str(given), known)}"


def is_file_reference(given: object) -> bool:
    """Tell whether a manifest's schema is `{file: …}`."""
    return isinstance(given, dict) and set(given) == {"file"}


def schema_problem(refused: SchemaRefused, origin: Origin, resource: str, *, file: str = "") -> Problem:
    """Return the problem that a document's schema was refused, with the place inside the schema."""
    within = str(refused.details.get("path", ""))
    steps: ValuePath = ()
    if _STEPS.fullmatch(within):
        steps = tuple(name or int(number) for name, number in _STEP.findall(within))
    message = refused.message.removeprefix(f"{within}: ")
    path = (*_SCHEMA_PATH, *steps)
    return origin.problem(message, path, resource=resource, within="" if steps or within == "$" else within, value=file or None)


def _schema(manifest: EntityManifest | EventManifest | CommandManifest, named: Declared, problems: list[Problem]) -> Schema | None:
    given = manifest.spec.avro
    try:
        if is_file_reference(given):
            raise SchemaRefused("files are read where the manifest is; send the schema itself", path="$.file")
        return require_record(parse_schema(given))
    except SchemaRefused as refused:
        problems.append(schema_problem(refused, named.origin, named.title))
        return None


def _function(manifest: FunctionManifest, named: Declared, problems: list[Problem]) -> FunctionSpec | None:
    fields = manifest.spec
    scale, resources = fields.scale, fields.resources
    spec = FunctionSpec(
        namespace=named.namespace,
        name=named.name,
        command=tuple(fields.command),
        url=fields.url,
        image=fields.image,
        directory=fields.directory,
        env=dict(sorted(fields.env.items())),
        timeout_s=fields.timeout,
        start_s=fields.start,
        files=tuple(fields.files),
        scale=Scale(scale.least, scale.most, scale.idle, scale.concurrency) if scale else None,
        resources=Resources(resources.memory, resources.cpus, resources.processes) if resources else None,
        pull_always=fields.pull == "always",
    )
    if fields.command and not os.path.isabs(fields.directory):
        rule = (
            "must be an absolute path, once it has left the manifest's folder" if fields.directory else "is required with command"
        )
        value = fields.directory or None
        problems.append(named.origin.problem(rule, ("spec", "directory"), resource=named.title, value=value))
        return None
    try:
        revision = function_revision(spec)
    except DeploymentRefused as refused:
        path: ValuePath = ("spec", str(refused.details.get("field", "command")))
        problems.append(named.origin.problem(refused.message, path, resource=named.title))
        return None
    return replace(spec, revision=revision)
