"""Manifest documents to checked resources, each by itself: every broken field is named, with the rule and the value.

Schemas are parsed and directories read here; what refers to what, and what was deployed before, is `evento.registry.checks`' matter.
"""

import json
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evento.errors import DeploymentRefused, SchemaRefused
from evento.model.resources import FunctionSpec, Scale
from evento.registry.documents import Document, Documents, Origin, Path, Problem
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

_SCHEMA_PATH: Path = ("spec", "schema")
_SPOKEN = {
    "missing": "is required",
    "string_type": "must be text: quote it",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}


class Declared(Struct, frozen=True):
    """One resource as a document declares it. `schema` is None for a Function, and `function` for everything else.

    `sound` says that all its own fields are right; one that is not is still known by its name, so that what refers to it is no
    second problem.
    """

    kind: str
    namespace: str
    name: str
    entity: str
    origin: Origin
    manifest: Manifest | None = None
    schema: Schema | None = None
    function: FunctionSpec | None = None
    sound: bool = False

    @property
    def title(self) -> str:
        """Return how a person calls it: `Command bank/WithdrawCash`."""
        return title(self.kind, self.namespace, self.name)


def title(kind: str, namespace: str, name: str) -> str:
    """Return how a person calls a resource."""
    return f"{kind} {namespace}/{name}"


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
        function = _function(manifest, named, problems)
        return replace(named, function=function, sound=function is not None)
    schema = None if document.schema_refused else _schema(manifest, named, problems)
    return replace(named, schema=schema, sound=schema is not None)


def _broken(kind: str, document: Document, refused: ValidationError, problems: list[Problem]) -> Declared | None:
    metadata = document.content.get("metadata")
    spec = document.content.get("spec")
    namespace, name = (_text(metadata, "namespace"), _text(metadata, "name"))
    resource = title(kind, namespace, name) if namespace and name else kind
    for error in refused.errors(include_url=False):
        problems.append(_translated(MANIFESTS[kind], error, document.origin, resource))
    if not (namespace and name):
        return None
    return Declared(kind, namespace, name, _text(spec, "entity"), document.origin)


def _text(mapping: object, name: str) -> str:
    value = mapping.get(name) if isinstance(mapping, dict) else None
    return value if isinstance(value, str) else ""


def _translated(model: type[BaseModel], error: ErrorDetails, origin: Origin, resource: str) -> Problem:
    path: Path = tuple(step for step in error["loc"] if step != "[key]")
    kind = error["type"]
    value = None if kind in ("missing", "extra_forbidden") or isinstance(error["input"], dict) else error["input"]
    if kind == "extra_forbidden":
        message = _unknown(path[-1], _fields(model, path[:-1]), "is not a field here; there are")
    elif kind == "literal_error":
        message = f"must be {error['ctx']['expected'].strip(chr(39))}"
    elif kind == "value_error":
        message = str(error["ctx"]["error"])
    else:
        message = _SPOKEN.get(kind, error["msg"][:1].lower() + error["msg"][1:])
    return origin.problem(message, path, resource=resource, value=value)


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    """The names of the fields of the mapping at `path`."""
    for step in path:
        by_name = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        inner = by_name.get(str(step))
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown(given: object, known: list[str], rule: str) -> str:
    close = get_close_matches(str(given)[:64], known, 1)
    return f"{rule} {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")


def schema_definition(given: object) -> object:
    """Return the definition of a schema that a manifest gives as a mapping, a list or JSON text. Raises SchemaRefused."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaRefused(f"is not JSON: {error or 'nested too deep'}", path="") from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return mapping


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def is_file_reference(given: object) -> bool:
    """Tell whether a manifest's schema is `{file: …}`."""
    return isinstance(given, dict) and set(given) == {"file"}


def _schema(manifest: EntityManifest | EventManifest | CommandManifest, named: Declared, problems: list[Problem]) -> Schema | None:
    given = manifest.spec.avro
    try:
        if is_file_reference(given):
            raise SchemaRefused("files are read where the manifest is; send the schema itself", path="")
        schema = parse_schema(schema_definition(given))
        require_record(schema)
        return schema
    except SchemaRefused as refused:
        within = str(refused.details.get("path", ""))
        problems.append(named.origin.problem(refused.message, _SCHEMA_PATH, resource=named.title, within=within))
        return None


def _function(manifest: FunctionManifest, named: Declared, problems: list[Problem]) -> FunctionSpec | None:
    fields = manifest.spec
    scale = fields.scale
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
        scale=Scale(scale.least, scale.most, scale.idle) if scale else None,
    )
    if fields.command and not fields.directory:
        problems.append(named.origin.problem("is required with command", ("spec", "directory"), resource=named.title))
        return None
    try:
        revision = function_revision(spec)
    except DeploymentRefused as refused:
        path: Path = ("spec", str(refused.details.get("field", "command")))
        problems.append(named.origin.problem(refused.message, path, resource=named.title))
        return None
    return replace(spec, revision=revision)
