"""The guard against every hazard that was measured: each is refused quickly, with a path, and the process lives."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evento.errors import PayloadRefused
from evento.schema import parse_schema

REPOSITORY = Path(__file__).parents[2]
FUZZ_CPU_S = 60
FUZZ_SEED = int(os.environ.get("FUZZ_SEED", "1993"))
FUZZ_MEMORY_BYTES = 1 << 30


def zigzag(number: int) -> bytes:
    raw, out = (number << 1) ^ (number >> 63), bytearray()
    while raw > 127:
        out.append(raw & 127 | 128)
        raw >>= 7
    return bytes((*out, raw))


def logical(kind, name, **more):
    return {"type": kind, "logicalType": name, **more}


def array(items):
    return {"type": "array", "items": items}


SUIT = {"type": "enum", "name": "Suit", "symbols": ["A", "B"]}
DECIMAL = logical("bytes", "decimal", precision=4, scale=2)
FIXED_DECIMAL = {"type": "fixed", "name": "FD", "size": 4, "logicalType": "decimal", "precision": 4}
MAP = {"type": "map", "values": "int"}
CAPITALS = b"ABCDEF00-0000-0000-0000-000000000000"

HOSTILE = {
    "array count 2^60": (array("int"), zigzag(2**60)),
    "array count 2^31 with one item": (array("int"), zigzag(2**31) + b"\0"),
    "array block of 2^60, with a size": (array("int"), zigzag(-(2**60)) + zigzag(5)),
    "array count -2^63": (array("int"), zigzag(-(2**63)) + zigzag(5)),
    "array block with a wrong size": (array("int"), zigzag(-1) + zigzag(2) + b"\0\0"),
    "array without end": (array("int"), b"\x02\x02"),
    "map count 2^60": (MAP, zigzag(2**60)),
    "map with a key twice": (MAP, b"\x04\x02a\x02\x02a\x04\0"),
    "string of 2^40": ("string", zigzag(2**40)),
    "string of 2^62": ("string", zigzag(2**62)),
    "string of -1": ("string", zigzag(-1)),
    "string of -2^40": ("string", zigzag(-(2**40)) + b"abc"),
    "bytes cut": ("bytes", b"\x06ab"),
    "enum -1": (SUIT, zigzag(-1)),
    "enum too large": (SUIT, zigzag(2)),
    "enum 2^60": (SUIT, zigzag(2**60)),
    "union -1": (["null", "int"], zigzag(-1)),
    "union too large": (["null", "int"], zigzag(2)),
    "bool 7": ("boolean", b"\x07"),
    "int of 33 bits": ("int", zigzag(2**31)),
    "int of -33 bits": ("int", zigzag(-(2**31) - 1)),
    "long of 65 bits": ("long", b"\xff" * 9 + b"\x02"),
    "long in 11 bytes": ("long", b"\x80" * 10 + b"\x00"),
    "long in more bytes than needed": ("long", b"\x82\x00"),
    "varint of 4 kB": ("long", b"\xff" * 4096),
    "varint of 1 MB": ("long", b"\xff" * 1_000_000),
    "size as a varint of 1 MB": ("string", b"\xff" * 1_000_000),
    "bad UTF-8": ("string", b"\x02\xff"),
    "overlong UTF-8": ("string", b"\x04\xc0\x80"),
    "surrogate in UTF-8": ("string", b"\x06\xed\xa0\x80"),
    "bad UTF-8 in a key": (MAP, b"\x02\x02\xff\x02\0"),
    "decimal of 200 kB": (DECIMAL, zigzag(200_000) + b"\x7f" * 200_000),
    "decimal of no byte": (DECIMAL, b"\0"),
    "decimal of too many digits": (DECIMAL, b"\x04\x27\x10"),
    "negative decimal of too many digits": (DECIMAL, b"\x04\xd8\xf0"),
    "fixed decimal of too many digits": (FIXED_DECIMAL, b"\x00\x00\x27\x10"),
    "fixed cut": (FIXED_DECIMAL, b"\x00\x00\x27"),
    "date overflow": (logical("int", "date"), zigzag(2932897)),
    "date underflow": (logical("int", "date"), zigzag(-719163)),
    "time overflow": (logical("int", "time-millis"), zigzag(86_400_000)),
    "time negative": (logical("long", "time-micros"), zigzag(-1)),
    "timestamp overflow": (logical("long", "timestamp-millis"), zigzag(2**62)),
    "timestamp underflow": (logical("long", "local-timestamp-micros"), zigzag(-(2**63))),
    "bad UUID": (logical("string", "uuid"), b"\x06abc"),
    "float cut": ("float", b"\0\0\0"),
    "double cut": ("double", b"\0" * 7),
    "left over": ("int", b"\x02\x00"),
    "left over after null": ("null", b"\x00"),
    "nothing": ("int", b""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_are_refused_quickly_by_every_way_in(case):
    definition, payload = HOSTILE[case]
    schema = parse_schema({"type": "record", "name": "T", "fields": [{"name": "f", "type": definition}]})
    began = time.thread_time()
    for refuse in (schema.check, schema.to_json):
        with pytest.raises(PayloadRefused) as caught:
            refuse(payload)
        assert caught.value.details["path"].startswith("$")
    assert isinstance(schema.check_many([payload])[0], PayloadRefused)
    assert isinstance(schema.check_and_render([payload])[0], PayloadRefused)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_have_no_canonical_form(case):
    definition, payload = HOSTILE[case]
    with pytest.raises(PayloadRefused):
        parse_schema(definition).canonical(payload)


LEGAL_BUT_NOT_CANONICAL = {
    "array in two blocks": (array("int"), b"\x02\x02\x02\x04\x00", b"\x04\x02\x04\x00"),
    "array block with its size": (array("int"), b"\x03\x04\x02\x04\x00", b"\x04\x02\x04\x00"),
    "map not sorted": (MAP, b"\x04\x02b\x02\x02a\x04\x00", b"\x04\x02a\x04\x02b\x02\x00"),
    "map in blocks": (MAP, b"\x01\x06\x02b\x02\x02\x02a\x04\x00", b"\x04\x02a\x04\x02b\x02\x00"),
    "decimal with sign bytes": (DECIMAL, b"\x06\x00\x00\x64", b"\x02\x64"),
    "negative decimal with sign bytes": (DECIMAL, b"\x04\xff\x9c", b"\x02\x9c"),
    "float NaN with a payload": ("float", b"\x01\x00\xc0\x7f", b"\x00\x00\xc0\x7f"),
    "double NaN negative": ("double", b"\0" * 6 + b"\xf8\xff", b"\0" * 6 + b"\xf8\x7f"),
    "UUID in capitals": (logical("string", "uuid"), b"\x48" + CAPITALS, b"\x48" + CAPITALS.lower()),
}


@pytest.mark.parametrize("case", LEGAL_BUT_NOT_CANONICAL)
def test_legal_encodings_are_made_canonical_and_never_pass_as_they_are(case):
    definition, payload, canonical = LEGAL_BUT_NOT_CANONICAL[case]
    schema = parse_schema(definition)
    with pytest.raises(PayloadRefused, match="canonical"):
        schema.check(payload)
    assert schema.canonical(payload) == canonical
    schema.check(schema.canonical(payload))


FUZZ = """
import random, sys
from evento.errors import PayloadRefused
from evento.schema import parse_schema

