"""Defaults of record fields, as the specification writes them in JSON, to canonical Avro.

Not the plain JSON of people: bytes are text of code points up to U+00FF, dates are numbers, a union takes its first type.
"""

from collections.abc import Callable

from evento.schema.binary import INT_MAX, INT_MIN, LONG_MAX, LONG_MIN, encode_bytes, encode_double, encode_float, encode_long
from evento.schema.node import Array, Enum, Fixed, Map, Node, Primitive, Record, Union, branch_name
from evento.schema.normal import canonical_bytes
from evento.schema.unfit import Unfit

DEFAULT_BYTES_MAX = 64 * 1024


def encode_default(node: Node, value: object) -> bytes:
    """Return the canonical Avro of a default. Raises Unfit."""
    return canonical_bytes(node, _encode(node, value))


def _encode(node: Node, value: object) -> bytes:
    match node:
        case Primitive():
            return _primitive(node, value)
        case Fixed():
            data = _latin(value)
            if len(data) != node.size:
                raise Unfit(f"must have {node.size} characters, one for each byte", value)
            return data
        case Enum():
            if not isinstance(value, str) or value not in node.symbols:
                raise Unfit(f"must be one of {', '.join(node.symbols[:10])}", value)
            return encode_long(node.symbols.index(value))
        case Union():
            try:
                return encode_long(0) + _encode(node.branches[0], value)
            except Unfit as unfit:
                unfit.rule += (
                    f" (the default of a union must fit its first type, {branch_name(node.branches[0])}: put that one first)"
                )
                raise
        case Array():
            return _array(node, value)
        case Map():
            return _map(node, value)
        case Record():
            return _record(node, value)


def _primitive(node: Primitive, value: object) -> bytes:
    match node.kind, value:
        case "null", None:
            return b""
        case "boolean", bool():
            return b"\x01" if value else b"\x00"
        case (("int" | "long"), int()) if not isinstance(value, bool):
            low, high = (INT_MIN, INT_MAX) if node.kind == "int" else (LONG_MIN, LONG_MAX)
            if low <= value <= high:
                return encode_long(value)
        case (("float" | "double"), int() | float()) if not isinstance(value, bool):
            try:
                return encode_float(value) if node.kind == "float" else encode_double(value)
            except OverflowError:
                raise Unfit(f"must be in the range of {node.kind}", value) from None
        case "bytes", _:
            return encode_bytes(_latin(value))
        case "string", str():
            try:
                return encode_bytes(value.encode())
            except UnicodeEncodeError:
                raise Unfit("must be valid Unicode text", ascii(value)) from None
    raise Unfit(f"must be a default for {node.kind}", "null" if value is None else value)


def _latin(value: object) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode("latin-1")
    except UnicodeEncodeError:
        pass  # refused below like everything else that does not stand for bytes
    raise Unfit("must be text with one character, U+0000 to U+00FF, for each byte", value)


def _array(node: Array, value: object) -> bytes:
    if not isinstance(value, list):
        raise Unfit("must be a list", value)
    parts = [_step(f"[{index}]", _encode, node.items, item) for index, item in enumerate(value)]
    return _limited(b"".join((encode_long(len(parts)), *parts, b"\0" if parts else b"")))


def _map(node: Map, value: object) -> bytes:
    if not isinstance(value, dict):
        raise Unfit("must be an object", value)
    parts = [_primitive(_TEXT, key) + _step(f"[{key!r}]", _encode, node.values, value[key]) for key in sorted(value)]
    return _limited(b"".join((encode_long(len(parts)), *parts, b"\0" if parts else b"")))


def _record(node: Record, value: object) -> bytes:
    if not isinstance(value, dict):
        raise Unfit("must be an object", value)
    unknown = value.keys() - {field.name for field in node.fields}
    if unknown:
        raise Unfit(f"has no field {min(unknown)!r}")
    parts = []
    for field in node.fields:
        if field.name in value:
            parts.append(_step("." + field.name, _encode, field.type, value[field.name]))
        elif field.default is not None:
            parts.append(field.default)
        else:
            raise Unfit(f"must have the field {field.name!r}, which has no default of its own")
    return _limited(b"".join(parts))


def _limited(encoded: bytes) -> bytes:
    if len(encoded) > DEFAULT_BYTES_MAX:
        raise Unfit(f"must be a default of at most {DEFAULT_BYTES_MAX} bytes, with the defaults in it")
    return encoded


def _step(step: str, encode: Callable[[Node, object], bytes], node: Node, value: object) -> bytes:
    try:
        return encode(node, value)
    except Unfit as unfit:
        unfit.steps.append(step)
        raise


_TEXT = Primitive("string")
