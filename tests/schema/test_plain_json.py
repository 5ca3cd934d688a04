"""Plain JSON as a person writes it: what is understood, how it is written back, and how refusals tell the place."""

import json
from decimal import Decimal

import pytest

from evento.errors import PayloadRefused
from evento.schema import parse_schema


def decimal(precision, scale):
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def logical(kind, name):
    return {"type": kind, "logicalType": name}


def record(name, /, **fields):
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields.items()]}


UUID16 = {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}
DURATION = {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"}
FIXED_DECIMAL = {"type": "fixed", "name": "FD", "size": 4, "logicalType": "decimal", "precision": 6, "scale": 3}
SUIT = {"type": "enum", "name": "Suit", "symbols": ["HEARTS", "SPADES"]}
MONEY = decimal(4, 2)
INSTANT, LOCAL = logical("long", "timestamp-micros"), logical("long", "local-timestamp-millis")
ID = "123e4567-e89b-12d3-a456-426614174000"
CARD, CASH = record("Card", number="string"), record("Cash", amount=MONEY, till=["null", "int"])
PAYMENT = ["null", CARD, CASH]

UNDERSTOOD = [
    ("null", None, None),
    ("boolean", True, True),
    ("int", -(2**31), -(2**31)),
    ("long", 2**63 - 1, 2**63 - 1),
    ("double", 1, 1.0),
    ("double", "NaN", "NaN"),
    ("double", "-Infinity", "-Infinity"),
    ("double", Decimal("0.1"), 0.1),
    ("float", 0.1, 0.1),
    ("float", "Infinity", "Infinity"),
    ("string", "ü\0", "ü\0"),
    ("bytes", "/wA=", "/wA="),
    (SUIT, "SPADES", "SPADES"),
    (MONEY, "12.3", "12.30"),
    (MONEY, "-0.05", "-0.05"),
    (MONEY, "0", "0.00"),
    (MONEY, "-0", "0.00"),
    (MONEY, "99.99", "99.99"),
    (MONEY, "007.5", "7.50"),
    (MONEY, "+1", "1.00"),
    (MONEY, ".5", "0.50"),
    (MONEY, "1.5e1", "15.00"),
    (MONEY, "12.300", "12.30"),
    (MONEY, 12, "12.00"),
    (MONEY, -12.34, "-12.34"),
    (MONEY, Decimal("12.34"), "12.34"),
    (decimal(2, 2), "0.99", "0.99"),
    (decimal(38, 0), "9" * 38, "9" * 38),
    (decimal(38, 0), 10**38 - 1, "9" * 38),
    (FIXED_DECIMAL, "-999.999", "-999.999"),
    (logical("string", "uuid"), ID.upper(), ID),
    (UUID16, ID, ID),
    (logical("int", "date"), "2026-11-23", "2026-11-23"),
    (logical("int", "date"), "0001-01-01", "0001-01-01"),
    (logical("int", "date"), "9999-12-31", "9999-12-31"),
    (logical("int", "time-millis"), "23:59:59.999", "23:59:59.999"),
    (logical("int", "time-millis"), "13:30", "13:30:00"),
    (logical("long", "time-micros"), "00:00:00.000001", "00:00:00.000001"),
    (logical("long", "timestamp-millis"), "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    (INSTANT, "2026-11-23T13:30:00Z", "2026-11-23T13:30:00Z"),
    (INSTANT, "2026-11-23T13:30:00.5+01:30", "2026-11-23T12:00:00.500000Z"),
    (INSTANT, "2026-11-23 13:30:00.1234560-0800", "2026-11-23T21:30:00.123456Z"),
    (logical("long", "timestamp-nanos"), "2026-11-23T13:30:00.000000001Z", "2026-11-23T13:30:00.000000001Z"),
    (LOCAL, "2026-11-23T13:30:00.25", "2026-11-23T13:30:00.250"),
    (DURATION, "P1Y2M3W4DT5H6M7.089S", "P14M25DT18367.089S"),
    (DURATION, {"months": 1, "millis": 5}, "P1MT0.005S"),
    (DURATION, "P0D", "P0D"),
    ({"type": "array", "items": "int"}, [3, 1], [3, 1]),
    ({"type": "map", "values": "int"}, {"b": 1, "a": 2, "": 3}, {"": 3, "a": 2, "b": 1}),
    (["null", "string"], None, None),
    (["null", "string"], "x", "x"),
    (["null", {"type": "map", "values": "int"}], {"map": 1}, {"map": 1}),
    (record("T", a=["null", "int"], b=["int", "null"], c="null"), {}, {"a": None, "b": None, "c": None}),
    (PAYMENT, {"number": "1"}, {"number": "1"}),
    (PAYMENT, {"amount": 5}, {"amount": "5.00", "till": None}),
    (PAYMENT, {"Cash": {"amount": "5"}}, {"amount": "5.00", "till": None}),
    (["string", "long"], 5, 5),
    (["double", "long"], 5, 5),
    (["double", "long"], 5.0, 5.0),
    (["string", "double"], 5, 5.0),
    (["string", "double"], "NaN", "NaN"),
    (["string", "double"], {"double": "NaN"}, {"double": "NaN"}),
    (["int", "long"], {"long": 5}, {"long": 5}),
    (["string", "bytes"], {"bytes": "AA=="}, {"bytes": "AA=="}),
    ([record("A", x="int"), record("B", x="int")], {"B": {"x": 1}}, {"B": {"x": 1}}),
    (["string", {"type": "map", "values": "string"}], {"map": {"string": "x"}}, {"map": {"string": "x"}}),
]


@pytest.mark.parametrize(("definition", "value", "rendered"), UNDERSTOOD, ids=range(len(UNDERSTOOD)))
def test_plain_values_are_understood_and_written_in_one_form(definition, value, rendered):
    schema = parse_schema(definition)
    payload = schema.from_json(value)
    schema.check(payload)
    assert schema.to_json(payload) == rendered
    assert type(schema.to_json(payload)) is type(rendered)
    assert schema.from_json(rendered) == payload


REFUSED = [
    ("null", 0, "must be null"),
    ("boolean", 1, "true or false"),
    ("int", True, "whole number"),
    ("int", 1.0, "whole number"),
    ("int", "1", "whole number"),
    ("int", 2**31, "32 bits, got 2147483648"),
    ("long", 2**63, "64 bits"),
    ("long", 10**400, "64 bits, got a number of more than 38 digits"),
    ("double", True, "must be a number"),
    ("double", "1.5", "must be a number"),
    ("double", 2**53 + 1, "holds exactly"),
    ("double", 10**400, "range of a 64-bit float"),
    ("float", 1e39, "range of a 32-bit float"),
    ("string", 5, "must be text"),
    ("string", "\ud800", "valid Unicode"),
    ("bytes", "no base64!", "base64"),
    ("bytes", "AA", "base64"),
    ("bytes", "ÄÄ==", "base64"),
    ({"type": "fixed", "name": "F", "size": 2}, "AA==", "exactly 2 bytes"),
    (SUIT, "CLUBS", "one of HEARTS, SPADES, got 'CLUBS'"),
    (SUIT, 0, "one of HEARTS"),
    (MONEY, "100", "at most 4 digits"),
    (MONEY, "1.005", "at most 2 digits behind the point"),
    (MONEY, 1.005, "at most 2 digits behind the point"),
    (MONEY, "1,5", "decimal number"),
    (MONEY, "", "decimal number"),
    (MONEY, "-", "decimal number"),
    (MONEY, ".", "decimal number"),
    (MONEY, "NaN", "decimal number"),
    (MONEY, "٣", "decimal number"),
    (MONEY, "1_0", "decimal number"),
    (MONEY, True, "decimal number"),
    (MONEY, None, "decimal number"),
    (MONEY, float("nan"), "decimal number"),
    (MONEY, Decimal("Infinity"), "decimal number"),
    (MONEY, Decimal("1e999999"), "decimal number"),
    (MONEY, "1e999", "decimal number"),
    (MONEY, "9" * 100_000, "decimal number"),
    (MONEY, 10**5000, "digits"),
    (decimal(38, 20), 0.1 + 0.2, "written as text"),
    (FIXED_DECIMAL, "1000", "at most 6 digits"),
    (logical("string", "uuid"), "123", "must be a UUID"),
    (UUID16, 5, "must be a UUID"),
    (logical("int", "date"), "2026-02-30", "must be a date"),
    (logical("int", "date"), "20260230", "must be a date"),
    (logical("int", "date"), "0000-01-01", "must be a date"),
    (logical("int", "date"), 5, "ISO 8601"),
    (logical("int", "time-millis"), "24:00", "must be a time"),
    (logical("int", "time-millis"), "12:00:60", "must be a time"),
    (logical("int", "time-millis"), "12:00:00.0001", "at most 3 digits of a second"),
    (INSTANT, "2026-11-23T13:30:00", "with a zone"),
    (INSTANT, "2026-11-23", "with a zone"),
    (INSTANT, "2026-11-23T13:30:00.1234567Z", "at most 6 digits"),
    (INSTANT, "0001-01-01T00:00:00+01:00", "in the range"),
    (INSTANT, 1700000000, "ISO 8601"),
    (logical("long", "timestamp-nanos"), "2500-01-01T00:00:00Z", "in the range"),
    (LOCAL, "2026-11-23T13:30:00Z", "without a zone"),
    (DURATION, "P", "must be a duration"),
    (DURATION, "P1DT", "must be a duration"),
    (DURATION, "PT0.0001S", "must be a duration"),
    (DURATION, {"months": -1}, "months, days and milliseconds"),
    (DURATION, {"months": 2**32}, "months, days and milliseconds"),
    (DURATION, {"years": 1}, "must be a duration"),
    ({"type": "array", "items": "int"}, {}, "must be a list"),
    ({"type": "map", "values": "int"}, [], "must be an object"),
    ({"type": "map", "values": "int"}, {1: 1}, "text keys"),
    (record("T"), [], "must be an object"),
    (record("T"), {"x": 1}, "there are none"),
    (["null"], 1, "must be null"),
    (PAYMENT, {"amount": "x"}, r"fits no type of the union; tried null \(must be null\); Card"),
    (["int", "long"], 5, "fits int, long: name the type"),
    (["string", SUIT], "SPADES", "fits string, Suit"),
    (["int", "long"], {"int": 2**40}, "32 bits"),
]


@pytest.mark.parametrize(("definition", "value", "rule"), REFUSED, ids=range(len(REFUSED)))
def test_values_that_do_not_fit_exactly_are_refused(definition, value, rule):
    with pytest.raises(PayloadRefused, match=rule):
        parse_schema(definition).from_json(value)


ORDER = record(
    "Order",
    id="string",
    items={"type": "array", "items": record("Item", price=MONEY, tags={"type": "map", "values": "int"})},
    pay=PAYMENT,
)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"items": [{"price": 1, "tags": {}}, {"price": 1, "tags": {}}, {"price": "x", "tags": {}}]}, "$.items[2].price"),
        ({"items": [{"price": 1, "tags": {"a b": True}}]}, "$.items[0].tags['a b']"),
        ({"items": [{"price": 1}]}, "$.items[0].tags"),
        ({"items": [{"price": 1, "tags": {}, "colour": 3}]}, "$.items[0].colour"),
        ({"pay": {"Cash": {"amount": "x"}}}, "$.pay.Cash.amount"),
        ({"pay": {"amount": "x"}}, "$.pay"),
        ({"unknown": 1}, "$.unknown"),
    ],
)
def test_a_refusal_names_the_path(change, path):
    with pytest.raises(PayloadRefused) as caught:
        parse_schema(ORDER).from_json({"id": "1", "items": [], **change})
    assert caught.value.details["path"] == path
    assert caught.value.message.startswith(path)
    json.dumps(caught.value.details)


