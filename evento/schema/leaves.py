"""Plain JSON to canonical Avro for the types without parts: numbers, text, bytes, enums and everything logical.

Each function takes a JSON value that is already parsed and raises Unfit when it does not say exactly one value of the type.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from evento.schema.binary import (
    BYTE,
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    LONG_MIN,
    encode_bytes,
    encode_double,
    encode_float,
    encode_long,
    twos_complement,
)
from evento.schema.logical import FORMS, Form, decimal_number, duration_bytes, uuid_number
from evento.schema.node import Enum, Fixed, Primitive
from evento.schema.unfit import Unfit

Encode: TypeAlias = Callable[[object], bytes]

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def encode_primitive(node: Primitive) -> Encode:
    """Return the function for a primitive type, with or without a logical one."""
    logical = node.logical
    match node.kind:
        case "null":
            return only_null(b"")
        case "boolean":
            return _boolean
        case "int" | "long" if logical:
            return _form(logical.name, FORMS[logical.name])
        case "int":
            return _int
        case "long":
            return _long
        case "float":
            return _float
        case "double":
            return _double
        case "bytes" if logical:
            return _decimal(logical.precision, logical.scale)
        case "bytes":
            return lambda value: encode_bytes(_base64(value))
        case "string":
            return _uuid if logical else encode_string


def only_null(encoded: bytes) -> Encode:
    """Return the function that takes null only."""

    def encode(value: object) -> bytes:
        if value is not None:
            raise Unfit("must be null", value)
        return encoded

    return encode


def _boolean(value: object) -> bytes:
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise Unfit("must be true or false", value)


def _int(value: object) -> bytes:
    if type(value) is not int:
        raise Unfit("must be a whole number, without a point", value)
    if not INT_MIN <= value <= INT_MAX:
        raise Unfit("must be a whole number of at most 32 bits", value)
    return encode_long(value)


def _long(value: object) -> bytes:
    if type(value) is not int:
        raise Unfit("must be a whole number, without a point", value)
    if not LONG_MIN <= value <= LONG_MAX:
        raise Unfit("must be a whole number of at most 64 bits", value)
    return encode_long(value)


def _number(value: object) -> float:
    """Return a JSON number as a float; a whole number must be exactly one."""
    if type(value) is float:
        return value
    if type(value) is int or isinstance(value, Decimal):
        try:
            number = float(value)
        except OverflowError:
            raise Unfit("must be a number in the range of a 64-bit float", value) from None
        if number != value and type(value) is int:
            raise Unfit("must be a whole number that a float holds exactly", value)
        return number
    if type(value) is str and value in _SPECIAL:
        return _SPECIAL[value]
    raise Unfit('must be a number, or "NaN", "Infinity" or "-Infinity"', value)


def _float(value: object) -> bytes:
    try:
        return encode_float(_number(value))
    except OverflowError:
        raise Unfit("must be a number in the range of a 32-bit float", value) from None


def _double(value: object) -> bytes:
    return encode_double(_number(value))


def encode_string(value: object) -> bytes:
    """Return text with its size in front. Raises Unfit."""
    if type(value) is not str:
        raise Unfit("must be text", value)
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise Unfit("must be valid Unicode text", ascii(value)) from None
    return encode_long(len(data)) + data


def _uuid(value: object) -> bytes:
    if type(value) is not str:
        raise Unfit("must be a UUID, as text", value)
    return encode_bytes(uuid_number(value).encode())


def _base64(value: object) -> bytes:
    if type(value) is not str:
        raise Unfit("must be bytes, as base64 text", value)
    try:
        return a2b_base64(value.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise Unfit("must be bytes, as base64 text with padding", value) from None


def _decimal(precision: int, scale: int) -> Encode:
    """Return the function for a decimal on bytes; the text that most write, 12.34 with all its digits, takes the short way."""
    point, after, chars_max = -scale - 1, -scale, (precision + 1 if scale else 0)

    def encode(value: object) -> bytes:
        if type(value) is str and len(value) <= chars_max and value[point:after] == ".":
            digits = value[:point] + value[after:]
            if digits.isdecimal() and digits.isascii():
                number = int(digits)
                size = (number.bit_length() >> 3) + 1
                return BYTE[size << 1] + number.to_bytes(size, "big")
        return encode_bytes(twos_complement(decimal_number(value, precision, scale)))

    return encode


def _form(name: str, form: Form) -> Encode:
    low, high, number_of = form.low, form.high, form.number

    def encode(value: object) -> bytes:
        if type(value) is not str:
            raise Unfit(f"must be a {name} as ISO 8601 text, such as {form.text(0)}", value)
        number = number_of(value)
        if not low <= number <= high:
            raise Unfit(f"must be in the range of {name}, {form.text(low)} to {form.text(high)}", value)
        return encode_long(number)

    return encode


def encode_fixed(node: Fixed) -> Encode:
    """Return the function for a fixed type, with or without a logical one."""
    size, logical = node.size, node.logical
    match logical.name if logical else None:
        case "decimal" if logical:
            precision, scale = logical.precision, logical.scale
            return lambda value: decimal_number(value, precision, scale).to_bytes(size, "big", signed=True)
        case "uuid":
            return lambda value: bytes.fromhex(_uuid(value)[1:].decode().replace("-", ""))
        case "duration":
            return duration_bytes

    def encode(value: object) -> bytes:
        data = _base64(value)
        if len(data) != size:
            raise Unfit(f"must be exactly {size} bytes, as base64 text; it is {len(data)}", value)
        return data

    return encode


def encode_enum(node: Enum) -> Encode:
    """Return the function for an enum."""
    table = {symbol: encode_long(index) for index, symbol in enumerate(node.symbols)}

    def encode(value: object) -> bytes:
        encoded = table.get(value) if type(value) is str else None
        if encoded is None:
            raise Unfit(f"must be one of {listed(node.symbols)}", value)
        return encoded

    return encode


def listed(names: Sequence[str]) -> str:
    """Return names as an error shows them, the first ten."""
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
