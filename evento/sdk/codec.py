"""Payloads to objects and back: generated code for dataclasses, fastavro for dicts that are declared by a schema.

Both give the same three functions. Equal values give equal bytes: blocks are not split, maps are sorted.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from operator import itemgetter
from typing import Any

import fastavro

from evento.sdk.binary import CONSTANTS
from evento.sdk.compound import Record
from evento.sdk.errors import CodecError, describe
from evento.sdk.kinds import Kind
from evento.sdk.source import Source

# What generated code and fastavro raise on values or bytes that do not fit, a dataclass's own __post_init__ included.
_MISFITS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class Codec:
    """`encode` and `decode` raise CodecError; `normal` tells whether a value is exactly what decoding its bytes would make."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    normal: Callable[[Any], bool]


def record_codec(record: Record) -> Codec:
    """Return the codec of a dataclass."""
    constants = {**CONSTANTS, "new": object.__new__, "first": itemgetter(0), "MISFITS": _MISFITS}
    return Codec(_encoder(record, constants), _decoder(record, constants), _tester(record, constants))


def _encoder(record: Record, constants: dict[str, Any]) -> Callable[[Any], bytes]:
    def explain(value: Any, error: Exception) -> CodecError:
        return CodecError(_fault(record, value, record.label) or describe(error))

    out = Source("encode(x)", {**constants, "explain": explain})
    with out.block("try:"):
        pieces = record.encode(out, "x")
        out.line(f"return join(({', '.join(pieces)},))" if pieces else "return b''")
    with out.block("except MISFITS as error:"):
        out.line("raise explain(x, error) from None")
    return out.compile(f"{record.label}.encode")


def _decoder(record: Record, constants: dict[str, Any]) -> Callable[[bytes], Any]:
    def explain(size: int, error: Exception) -> CodecError:
        return CodecError(f"{size} bytes are not Avro of {record.label}: {describe(error)}")

    out = Source("decode(b)", {**constants, "explain": explain})
    with out.block("try:"):
        out.line("p = 0")
        value = out.assign(record.decode(out))
        with out.block("if p != len(b):"):
            out.line("refuse(f'they end at {len(b)}, the value at {p}')")
        out.line(f"return {value}")
    with out.block("except MISFITS as error:"):
        out.line("raise explain(len(b), error) from None")
    return out.compile(f"{record.label}.decode")


def _tester(record: Record, constants: dict[str, Any]) -> Callable[[Any], bool]:
    out = Source("normal(x)", constants)
    record.test(out, "x")
    out.line("return True")
    return out.compile(f"{record.label}.normal")


def _fault(kind: Kind, value: Any, path: str) -> str | None:
    """Find the field that does not fit: the slow way, once it is known that one does not."""
    if isinstance(kind, Record) and isinstance(value, kind.cls):
        faults = (_fault(field.kind, getattr(value, field.name, None), f"{path}.{field.name}") for field in kind.fields)
        return next((fault for fault in faults if fault), None)
    out = Source("encode(x)", {**CONSTANTS, "first": itemgetter(0)})
    out.line(f"return ({', '.join(kind.encode(out, 'x'))},)")
    try:
        b"".join(out.compile(path)(value))
    except _MISFITS:
        return f"{path}: {type(value).__name__} where the schema has {kind.label}, or out of its range"
    return None


def dict_codec(cls: type[dict[str, Any]], schema: Any, label: str) -> Codec:
    """Return the codec of a dict class that is declared by an Avro schema."""
    parsed = fastavro.parse_schema(schema, _write_hint=False)

    def encode(value: Any) -> bytes:
        out = BytesIO()
        try:
            if not isinstance(value, dict):
                raise TypeError(f"{type(value).__name__} is not a dict")
            fastavro.schemaless_writer(out, parsed, _sorted(value), strict_allow_default=True)
        except _MISFITS as error:
            raise CodecError(f"{label}: {describe(error)}") from None
        return out.getvalue()

    def decode(payload: bytes) -> Any:
        source = BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(source, parsed, None)
            if source.tell() != len(payload):
                raise ValueError("bytes follow the value")
        except _MISFITS as error:
            raise CodecError(f"{len(payload)} bytes are not Avro of {label}: {describe(error)}") from None
        return cls(value)  # type: ignore[arg-type]

    return Codec(encode, decode, lambda value: False)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
