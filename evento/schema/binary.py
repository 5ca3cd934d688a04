"""Numbers as Avro writes them: zigzag variable-length integers, IEEE floats, two's complement. Knows nothing of schemas."""

import struct

INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
FLOAT = struct.Struct("<f")
DOUBLE = struct.Struct("<d")
# One of the many bit patterns of NaN stands for all of them, so that equal states are equal bytes.
FLOAT_NAN = b"\x00\x00\xc0\x7f"
DOUBLE_NAN = b"\x00\x00\x00\x00\x00\x00\xf8\x7f"

BYTE = tuple(bytes((n,)) for n in range(256))
_SHIFTS = (7, 14, 21, 28, 35, 42, 49, 56, 63)


def encode_long(number: int) -> bytes:
    """Return a number of at most 64 bits, zigzag encoded in as few bytes as can be."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < 128:
        return BYTE[rest]
    if rest < 16384:
        return BYTE[rest & 127 | 128] + BYTE[rest >> 7]
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def zigzag_tail(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return (raw zigzag number, place behind it) of a number whose first byte, already read, says that more follow.

    Raises ValueError for more than 64 bits or a number written longer than needed, IndexError at the end of the data.
    """
    raw = first - 128
    for shift in _SHIFTS:
        byte = data[at]
        at += 1
        if byte < 128:
            if not byte or (shift == 63 and byte > 1):
                break
            return raw + (byte << shift), at
        raw += (byte - 128) << shift
    raise ValueError("not a minimal number of at most 64 bits")


def zigzag_tail_int(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return what `zigzag_tail` does, and raise ValueError beyond 32 bits."""
    raw, at = zigzag_tail(data, at, first)
    if raw > 0xFFFFFFFF:
        raise ValueError("more than 32 bits")
    return raw, at


def size_tail(data: bytes, at: int, first: int) -> tuple[int, int]:
    """Return (twice the size, place behind it) for a first byte that is odd or over 127. Raises ValueError for a negative size."""
    raw, at = zigzag_tail(data, at, first) if first > 127 else (first, at)
    if raw & 1:
        raise ValueError("negative size")
    return raw, at


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Return (number, place behind it); raises as `zigzag_tail`."""
    raw = data[at]
    at += 1
    if raw > 127:
        raw, at = zigzag_tail(data, at, raw)
    return raw >> 1 ^ -(raw & 1), at


def encode_bytes(data: bytes) -> bytes:
    """Return data with its size in front."""
    return encode_long(len(data)) + data


def encode_float(number: float) -> bytes:
    """Return a 32-bit float, NaN in its one form. Raises OverflowError when it is too large."""
    return FLOAT.pack(number) if number == number else FLOAT_NAN


def encode_double(number: float) -> bytes:
    """Return a 64-bit float, NaN in its one form."""
    return DOUBLE.pack(number) if number == number else DOUBLE_NAN


def twos_complement(number: int) -> bytes:
    """Return a number in as few bytes of two's complement, big-endian, as can be; at least one."""
    return number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)
