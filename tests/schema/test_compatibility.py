"""Which changes of a schema keep older data readable, and what resolution makes of it."""

import io
import json

import fastavro
import pytest

from evento.errors import Unreadable
from evento.schema import incompatibilities, parse_schema, resolver


def record(*fields, name="T", **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name, kind, **more):
    return {"name": name, "type": kind, **more}


def enum(*symbols, **more):
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def fixed(size, **more):
    return {"type": "fixed", "name": "F", "size": size, **more}


def decimal(precision, scale, kind="bytes"):
    base = {"type": "bytes"} if kind == "bytes" else fixed(8)
    return {**base, "logicalType": "decimal", "precision": precision, "scale": scale}


def logical(kind, name):
    return {"type": kind, "logicalType": name}


def in_record(kind):
    return record(field("f", kind))


A, B, C = (record(field("x", "int"), name=name) for name in "ABC")
LONG_A = record(field("x", "long"), name="A")

# name: (writer, reader, a value of the writer, the same as the reader sees it)
READABLE = {
    "the same": (in_record("int"), in_record("int"), {"f": 1}, {"f": 1}),
    "a field with a default is new": (record(), record(field("f", "int", default=7)), {}, {"f": 7}),
    "an optional field is new": (record(), record(field("f", ["null", "int"], default=None)), {}, {"f": None}),
    "a field is gone": (record(field("a", "string"), field("f", "int")), in_record("int"), {"a": "x", "f": 1}, {"f": 1}),
    "fields in another order": (
        record(field("a", "string"), field("b", "int")),
        record(field("b", "int"), field("a", "string")),
        {"a": "x", "b": 1},
        {"b": 1, "a": "x"},
    ),
    "a field renamed with an alias": (
        record(field("old", "int")),
        record(field("f", "int", aliases=["old"])),
        {"old": 1},
        {"f": 1},
    ),
    "a record renamed with an alias": (record(name="Old"), record(aliases=["Old"]), {}, {}),
    "another namespace": (record(namespace="a"), record(namespace="b"), {}, {}),
    "int to long": (in_record("int"), in_record("long"), {"f": -5}, {"f": -5}),
    "int to float": (in_record("int"), in_record("float"), {"f": -5}, {"f": -5.0}),
    "int to double": (in_record("int"), in_record("double"), {"f": 300}, {"f": 300.0}),
    "long to float": (in_record("long"), in_record("float"), {"f": 2**40}, {"f": float(2**40)}),
    "long to double": (in_record("long"), in_record("double"), {"f": 2**40}, {"f": float(2**40)}),
    "float to double": (in_record("float"), in_record("double"), {"f": "NaN"}, {"f": "NaN"}),
    "string to bytes": (in_record("string"), in_record("bytes"), {"f": "ab"}, {"f": "YWI="}),
    "to a union": (in_record("int"), in_record(["null", "int"]), {"f": 1}, {"f": 1}),
    "to a union by promotion": (in_record("int"), in_record(["null", "string", "long"]), {"f": 1}, {"f": 1}),
    "to the same type in a union before a promoted one": (in_record("int"), in_record(["double", "int"]), {"f": 1}, {"f": 1}),
    "a union of one type to the type": (in_record(["int"]), in_record("int"), {"f": 1}, {"f": 1}),
    "a union grows": (in_record(["null", A]), in_record(["null", A, B]), {"f": {"x": 1}}, {"f": {"A": {"x": 1}}}),
    "a union in another order": (in_record(["null", "int"]), in_record(["int", "null"]), {"f": 1}, {"f": 1}),
    "records in a union by name": (in_record([A, B]), in_record([B, LONG_A]), {"f": {"A": {"x": 1}}}, {"f": {"A": {"x": 1}}}),
    "an enum grows": (in_record(enum("A", "B")), in_record(enum("A", "B", "C")), {"f": "B"}, {"f": "B"}),
    "an enum in another order": (in_record(enum("A", "B")), in_record(enum("B", "A")), {"f": "B"}, {"f": "B"}),
    "a symbol is gone, with a default": (in_record(enum("A", "B")), in_record(enum("A", default="A")), {"f": "B"}, {"f": "A"}),
    "items promoted": ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [1, -1], [1.0, -1.0]),
    "no items promoted": ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [], []),
    "values promoted": (
        {"type": "map", "values": "int"},
        {"type": "map", "values": "double"},
        {"a": 1, "ü": 2},
        {"a": 1.0, "ü": 2.0},
    ),
    "a record in a record": (
        in_record(record(field("x", "int"), field("y", "string"), name="I")),
        in_record(record(field("x", "long"), name="I")),
        {"f": {"x": 1, "y": "z"}},
        {"f": {"x": 1}},
    ),
    "a decimal gets more digits": (in_record(decimal(4, 2)), in_record(decimal(9, 2)), {"f": "12.34"}, {"f": "12.34"}),
    "an unknown logical type": (in_record(logical("int", "x")), in_record("int"), {"f": 1}, {"f": 1}),
}


@pytest.mark.parametrize("case", READABLE)
def test_readable_changes_read_older_data(case):
    writer, reader, value, seen = READABLE[case]
    old, new = parse_schema(writer), parse_schema(reader)
    payload = old.from_json(value)
    assert list(incompatibilities(reader=new, writer=old)) == []
    resolved = resolver(old, new)(payload)
    new.check(resolved)
    assert json.dumps(new.to_json(resolved)) == json.dumps(seen)