def test_a_refusal_of_bytes_names_the_path():
    schema = parse_schema(ORDER)
    payload = schema.from_json({"id": "1", "items": [{"price": "1.00", "tags": {"a": 1}}]})
    at = payload.index(b"\x02d")  # the decimal of the price, one byte of 100
    with pytest.raises(PayloadRefused) as caught:
        schema.check(payload[:at] + b"\x06\x01\x00\x00" + payload[at + 2 :])
    assert caught.value.details["path"] == "$.items[0].price"


def test_a_refusal_shows_no_long_value():
    with pytest.raises(PayloadRefused) as caught:
        parse_schema("int").from_json("x" * 100_000)
    assert len(caught.value.message) < 200
    assert len(caught.value.details["value"]) < 100


def test_defaults_cannot_swell_a_list_without_limit():
    fat = {"type": "record", "name": "Fat", "fields": [{"name": "x", "type": "string", "default": "y" * 30_000}]}
    with pytest.raises(PayloadRefused, match="defaults included"):
        parse_schema({"type": "array", "items": fat}).from_json([{}] * 100_000)


def test_a_deep_value_is_refused_without_recursion():
    value: object = 1
    for _ in range(50_000):
        value = [value]
    with pytest.raises(PayloadRefused):
        parse_schema({"type": "array", "items": {"type": "array", "items": "int"}}).from_json(value)
    while isinstance(value, list):
        value = value.pop()
