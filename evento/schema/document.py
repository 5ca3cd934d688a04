"""A schema as a document, before anybody understands it: size, depth and shape, measured without recursion.

What passes here can be handed to any parser. Knows JSON and nothing of Avro.
"""

import json
import math
import re

from evento.errors import SchemaRefused

SCHEMA_BYTES_MAX = 64 * 1024
SCHEMA_DEPTH_MAX = 32
SCHEMA_PARTS_MAX = 16 * 1024

_NOT_A_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[^\[\]{}"]+', re.DOTALL)


def read_document(definition: object) -> object:
    """Return a definition (JSON text, or what a parser of JSON or YAML made of it) as plain JSON. Raises SchemaRefused."""
    document = _parsed(definition) if isinstance(definition, str) and definition.lstrip()[:1] in ("{", "[", '"') else definition
    _check_shape(document)
    return document


def write_document(document: object) -> str:
    """Return a document as compact JSON that `read_document` would take. Raises SchemaRefused when it would not."""
    _check_shape(document)
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise SchemaRefused("the schema must be valid Unicode text", path="$") from None
    if size > SCHEMA_BYTES_MAX:
        raise SchemaRefused(
            f"the schema must have at most {SCHEMA_BYTES_MAX} bytes of JSON with its named types, it has {size}", path="$"
        )
    return text


def _parsed(text: str) -> object:
    if len(text) > SCHEMA_BYTES_MAX or len(text.encode(errors="surrogatepass")) > SCHEMA_BYTES_MAX:
        raise SchemaRefused(f"the schema must have at most {SCHEMA_BYTES_MAX} bytes of JSON", path="$")
    _check_brackets(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaRefused(f"the schema must be valid JSON: {error}", path="$") from None


def _check_brackets(text: str) -> None:
    depth = 0
    for bracket in _NOT_A_BRACKET.sub("", text):
        depth += 1 if bracket in "[{" else -1
        if depth > SCHEMA_DEPTH_MAX:
            raise SchemaRefused(f"the schema must be nested at most {SCHEMA_DEPTH_MAX} deep", path="$")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice in one object")
    return members


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _check_shape(document: object) -> None:
    """Walk the document, which may be a YAML loader's graph with circles and shared parts, until something is too much."""
    todo: list[tuple[object, str, int]] = [(document, "$", 1)]
    for _ in range(SCHEMA_PARTS_MAX):
        if not todo:
            return
        part, path, depth = todo.pop()
        if isinstance(part, dict | list) and depth > SCHEMA_DEPTH_MAX:
            raise SchemaRefused(f"{path}: the schema must be nested at most {SCHEMA_DEPTH_MAX} deep", path=path)
        if isinstance(part, dict):
            if not all(isinstance(name, str) for name in part):
                raise SchemaRefused(f"{path}: every name must be text", path=path)
            todo += [(item, f"{path}.{name[:60]}", depth + 1) for name, item in part.items()]
        elif isinstance(part, list):
            todo += [(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(part)]
        elif not (part is None or isinstance(part, str | bool | int | float)) or (
            isinstance(part, float) and not math.isfinite(part)
        ):
            raise SchemaRefused(f"{path}: must be JSON, not a {type(part).__name__}; quote it", path=path)
    raise SchemaRefused(f"the schema must have at most {SCHEMA_PARTS_MAX} parts", path="$")
