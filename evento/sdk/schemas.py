"""From a declared class to its Avro schema and codec: derived from a dataclass, or given as `.avsc`."""

import json
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import fastavro

from evento.sdk.adopt import adopt
from evento.sdk.codec import Codec, dict_codec, record_codec
from evento.sdk.errors import DeclarationError, describe
from evento.sdk.kinds import Scope
from evento.sdk.types import record_of

# A path to an .avsc file (relative to the file of the declaring module), or the schema itself as text or parsed.
SchemaSource = Path | str | dict[str, Any]


def declared(cls: type, name: str, owner: tuple[str, str], source: SchemaSource | None) -> tuple[Any, Codec]:
    """Return the schema and codec of a declared class.

    `owner` is the namespace and the Entity ("" for an Entity itself): the Avro name of a Command or event is that of
    `bank.checking.WithdrawCash`, so that two Entities may have Commands of one name. Raises DeclarationError.
    """
    namespace, entity = owner
    base = namespace.replace("-", "_")
    schema = None if source is None else _read(source, cls)
    if not is_dataclass(cls):
        if schema is None:
            raise DeclarationError(f"{cls.__name__}: a dict needs its schema: schema=…")
        return schema, _checked(cls, schema, lambda: dict_codec(cls, schema, name))
    record = record_of(cls, name, f"{base}.{entity.lower()}" if entity else base, base)
    if schema is not None:
        adopt(record, schema)
    else:
        schema = record.schema(Scope())
    return schema, _checked(cls, schema, lambda: record_codec(record))


def _checked(cls: type, schema: Any, make: Any) -> Codec:
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise DeclarationError(f"{cls.__name__}: its schema must be a record")
    try:
        fastavro.parse_schema(schema, _write_hint=False)
    except (fastavro.schema.SchemaParseException, ValueError, TypeError, KeyError) as error:
        raise DeclarationError(f"{cls.__name__}: Avro refuses the schema: {describe(error)}") from error
    codec: Codec = make()
    return codec


def _read(source: SchemaSource, cls: type) -> Any:
    if isinstance(source, dict):
        return source
    try:
        if isinstance(source, Path):
            module = getattr(sys.modules.get(cls.__module__), "__file__", None)
            source = (Path(module).parent / source if module else source).read_text("utf-8")
        return json.loads(source)
    except (OSError, ValueError) as error:
        raise DeclarationError(f"{cls.__name__}: its schema cannot be read: {describe(error)}") from error
