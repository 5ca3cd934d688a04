"""Avro's binary encoding of what outcomes consist of, by hand: they are on the way of every Command, and of every restored one.

Writers return pieces; readers take the bytes and a place in them, and return the value and the place behind it. A reader may run
past the end without noticing: whoever reads a whole record compares the last place with its length. Raises IndexError, ValueError.
"""

from functools import lru_cache

from evento.schema.binary import encode_long

NULL = b"\x00"  # the first branch of a union, and false, and the end of an array
SOME = b"\x02"  # the second branch of a union
TRUE = b"\x01"
_SMALL = 8192  # numbers below need two bytes at most, and are looked up
_LONG_BYTES_MAX = 10
_LONG_BITS = 64

_LONGS = tuple(encode_long(number) for number in range(_SMALL))


def long(number: int) -> bytes:
    """Return a long."""
    return _LONGS[number] if 0 <= number < _SMALL else encode_long(number)


def time(time_us: int) -> bytes:
    """Return the long that a time is: of our centuries, its 56 bits are spread over 8 bytes, 7 each, in three steps."""
    bits = time_us << 1
    if not 1 << 49 <= bits < 1 << 56:
        return encode_long(time_us)
    bits = (bits & 0x0FFFFFFF) | (bits & 0xFFFFFFF0000000) << 4
    bits = (bits & 0x3FFF00003FFF) | (bits & 0xFFFC0000FFFC000) << 2
    bits = (bits & 0x7F007F007F007F) | (bits & 0x3F803F803F803F80) << 1
    return (bits | 0x80808080808080).to_bytes(8, "little")


def data(content: bytes) -> bytes:
    """Return bytes."""
    size = len(content)
    return (_LONGS[size] if size < _SMALL else encode_long(size)) + content


def text(content: str) -> bytes:
    """Return a string."""
    encoded = content.encode()
    size = len(encoded)
    return (_LONGS[size] if size < _SMALL else encode_long(size)) + encoded


word = lru_cache(maxsize=4096)(text)  # names of types and revisions: few, and there again and again


def optional_text(content: str | None) -> bytes:
    """Return a union of null and string."""
    return NULL if content is None else SOME + text(content)


def read_long(source: bytes, at: int) -> tuple[int, int]:
    """Read a long."""
    byte = source[at]
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number = shift = 0
    for place in range(at, at + _LONG_BYTES_MAX):
        byte = source[place]
        number |= (byte & 127) << shift
        if byte < 128:
            if number >> _LONG_BITS:
                break
            return (number >> 1) ^ -(number & 1), place + 1
        shift += 7
    raise ValueError("a number is too long")


def read_time(source: bytes, at: int) -> tuple[int, int]:
    """Read the long that a time is."""
    bits = int.from_bytes(source[at : at + 8], "little")
    if bits & 0x8080808080808080 != 0x80808080808080 or bits & 1:
        return read_long(source, at)
    bits &= 0x7F7F7F7F7F7F7F7F
    bits = (bits & 0x7F007F007F007F) | (bits & 0x7F007F007F007F00) >> 1
    bits = (bits & 0x3FFF00003FFF) | (bits & 0x3FFF00003FFF0000) >> 2
    bits = (bits & 0x0FFFFFFF) | (bits & 0x0FFFFFFF00000000) >> 4
    return bits >> 1, at + 8


def read_data(source: bytes, at: int) -> tuple[bytes, int]:
    """Read bytes."""
    size = source[at]
    if size & 129:
        size, begin = _read_size(source, at)
    else:
        size >>= 1
        begin = at + 1
    return source[begin : begin + size], begin + size


def read_text(source: bytes, at: int) -> tuple[str, int]:
    """Read a string."""
    size = source[at]
    if size & 129:
        size, begin = _read_size(source, at)
    else:
        size >>= 1
        begin = at + 1
    return source[begin : begin + size].decode(), begin + size


def read_optional_text(source: bytes, at: int) -> tuple[str | None, int]:
    """Read a union of null and string."""
    return read_text(source, at + 1) if read_some(source, at) else (None, at + 1)


def read_some(source: bytes, at: int) -> bool:
    """Return whether the union at this place, one byte long, is its second branch, and not null."""
    branch = source[at]
    if branch not in (0, 2):
        raise ValueError(f"a union has no branch {branch}")
    return branch == 2


def _read_size(source: bytes, at: int) -> tuple[int, int]:
    size, begin = read_long(source, at)
    if size < 0:
        raise ValueError("a size is negative")
    return size, begin
