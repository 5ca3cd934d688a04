"""Avro's binary primitives, as far as generated codecs call them; the short cases stand in the generated code itself."""

import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any

LONG_MAX = 2**63 - 1
LONG_MIN = -(2**63)
_VARINT_BYTES_MAX = 10
_DAYS_TO_EPOCH = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Wide enough for any decimal that the platform admits (38 digits); never the thread's own context, which user code may change.
_WIDE = Context(prec=80)


def long_bytes(value: int) -> bytes:
    """Return `value` as a zigzag varint."""
    if not LONG_MIN <= value <= LONG_MAX:
        raise ValueError(f"{value} does not fit 64 bits")
    rest = value << 1 if value >= 0 else ~(value << 1)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# Most lengths, union indexes and small numbers: looked up instead of computed. LENGTHS[n] for 0 ≤ n < 1024.
LENGTHS = tuple(long_bytes(n) for n in range(1024))


def length_bytes(size: int) -> bytes:
    """Return the prefix of a string, array or map of `size`."""
    return LENGTHS[size] if size < len(LENGTHS) else long_bytes(size)


def read_long(source: bytes, position: int) -> tuple[int, int]:
    """Return the varint at `position` and where it ends. Raises IndexError, ValueError."""
    value = shift = 0
    while True:
        byte = source[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift >= 7 * _VARINT_BYTES_MAX:
            raise ValueError("a number of more than 10 bytes")
    if value >> 64:
        raise ValueError("a number of more than 64 bits")
    return (value >> 1) ^ -(value & 1), position


def read_length(source: bytes, position: int) -> tuple[int, int]:
    """Return the length or index at `position` and where it ends. Raises IndexError, ValueError."""
    value, end = read_long(source, position)
    if value < 0:
        raise ValueError("a negative length or index")
    return value, end


def read_block(source: bytes, position: int) -> tuple[int, int]:
    """Return the item count of an array or map block (0: the last) and where its items begin."""
    count, position = read_long(source, position)
    if count < 0:
        _, position = read_long(source, position)
        count = -count
    return count, position


def decimal_bytes(value: Decimal, scale: int, bound: int) -> bytes:
    """Return the unscaled value, big-endian. Raises ValueError if it is not below `bound`, or has more than `scale` decimals."""
    scaled = _WIDE.scaleb(value, scale)
    unscaled = int(scaled)
    if unscaled != scaled or not -bound < unscaled < bound:
        raise ValueError("too many digits")
    return unscaled.to_bytes(((unscaled if unscaled >= 0 else ~unscaled).bit_length() + 8) >> 3, "big", signed=True)


def datetime_micros(value: datetime) -> int:
    """Return microseconds since the epoch. Raises TypeError for a datetime without a time zone."""
    return (value - _EPOCH) // _MICROSECOND


def read_datetime(micros: int) -> datetime:
    """Return the moment, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def date_days(value: date) -> int:
    """Return days since the epoch. Raises TypeError for a datetime, which is a date by inheritance only."""
    if type(value) is not date:
        raise TypeError("not a date")
    return value.toordinal() - _DAYS_TO_EPOCH


def read_date(days: int) -> date:
    """Return the day."""
    return date.fromordinal(days + _DAYS_TO_EPOCH)


def time_micros(value: time) -> int:
    """Return microseconds since midnight. Raises TypeError for a time with a zone."""
    if value.tzinfo is not None:
        raise TypeError("a time of day with a time zone")
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def read_time(micros: int) -> time:
    """Return the time of day."""
    seconds, micro = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return time(hour, minute, second, micro)


def refuse(what: str) -> Any:
    """Raise ValueError; an expression, so that generated code can use it inside of one."""
    raise ValueError(what)


CONSTANTS: dict[str, Any] = {
    "LENGTHS": LENGTHS,
    "length_bytes": length_bytes,
    "long_bytes": long_bytes,
    "read_long": read_long,
    "read_length": read_length,
    "read_block": read_block,
    "decimal_bytes": decimal_bytes,
    "datetime_micros": datetime_micros,
    "read_datetime": read_datetime,
    "date_days": date_days,
    "read_date": read_date,
    "time_micros": time_micros,
    "read_time": read_time,
    "refuse": refuse,
    "wide_scaleb": _WIDE.scaleb,
    "wide_multiply": _WIDE.multiply,
    "from_bytes": int.from_bytes,
    "NAN": float("nan"),
    "join": b"".join,
    "Decimal": Decimal,
    "UTC": UTC,
    "datetime": datetime,
    "date": date,
    "time": time,
    "pack_double": struct.Struct("<d").pack,
    "read_double": struct.Struct("<d").unpack_from,
    "pack_float": struct.Struct("<f").pack,
    "read_float": struct.Struct("<f").unpack_from,
}
