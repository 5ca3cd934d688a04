"""What schemas are taken in, and that each refusal names the place and what to do."""

import json
import subprocess
import sys
import time

import pytest

from evento.errors import SchemaRefused
from evento.schema import incompatibilities, parse_schema, require_record


def record(*fields, name="T", **more):
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(kind, name="f", **more):
    return {"name": name, "type": kind, **more}


def fixed(size=4, name="F", **more):
    return {"type": "fixed", "name": name, "size": size, **more}


def nested(levels):
    made = "int"
    for _ in range(levels):
        made = {"type": "array", "items": made}
    return made


def doubling(levels):
    """Records each of which contains the one before twice: few bytes, 2^levels types."""
    shared = {"n.R0": record(field("int"), name="R0", namespace="n")}
    for level in range(1, levels):
        before = f"n.R{level - 1}"
        shared[f"n.R{level}"] = record(field(before, "a"), field(before, "b"), name=f"R{level}", namespace="n")
    return shared


def decimal(precision, scale=0, **more):
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale, **more}


REFUSED = {
    "no type": ({"name": "T"}, "$", "with `type`"),
    "unknown type": (record(field("strin")), "$.fields[0].type", "there is no strin"),
    "number for a type": (7, "$", "name of a type"),
    "type in a type": ({"type": {"type": "int"}}, "$.type", "outer object"),
    "unknown kind with attributes": ({"type": "list", "items": "int"}, "$.type", "one of Avro's types"),
    "name with a digit first": (record(name="9Q"), "$.name", "must be a name"),
    "no name": ({"type": "record", "fields": []}, "$.name", "must be a name"),
    "name of a primitive": (record(name="int"), "$.name", "must not be the name"),
    "name of a primitive with a namespace": (record(name="bank.string"), "$.name", "must not be the name"),
    "name not ASCII": (record(name="Größe"), "$.name", "must be a name"),
    "bad namespace": (record(namespace="a..b"), "$.namespace", "joined by dots"),
    "long name": (record(name="A" * 256), "$.name", "at most 255"),
    "field with a dash": (record(field("int", "a-b")), "$.fields[0].name", "must be a name"),
    "field without name": (record({"type": "int"}), "$.fields[0].name", "must be a name"),
    "field without type": (record({"name": "a"}), "$.fields[0]", "must have `type`"),
    "field that is no object": (record("a"), "$.fields[0]", "must be an object"),
    "fields missing": ({"type": "record", "name": "T"}, "$.fields", "must be a list"),
    "field twice": (record(field("int"), field("string")), "$.fields[1].name", "once"),
    "alias of another field": (record(field("int", "a"), field("int", "b", aliases=["a"])), "$.fields[1].aliases", "another field"),
    "alias twice": (record(field("int", "a", aliases=["c"]), field("int", "b", aliases=["c"])), "$.fields[1].aliases", "alias"),
    "alias no name": (record(field("int", aliases=["a b"])), "$.fields[0].aliases", "list of names"),
    "type alias no name": (record(aliases=["a-b"]), "$.aliases", "list of names"),
    "order": (record(field("int", order="up")), "$.fields[0].order", "ascending"),
    "logical type beside type": (record(field("int", logicalType="date")), "$.fields[0]", "inside `type`"),
    "too many fields": (record(*[field("int", f"f{n}") for n in range(1025)]), "$.fields", "at most 1024"),
    "too many symbols": ({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(1025)]}, "$.symbols", "at most 1024"),
    "symbol twice": ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "$.symbols", "once"),
    "no symbol": ({"type": "enum", "name": "E", "symbols": []}, "$.symbols", "list of names"),
    "symbol no name": ({"type": "enum", "name": "E", "symbols": ["a-b"]}, "$.symbols", "list of names"),
    "symbols as YAML 1.1 reads NO": ({"type": "enum", "name": "E", "symbols": [False]}, "$.symbols", "list of names"),
    "enum default": ({"type": "enum", "name": "E", "symbols": ["A"], "default": "B"}, "$.default", "one of the symbols"),
    "empty union": ([], "$", "at least one"),
    "union in a union": (["null", ["int"]], "$[1]", "union inside a union"),
    "type twice in a union": (["int", "int"], "$[1]", "repeat"),
    "int twice by logical type": (["int", {"type": "int", "logicalType": "date"}], "$[1]", "repeat"),
    "two maps in a union": ([{"type": "map", "values": "int"}, {"type": "map", "values": "long"}], "$[1]", "repeat"),
    "array without items": ({"type": "array"}, "$", "`items`"),
    "array of null": ({"type": "array", "items": "null"}, "$.items", "zero bytes"),
    "map of null": ({"type": "map", "values": "null"}, "$.values", "zero bytes"),
    "array of empty record": ({"type": "array", "items": record()}, "$.items", "zero bytes"),
    "array of record of nulls": ({"type": "array", "items": record(field("null"))}, "$.items", "zero bytes"),
    "fixed 0": (fixed(0), "$.size", "must be 1"),
    "fixed negative": (fixed(-1), "$.size", "must be 1"),
    "fixed huge": (fixed(2**40), "$.size", "must be 1"),
    "fixed true": (fixed(True), "$.size", "must be 1"),
    "recursive": (record(field(["null", "T"])), "$.fields[0].type[1]", "recursive"),
    "recursive through an array": (record(field({"type": "array", "items": "T"})), "$.fields[0].type.items", "recursive"),
    "defined twice": (record(field(fixed(), "a"), field(fixed(), "b")), "$.fields[1].type.name", "defined once"),
    "used before it is defined": (record(field("F", "a"), field(fixed(), "b")), "$.fields[0].type", "no F"),
    "decimal without precision": ({"type": "bytes", "logicalType": "decimal"}, "$.precision", "1 to 38"),
    "decimal of 39 digits": (decimal(39), "$.precision", "1 to 38"),
    "decimal scale over precision": (decimal(4, 5), "$.scale", "0 to the precision"),
    "decimal scale negative": (decimal(4, -1), "$.scale", "0 to the precision"),
    "decimal on string": ({"type": "string", "logicalType": "decimal", "precision": 4}, "$.logicalType", "bytes or fixed"),
    "decimal on fixed too small": (fixed(1, logicalType="decimal", precision=3), "$.precision", "fit in 1 bytes"),
    "decimal on fixed too large": (fixed(33, logicalType="decimal", precision=3), "$.size", "at most 32"),
    "big-decimal": ({"type": "bytes", "logicalType": "big-decimal"}, "$.logicalType", "use decimal"),
    "date on long": ({"type": "long", "logicalType": "date"}, "$.logicalType", "stand on int"),
    "timestamp on string": ({"type": "string", "logicalType": "timestamp-micros"}, "$.logicalType", "stand on long"),
    "uuid on fixed 8": (fixed(8, logicalType="uuid"), "$.logicalType", "size 16"),
    "duration on fixed 16": (fixed(16, logicalType="duration"), "$.logicalType", "size 12"),
    "date on a record": (record(logicalType="date"), "$.logicalType", "stand on int"),
    "logical type no text": ({"type": "int", "logicalType": 5}, "$.logicalType", "text"),
    "nested 33": (nested(33), "$" + ".items" * 32, "nested at most 32"),
    "a date from YAML": (record(field("int", doc=object())), "$.fields[0].doc", "must be JSON"),
    "a name that is no text": ({1: 2}, "$", "every name must be text"),
    "lone surrogate": (record(doc="\ud800"), "$", "valid Unicode"),
    "JSON cut off": ('{"type": "record"', "$", "valid JSON"),
    "JSON with NaN": ('{"type": "record", "name": "T", "fields": [], "x": NaN}', "$", "NaN is not JSON"),
    "JSON key twice": ('{"type": "int", "type": "long"}', "$", "given twice"),
    "not a name": ("no such type", "$", "no no such type"),
    "empty text": ("", "$", "must be a type"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_schema_is_refused_with_path_and_rule(case):
    definition, path, rule = REFUSED[case]
    with pytest.raises(SchemaRefused) as caught:
        parse_schema(definition)
    assert caught.value.details["path"] == path
    assert rule in caught.value.message


DEFAULTS_REFUSED = {
    "text for int": ("int", "a", ""),
    "true for int": ("int", True, ""),
    "too large for int": ("int", 2**31, ""),
    "too large for long": ("long", 2**63, ""),
    "number for text": ("string", 1, ""),
    "null for text": ("string", None, ""),
    "code point beyond a byte": ("bytes", "Ā", ""),
    "too large for float": ("float", 1e39, ""),
    "text for double": ("double", "1.0", ""),
    "second type of a union": (["null", "string"], "x", ""),
    "null for a union that begins otherwise": (["string", "null"], None, ""),
    "symbol": ({"type": "enum", "name": "E", "symbols": ["A"]}, "B", ""),
    "fixed too short": (fixed(4), "abc", ""),
    "item of a list": ({"type": "array", "items": "int"}, [1, "a"], "[1]"),
    "value of a map": ({"type": "map", "values": "int"}, {"k": "a"}, "['k']"),
    "field of a record": (record(field("int"), name="R"), {"f": "x"}, ".f"),
    "record lacks a field": (record(field("int"), name="R"), {}, ""),
    "record has another field": (record(field("int"), name="R"), {"f": 1, "g": 2}, ""),
    "decimal of too many digits": (decimal(2), "\x7f", ""),
    "decimal of no byte": (decimal(2), "", ""),
    "date beyond the year 9999": ({"type": "int", "logicalType": "date"}, 2**31 - 1, ""),
    "no UUID": ({"type": "string", "logicalType": "uuid"}, "abc", ""),
}


@pytest.mark.parametrize("case", DEFAULTS_REFUSED)
def test_a_default_that_does_not_fit_is_refused(case):
    kind, default, path = DEFAULTS_REFUSED[case]
    with pytest.raises(SchemaRefused) as caught:
        parse_schema(record(field(kind, default=default)))
    assert caught.value.details["path"] == "$.fields[0].default" + path


DEFAULTS_TAKEN = {
    "null first": (["null", "string"], None, None),
    "whole number for double": ("double", 1, 1.0),
    "bytes": ("bytes", "\xff\x00", "/wA="),
    "decimal": (decimal(4, 2), "\x04\xd2", "12.34"),
    "empty list": ({"type": "array", "items": "int"}, [], []),
    "map": ({"type": "map", "values": "int"}, {"b": 1, "a": 2}, {"a": 2, "b": 1}),
    "date": ({"type": "int", "logicalType": "date"}, 0, "1970-01-01"),
    "record with defaults of its own": (record(field("int", default=7), name="R"), {}, {"f": 7}),
}


@pytest.mark.parametrize("case", DEFAULTS_TAKEN)
def test_a_default_stands_for_a_field_that_is_left_out(case):
    kind, default, rendered = DEFAULTS_TAKEN[case]
    schema = parse_schema(record(field(kind, default=default)))
    assert schema.to_json(schema.from_json({})) == {"f": rendered}


@pytest.mark.parametrize(
    "definition",
    [
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 60_000,
        '{"type": "record", "name": "T", "fields": [], "doc": "' + "x" * 70_000 + '"}',
        '["' + '","'.join("a" for _ in range(30_000)) + '"]',
    ],
    ids=["100,000 levels", "60,000 open brackets", "70 kB", "30,000 branches"],
)
def test_a_hostile_text_is_refused_at_once(definition):
    began = time.thread_time()
    with pytest.raises(SchemaRefused):
        parse_schema(definition)
    assert time.thread_time() - began < 2


def test_a_deep_or_circular_or_shared_object_is_refused_at_once():
    deep: object = "int"
    for _ in range(100_000):
        deep = [deep]
    circle: list[object] = []
    circle.append(circle)
    bomb: object = ["int"]
    for _ in range(25):
        bomb = [bomb, bomb]
    for definition in (deep, circle, bomb):
        with pytest.raises(SchemaRefused):
            parse_schema(definition)
    while isinstance(deep, list):  # taken apart here, as Python's own way to free it is recursive too
        deep = deep.pop()


def test_a_brace_inside_text_is_not_nesting():
    schema = parse_schema(json.dumps(record(doc='{["\\' * 100)))
    assert json.loads(schema.text)["doc"] == '{["\\' * 100


def test_types_that_double_at_each_level_are_refused():
    shared = doubling(24)
    with pytest.raises(SchemaRefused, match="at most 10000 types"):
        parse_schema("n.R23", named=shared)
    assert parse_schema("n.R5", named=shared).full_name == "n.R5"


def test_defaults_that_double_at_each_level_are_refused():
    shared = {"n.R0": record(field("string", default="x" * 3000), name="R0", namespace="n")}
    for level in range(1, 12):
        before = f"n.R{level - 1}"
        fields = [field(before, "a", default={}), field(before, "b", default={})]
        shared[f"n.R{level}"] = record(*fields, name=f"R{level}", namespace="n")
    with pytest.raises(SchemaRefused, match="at most 65536 bytes"):
        parse_schema("n.R11", named=shared)


def chain(length, wrap=lambda kind: kind):
    shared = {"n.R0": record(field("int"), name="n.R0")}
    for level in range(1, length):
        shared[f"n.R{level}"] = record(field(wrap(f"n.R{level - 1}")), name=f"n.R{level}")
    return shared


def test_a_long_chain_of_types_is_refused():
    def lists(kind):
        for _ in range(25):
            kind = {"type": "array", "items": kind}
        return kind

    with pytest.raises(SchemaRefused, match="at most 64 deep"):
        parse_schema([f"n.R{level}" for level in range(100)], named=chain(100))
    for shared in (chain(255), chain(255, lists)):
        for definition in ("n.R254", [f"n.R{level}" for level in range(255)]):
            with pytest.raises(SchemaRefused, match="nested at most"):
                parse_schema(definition, named=shared)


def test_a_chain_that_is_taken_is_also_taken_in_its_own_text():
    for length in range(1, 40):
        try:
            schema = parse_schema(f"n.R{length}", named=chain(length + 1))
        except SchemaRefused:
            assert length > 8
        else:
            assert parse_schema(schema.text) == schema


def test_too_many_named_types_are_refused():
    with pytest.raises(SchemaRefused, match="256 named types"):
        parse_schema(record(*[field(fixed(name=f"F{n}"), f"f{n}") for n in range(256)]))


def test_a_shared_type_is_inlined_where_it_is_first_used():
    money = record(field(decimal(9, 2), "amount"), name="Money", namespace="shared", doc="what it costs")
    shared = {"shared.Money": money, "shared.Line": record(field("Money"), name="shared.Line")}
    order = record(field("shared.Line", "line"), field("shared.Money", "total"), name="Order", namespace="shop")
    schema = parse_schema(order, named=shared)
    document = json.loads(schema.text)
    line = document["fields"][0]["type"]
    assert line["namespace"] == "shared"
    assert line["fields"][0]["type"] == {name: part for name, part in money.items() if name != "namespace"}
    assert document["fields"][1]["type"] == "shared.Money"
    assert parse_schema(schema.text) == schema
    value = {"line": {"f": {"amount": "1.00"}}, "total": {"amount": "2.00"}}
    assert schema.to_json(schema.from_json(value)) == value


def test_shared_types_that_contain_each_other_are_refused():
    shared = {"n.A": record(field("n.B"), name="n.A"), "n.B": record(field("n.A"), name="n.B")}
    with pytest.raises(SchemaRefused, match="recursive"):
        parse_schema("n.A", named=shared)


def test_a_type_that_is_shared_under_another_name_is_refused():
    with pytest.raises(SchemaRefused, match=r"shared as n\.A but defines n\.B"):
        parse_schema("n.A", named={"n.A": record(name="n.B")})


def test_a_definition_that_repeats_a_shared_one_is_refused():
    with pytest.raises(SchemaRefused, match="defined once"):
        parse_schema(record(field(fixed(name="n.F"))), named={"n.F": fixed(name="n.F")})


def test_every_attribute_is_kept_and_the_order_of_attributes_does_not_matter():
    definition = {
        "namespace": "bank",
        "owner": {"team": "a"},
        "doc": "Ä",
        "name": "Opened",
        "aliases": ["bank.Begun"],
        "fields": [
            {"type": {"logicalType": "date", "type": "int", "x": 1}, "doc": "day", "name": "on", "aliases": ["at"], "default": 3}
        ],
        "type": "record",
    }
    schema = parse_schema(definition)
    assert json.loads(schema.text) == definition
    assert schema == parse_schema(json.dumps(dict(reversed(definition.items())))) and hash(schema) == hash(parse_schema(definition))
    assert schema != parse_schema({**definition, "doc": "other"})


def test_an_alias_without_namespace_is_in_the_namespace_of_its_type():
    short, full = record(name="n.T", aliases=["Old"]), record(name="n.T", aliases=["n.Old"])
    assert parse_schema(short) == parse_schema(full)
    assert not incompatibilities(reader=parse_schema(short), writer=parse_schema(record(name="n.Old")))


def test_a_name_with_dots_and_a_namespace_mean_the_same():
    assert parse_schema(record(name="a.b.T")) == parse_schema(record(name="T", namespace="a.b"))
    assert parse_schema(record(name="a.b.T", namespace="c")).full_name == "a.b.T"


def test_a_type_without_namespace_inside_a_namespace_stays_without():
    schema = parse_schema(record(field({**fixed(), "namespace": ""}), namespace="n"))
    assert parse_schema(schema.text) == schema
    assert json.loads(schema.text)["fields"][0]["type"]["namespace"] == ""


def test_the_fingerprint_is_the_published_one():
    """Avro's own test cases give 8247732601305521295 for `"int"`; in single-object order the bytes are the other way round."""
    assert parse_schema("int").fingerprint == (8247732601305521295).to_bytes(8, "little").hex()
    documented = parse_schema(record(field("int", doc="x"), doc="y", namespace="n"))
    assert documented.fingerprint == parse_schema(record(field({"type": "int"}), namespace="n")).fingerprint


def test_only_a_record_can_be_an_entity_a_command_or_an_event():
    require_record(parse_schema(record()))
    for definition in ("string", ["null", record()], {"type": "map", "values": "int"}):
        with pytest.raises(SchemaRefused, match="must be a record"):
            require_record(parse_schema(definition))


def test_the_largest_allowed_schemas_work():
    wide = parse_schema(record(*[field("int", f"f{n}") for n in range(1024)]))
    assert wide.to_json(wide.from_json({f"f{n}": n for n in range(1024)}))["f1023"] == 1023
    many = parse_schema(["null", *[fixed(2, name=f"F{n}") for n in range(255)]])
    assert many.to_json(many.from_json({"F254": "AAA="})) == {"F254": "AAA="}
    deep = parse_schema(nested(31))
    value: object = 5
    for _ in range(31):
        value = [value]
    assert deep.to_json(deep.from_json(value)) == value


def test_a_function_image_needs_fastavro_only():
    """The SDK uses this package where the platform's own dependencies are not installed."""
    script = """
import sys
sys.modules.update(avro=None, msgspec=None, pydantic=None, apsw=None)
from evento.schema import incompatibilities, parse_schema, resolver
old, new = parse_schema("int"), parse_schema("long")
assert not incompatibilities(reader=new, writer=old)
assert new.to_json(resolver(old, new)(old.from_json(300))) == 300
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
