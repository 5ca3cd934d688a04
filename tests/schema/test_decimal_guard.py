"""The quick guard of decimals looks at two bytes where it may; it says the same as arithmetic does, at every length."""

from collections.abc import Iterator
from itertools import product

import pytest

from evento.errors import PayloadRefused
from evento.schema import Schema, parse_schema

EDGES = (0, 1, 127, 128, 254, 255)
BYTES_MAX = 17


def bodies() -> Iterator[bytes]:
    yield b""
    yield from (bytes((first,)) for first in range(256))
    for size, first, second, rest in product(range(2, BYTES_MAX + 1), EDGES, EDGES, (0, 255)):
        yield bytes((first, second)) + bytes((rest,)) * (size - 2)


def fits(body: bytes, precision: int) -> bool:
    number = int.from_bytes(body, "big", signed=True)
    size = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return len(body) == size and abs(number) < 10**precision


def passes(schema: Schema, payload: bytes) -> bool:
    try:
        schema.check(payload)
    except PayloadRefused:
        return False
    return True


@pytest.mark.parametrize("precision", [1, 2, 3, 4, 5, 9, 10, 18, 19, 20, 38])
def test_a_decimal_passes_if_it_is_minimal_and_within_its_precision(precision: int) -> None:
    schema = parse_schema({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": 1})
    for body in bodies():
        payload = bytes((len(body) * 2,)) + body
        assert passes(schema, payload) == fits(body, precision), payload
        assert not passes(schema, payload + b"\0")
        assert not passes(schema, payload[:-1])