def record(name, *types):
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": kind} for n, kind in enumerate(types)]}

decimal = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
inner = record("Inner", "int", ["null", "string"], {"type": "enum", "name": "E", "symbols": ["A", "B"]})
instant = {"type": "long", "logicalType": "timestamp-micros"}
schema = parse_schema(record("T", "string", decimal, instant, {"type": "array", "items": inner},
    {"type": "map", "values": {"type": "array", "items": "double"}}, "boolean", "bytes", "float", ["null", "Inner", "string"],
    {"type": "string", "logicalType": "uuid"}))
item = {"f0": 5, "f1": "x", "f2": "B"}
value = {"f0": "name", "f1": "-12345678901234.56", "f2": "2026-11-23T12:00:00Z", "f3": [item, item], "f4": {"a": [1.5], "b": []},
    "f5": True, "f6": "AAEC", "f7": 1.5, "f8": item, "f9": "123e4567-e89b-12d3-a456-426614174000"}
good = schema.from_json(value)
rng = random.Random(int(sys.argv[1]))
nasty = [0, 1, 2, 127, 128, 129, 254, 255]
passed = 0
for _ in range(int(sys.argv[2])):
    data = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        match rng.randint(0, 3):
            case 0: data[at] = rng.choice(nasty)
            case 1: data[at:at] = bytes(rng.choice(nasty) for _ in range(rng.randint(1, 12)))
            case 2: del data[at:at + rng.randint(1, 4)]
            case 3: data[at] ^= 1 << rng.randint(0, 7)
        if not data: break
    data = bytes(data)
    rendered = schema.check_and_render([data])[0]
    if not isinstance(rendered, PayloadRefused):
        assert schema.canonical(data) == data == schema.from_json(rendered)
        passed += 1
        continue
    try:
        schema.check(schema.canonical(data))
    except PayloadRefused:
        pass
print("passed", passed)
"""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (FUZZ_MEMORY_BYTES, FUZZ_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (FUZZ_CPU_S, FUZZ_CPU_S))


def test_mutated_payloads_neither_kill_nor_exhaust_the_process():
    command = [sys.executable, "-c", FUZZ, str(FUZZ_SEED), "20000"]
    done = subprocess.run(command, cwd=REPOSITORY, preexec_fn=_limit, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"seed {FUZZ_SEED}: {done.returncode} {done.stderr[-2000:]}"
    assert "passed" in done.stdout


def test_hostile_schemas_neither_kill_nor_exhaust_the_process():
    script = """
from evento.errors import SchemaRefused
from evento.schema import parse_schema
chain = {"n.R0": {"type": "record", "name": "n.R0", "fields": [{"name": "x", "type": "int"}]}}
for n in range(1, 200):
    fields = [{"name": "a", "type": f"n.R{n - 1}"}, {"name": "b", "type": f"n.R{n - 1}"}]
    chain[f"n.R{n}"] = {"type": "record", "name": f"n.R{n}", "fields": fields}
tree = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
for definition, named in (("[" * 10_000_000, {}), ('{"type":' * 1_000_000, {}), ("n.R24", chain), ("n.R199", chain), (tree, {})):
    try:
        parse_schema(definition, named=named)
    except SchemaRefused:
        continue
    raise SystemExit("taken in")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, preexec_fn=_limit, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