# fastavro takes the first type of a union that fits, even by promotion; Java prefers the same type to a promoted one, as we do.
AS_FASTAVRO = READABLE.keys() - {"to the same type in a union before a promoted one"}


@pytest.mark.parametrize("case", sorted(AS_FASTAVRO))
def test_resolution_agrees_with_fastavro(case):
    writer, reader, value, _ = READABLE[case]
    old, new = parse_schema(writer), parse_schema(reader)
    payload = old.from_json(value)
    theirs = fastavro.schemaless_reader(io.BytesIO(payload), json.loads(old.text), json.loads(new.text))
    ours = fastavro.schemaless_reader(io.BytesIO(resolver(old, new)(payload)), json.loads(new.text), None)
    assert ours == theirs or (repr(ours), repr(theirs)) == ("{'f': nan}",) * 2


UNREADABLE = {
    "a field without a default is new": (record(), in_record("int"), "$.f", "give it a default"),
    "a field renamed without an alias": (record(field("old", "int")), in_record("int"), "$.f", "or an alias"),
    "a record renamed": (record(name="Old"), record(), "$", "alias Old"),
    "long to int": (in_record("long"), in_record("int"), "$.f", "long was written"),
    "double to float": (in_record("double"), in_record("float"), "$.f", "double was written"),
    "bytes to string": (in_record("bytes"), in_record("string"), "$.f", "bytes was written"),
    "int to string": (in_record("int"), in_record("string"), "$.f", "cannot be read as string"),
    "optional to required": (in_record(["null", "int"]), in_record("int"), "$.f", "null was written"),
    "a type of a union is gone": (in_record(["null", A, B]), in_record(["null", A]), "$.f", "B was written"),
    "a symbol is gone": (in_record(enum("A", "B")), in_record(enum("A")), "$.f", "gone, B"),
    "fixed of another size": (in_record(fixed(4)), in_record(fixed(5)), "$.f", "4 bytes were written"),
    "a fixed decimal of another size": (in_record({**decimal(4, 2, "fixed"), "size": 8}), in_record(fixed(9)), "$.f", "8 bytes"),
    "a decimal of another scale": (in_record(decimal(9, 2)), in_record(decimal(9, 4)), "$.f", "scale 2"),
    "a decimal of fewer digits": (in_record(decimal(9, 2)), in_record(decimal(8, 2)), "$.f", "9 digits"),
    "a fixed decimal of another scale": (in_record(decimal(9, 2, "fixed")), in_record(decimal(9, 3, "fixed")), "$.f", "scale 2"),
    "bytes become a decimal": (in_record("bytes"), in_record(decimal(9, 2)), "$.f", "no logical type was written"),
    "a decimal becomes bytes": (in_record(decimal(9, 2)), in_record("bytes"), "$.f", "read as no logical type"),
    "millis become micros": (
        in_record(logical("long", "timestamp-millis")),
        in_record(logical("long", "timestamp-micros")),
        "$.f",
        "timestamp-millis was written",
    ),
    "a date becomes a timestamp": (
        in_record(logical("int", "date")),
        in_record(logical("long", "timestamp-micros")),
        "$.f",
        "date",
    ),
    "text becomes a UUID": (in_record("string"), in_record(logical("string", "uuid")), "$.f", "read as uuid"),
    "items": ({"type": "array", "items": "long"}, {"type": "array", "items": "int"}, "$[*]", "long was written"),
    "values, deep": (
        in_record({"type": "map", "values": A}),
        in_record({"type": "map", "values": {**A, "name": "Z"}}),
        "$.f[*]",
        "alias A",
    ),
    "a record in a union": (in_record(["null", LONG_A]), in_record(["null", A]), "$.f.x", "long was written"),
    "another kind": (in_record(A), in_record({"type": "map", "values": "int"}), "$.f", "A was written"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_changes_are_found_with_their_path(case):
    writer, reader, path, message = UNREADABLE[case]
    old, new = parse_schema(writer), parse_schema(reader)
    found = incompatibilities(reader=new, writer=old)
    assert [problem.path for problem in found] == [path]
    assert message in found[0].message
    with pytest.raises(Unreadable, match=message) as caught:
        resolver(old, new)
    assert caught.value.details["path"] == path


def test_every_problem_is_told_not_only_the_first():
    old = parse_schema(record(field("a", "long"), field("b", decimal(4, 2))))
    new = parse_schema(record(field("a", "int"), field("b", decimal(4, 3)), field("c", "int")))
    assert [problem.path for problem in incompatibilities(reader=new, writer=old)] == ["$.a", "$.b", "$.c"]


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (in_record("int"), in_record("int")),
        (in_record("int"), in_record("long")),
        (in_record(enum("A")), in_record(enum("A", "B"))),
        (in_record(["null", "int"]), in_record(["null", "int", "string"])),
    ],
)
def test_a_resolution_that_changes_no_byte_copies_none(writer, reader):
    old, new = parse_schema(writer), parse_schema(reader)
    payload = old.from_json({"f": "A" if "symbols" in old.text else 300})
    assert resolver(old, new)(payload) is payload


def test_a_damaged_payload_is_unreadable():
    writer, reader = (
        parse_schema(record(field("a", "string"), field("f", ["null", "int"]))),
        parse_schema(in_record(["null", "long", "string"])),
    )
    payload = writer.from_json({"a": "abc", "f": 1})
    for damaged in (payload[:-1], payload + b"\0", b"", b"\xff" * 12, payload[:-2] + b"\x01\x02", payload[:-2] + b"\x08\x02"):
        with pytest.raises(Unreadable):
            resolver(writer, reader)(damaged)
