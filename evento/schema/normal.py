"""From any legal Avro encoding to the canonical one, slowly and with the path of what is wrong.

Canonical is: numbers in as few bytes as can be; arrays and maps in one block; maps sorted by key; decimals in minimal two's
complement; one NaN; UUIDs in lower case. One value has one encoding, so equal states are equal bytes.
The quick guard is `evento.schema.skim`; this is what runs when that says no.
"""

from evento.schema.binary import (
    DOUBLE,
    FLOAT,
    INT_MAX,
    INT_MIN,
    encode_bytes,
    encode_double,
    encode_float,
    encode_long,
    read_long,
    twos_complement,
)
from evento.schema.logical import FORMS, uuid_number
from evento.schema.node import Array, Enum, Fixed, Map, Node, Primitive, Record, Union
from evento.schema.unfit import Unfit


def canonical_bytes(node: Node, data: bytes) -> bytes:
    """Return the canonical encoding of the value that `data` holds. Raises Unfit."""
    out, at = _value(node, data, 0)
    if at != len(data):
        raise Unfit(f"must end after {at} bytes; {len(data) - at} are left over")
    return out


def _value(node: Node, data: bytes, at: int) -> tuple[bytes, int]:
    match node:
        case Primitive():
            return _primitive(node, data, at)
        case Record():
            return _record(node, data, at)
        case Union():
            index = _index(data, at, len(node.branches), "type in the union")
            out, behind = _value(node.branches[index[0]], data, index[1])
            return encode_long(index[0]) + out, behind
        case Array():
            return _array(node, data, at)
        case Map():
            return _map(node, data, at)
        case Enum():
            index = _index(data, at, len(node.symbols), "symbol")
            return encode_long(index[0]), index[1]
        case Fixed():
            return _fixed(node, data, at)


def _primitive(node: Primitive, data: bytes, at: int) -> tuple[bytes, int]:
    match node.kind:
        case "null":
            return b"", at
        case "boolean":
            out, at = _take(data, at, 1)
            if out > b"\x01":
                raise Unfit("must be a boolean, written 0 or 1", out[0])
            return out, at
        case "int" | "long":
            return _integer(node, data, at)
        case "float":
            out, at = _take(data, at, 4)
            return encode_float(*FLOAT.unpack(out)), at
        case "double":
            out, at = _take(data, at, 8)
            return encode_double(*DOUBLE.unpack(out)), at
        case "string":
            text, at = _text(data, at)
            if node.logical:
                text = uuid_number(text)
            return encode_bytes(text.encode()), at
        case "bytes":
            out, at = _sized(data, at)
            return encode_bytes(_decimal(node, out) if node.logical else out), at


def _integer(node: Primitive, data: bytes, at: int) -> tuple[bytes, int]:
    number, at = _long(data, at)
    if node.kind == "int" and not INT_MIN <= number <= INT_MAX:
        raise Unfit("must fit in 32 bits", number)
    if node.logical:
        form = FORMS[node.logical.name]
        if not form.low <= number <= form.high:
            raise Unfit(f"must be in the range of {node.logical.name}, {form.text(form.low)} to {form.text(form.high)}", number)
    return encode_long(number), at


def _decimal(node: Primitive | Fixed, data: bytes) -> bytes:
    logical = node.logical
    if not logical:
        return data
    if not data:
        raise Unfit("must be a decimal of at least one byte")
    number = int.from_bytes(data, "big", signed=True)
    if abs(number) >= 10**logical.precision:
        raise Unfit(f"must be a decimal of at most {logical.precision} digits", data)
    return data if isinstance(node, Fixed) else twos_complement(number)


def _fixed(node: Fixed, data: bytes, at: int) -> tuple[bytes, int]:
    out, at = _take(data, at, node.size)
    return _decimal(node, out) if node.logical and node.logical.name == "decimal" else out, at


def _record(node: Record, data: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    for field in node.fields:
        try:
            part, at = _value(field.type, data, at)
        except Unfit as unfit:
            unfit.steps.append("." + field.name)
            raise
        parts.append(part)
    return b"".join(parts), at


def _array(node: Array, data: bytes, at: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        count, end, at = _block(data, at)
        if not count:
            break
        for _ in range(count):
            try:
                part, at = _value(node.items, data, at)
            except Unfit as unfit:
                unfit.steps.append(f"[{len(parts)}]")
                raise
            parts.append(part)
        _check_block(at, end)
    return b"".join((encode_long(len(parts)), *parts, b"\0" if parts else b"")), at


def _map(node: Map, data: bytes, at: int) -> tuple[bytes, int]:
    parts: dict[str, bytes] = {}
    while True:
        count, end, at = _block(data, at)
        if not count:
            break
        for _ in range(count):
            key, at = _text(data, at)
            if key in parts:
                raise Unfit("must have each key once", key)
            try:
                parts[key], at = _value(node.values, data, at)
            except Unfit as unfit:
                unfit.steps.append(f"[{key!r}]")
                raise
        _check_block(at, end)
    pairs = b"".join(encode_bytes(key.encode()) + parts[key] for key in sorted(parts))
    return encode_long(len(parts)) + pairs + (b"\0" if parts else b""), at


def _block(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Return (items in the block, where it says to end, place behind its head). An item takes at least one byte."""
    count, at = _long(data, at)
    end = None
    if count < 0:
        size, at = _long(data, at)
        count, end = -count, at + size
    if count > len(data) - at:
        raise Unfit(f"must not announce more items than bytes that follow, {len(data) - at}", count)
    return count, end, at


def _check_block(at: int, end: int | None) -> None:
    if end is not None and at != end:
        raise Unfit("must have blocks of the size that they announce")


def _index(data: bytes, at: int, size: int, what: str) -> tuple[int, int]:
    index, at = _long(data, at)
    if not 0 <= index < size:
        raise Unfit(f"must be the number of a {what}, 0 to {size - 1}", index)
    return index, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    out, at = _sized(data, at)
    try:
        return out.decode(), at
    except UnicodeDecodeError:
        raise Unfit("must be text in valid UTF-8", out) from None


def _sized(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _long(data, at)
    if size < 0:
        raise Unfit("must not have a negative size", size)
    return _take(data, at, size)


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if size > len(data) - at:
        raise Unfit(f"must have {size} bytes; the payload ends after {len(data) - at}")
    return data[at : at + size], at + size


def _long(data: bytes, at: int) -> tuple[int, int]:
    try:
        return read_long(data, at)
    except IndexError:
        raise Unfit("must not end in the middle of a value") from None
    except ValueError as error:
        raise Unfit(f"must be a number of at most 64 bits in as few bytes as can be ({error})") from None
