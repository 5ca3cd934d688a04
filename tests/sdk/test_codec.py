"""Generated codecs: the same bytes as fastavro's, in both directions, and nothing taken that does not fit."""

import json
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Context, Decimal
from io import BytesIO
from typing import Annotated
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evento.schema import parse_schema
from evento.sdk import Precision
from evento.sdk.codec import record_codec
from evento.sdk.errors import CodecError
from evento.sdk.kinds import Scope
from evento.sdk.types import record_of
from tests.sdk.shapes import Colour, Everything, Point, Slotted

RECORD = record_of(Everything, "Everything", "n.shapes", "n")
CODEC = record_codec(RECORD)
SCHEMA = RECORD.schema(Scope())
PARSED = fastavro.parse_schema(json.loads(json.dumps(SCHEMA)))


WIDE = Context(prec=60)


def cents(digits, scale):
    bound = 10**digits - 1
    return st.integers(-bound, bound).map(lambda unscaled: Decimal(unscaled).scaleb(-scale, WIDE))


int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
points = st.builds(Point, int32, int32)
everything = st.builds(
    Everything,
    text=texts,
    number=int64,
    small=int32,
    real=st.floats(allow_nan=False),
    rough=st.floats(width=32, allow_nan=False),
    yes=st.booleans(),
    raw=st.binary(max_size=80),
    money=cents(18, 2),
    at=st.datetimes(timezones=st.just(UTC)),
    day=st.dates(),
    clock=st.times().map(lambda t: t.replace(fold=0)),
    id=st.uuids(),
    colour=st.sampled_from(Colour),
    point=points,
    slotted=st.builds(Slotted, texts, cents(38, 10)),
    points=st.lists(points, max_size=3),
    words=st.lists(texts, max_size=3).map(tuple),
    prices=st.dictionaries(texts, cents(9, 3), max_size=3),
    nested=st.dictionaries(texts, st.lists(int64, max_size=2), max_size=2),
    maybe=st.none() | texts,
    either=st.none() | int64 | texts | points,
    other=st.sampled_from(Colour),
    limit=cents(18, 2),
    tags=st.lists(texts, max_size=2),
)


def plain(value):
    """As fastavro wants it."""
    if isinstance(value, Colour):
        return value.name
    if isinstance(value, Point | Slotted | Everything):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return {key: plain(value[key]) for key in sorted(value)} if isinstance(value, dict) else value


SAMPLE = Everything(
    "Zoë",
    -1,
    7,
    0.5,
    0.25,
    True,
    b"\0",
    Decimal("12.30"),
    datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    date(1969, 12, 31),
    time(23, 59, 59, 999999),
    UUID(int=5),
    Colour.RED,
    Point(1),
    Slotted("s", Decimal("1.0000000000")),
    [Point(1, 2)],
    ("w",),
    {"b": Decimal("1.000"), "a": Decimal("2.000")},
    {"k": [1, 2]},
)


@settings(max_examples=150, deadline=None)
@given(everything)
def test_what_is_written_is_read_again_by_us_and_by_fastavro(value):
    payload = CODEC.encode(value)
    assert CODEC.decode(payload) == value
    assert fastavro.schemaless_reader(BytesIO(payload), PARSED, None) == plain(value)


@settings(max_examples=150, deadline=None)
@given(everything)
def test_what_fastavro_writes_is_read(value):
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED, plain(value))
    assert CODEC.decode(out.getvalue()) == value


@settings(max_examples=100, deadline=None)
@given(everything)
def test_what_is_written_is_the_platforms_canonical_form(value):
    payload = CODEC.encode(value)
    assert parse_schema(SCHEMA).canonical(payload) == payload


@settings(max_examples=300, deadline=None)
@given(everything, st.data())
def test_damaged_bytes_give_an_error_or_another_value_and_nothing_else(value, data):
    payload = bytearray(CODEC.encode(value))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with suppress(CodecError):
        CODEC.decode(bytes(payload))


@given(everything)
@settings(max_examples=50, deadline=None)
def test_normal_means_that_nothing_is_lost_by_keeping_the_object(value):
    assert repr(CODEC.decode(CODEC.encode(value))) == repr(value) or not CODEC.normal(value)
    assert not CODEC.normal(value)  # 32-bit floats round, so an object that has one is never taken as it is


def test_every_byte_less_and_one_byte_more_is_refused():
    payload = CODEC.encode(SAMPLE)
    for end in range(len(payload)):
        with pytest.raises(CodecError):
            CODEC.decode(payload[:end])
    with pytest.raises(CodecError, match="they end at"):
        CODEC.decode(payload + b"\0")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", 5),
        ("text", None),
        ("text", "\ud800"),
        ("number", 1.0),
        ("number", True),
        ("number", 2**63),
        ("number", "1"),
        ("small", 2**31),
        ("real", "x"),
        ("yes", 1),
        ("yes", None),
        ("raw", "text"),
        ("money", 1),
        ("money", 1.5),
        ("money", Decimal("0.001")),
        ("money", Decimal(10) ** 16),
        ("money", Decimal("NaN")),
        ("money", Decimal("Infinity")),
        ("money", Decimal("sNaN")),
        ("at", datetime(2026, 1, 1)),
        ("at", date(2026, 1, 1)),
        ("day", datetime(2026, 1, 1, tzinfo=UTC)),
        ("clock", time(1, tzinfo=UTC)),
        ("id", str(UUID(int=1))),
        ("colour", "RED"),
        ("point", {"x": 1}),
        ("point", None),
        ("points", "ab"),
        ("points", (Point(1),)),
        ("points", [1]),
        ("words", ["w"]),
        ("prices", [("a", Decimal(1))]),
        ("prices", {1: Decimal(1)}),
        ("maybe", 1),
        ("either", 1.5),
        ("slotted", Slotted("s", Decimal("1e-11"))),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(CodecError, match=rf"Everything\.{field}"):
        CODEC.encode(replace(SAMPLE, **{field: value}))


def test_an_object_of_another_class_is_refused():
    with pytest.raises(CodecError, match="Everything"):
        CODEC.encode(Point(1))


def test_times_of_other_zones_are_the_same_moment():
    there = SAMPLE.at.astimezone(timezone(timedelta(hours=5)))
    assert CODEC.encode(replace(SAMPLE, at=there)) == CODEC.encode(SAMPLE)


@dataclass(frozen=True)
class Exact:
    money: Annotated[Decimal, Precision(18, 2)]
    at: datetime
    count: int
    names: list[str]
    colour: Colour


EXACT = record_codec(record_of(Exact, "Exact", "n", "n"))
GOOD = Exact(Decimal("1.00"), datetime(2026, 1, 1, tzinfo=UTC), 1, ["a"], Colour.RED)


def test_an_object_that_is_what_its_bytes_would_be_is_normal():
    assert EXACT.normal(GOOD)
    assert EXACT.normal(EXACT.decode(EXACT.encode(GOOD)))


@pytest.mark.parametrize(
    "change",
    [
        {"money": Decimal("1")},
        {"money": Decimal("-0.00")},
        {"money": Decimal(10) ** 16 + Decimal("0.00")},
        {"count": True},
        {"count": 2**63},
        {"names": ("a",)},
        {"names": ["ä"]},
        {"names": [1]},
        {"colour": "RED"},
        {"at": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
    ],
)
def test_anything_else_is_not(change):
    assert not EXACT.normal(replace(GOOD, **change))


@pytest.mark.parametrize("text", ["-1.28", "-0.01", "-2.56", "-327.68", "0.00", "1.27", "1.28", "0.01", "-1.29"])
def test_decimals_take_as_few_bytes_as_they_can(text):
    value = Exact(Decimal(text), GOOD.at, 1, [], Colour.RED)
    payload = EXACT.encode(value)
    size = payload[0] // 2
    unscaled = int(Decimal(text) * 100)
    assert size == 1 or not -(2 ** (8 * size - 9)) <= unscaled < 2 ** (8 * size - 9)
    assert EXACT.decode(payload) == value


def test_a_dataclass_with_a_post_init_is_made_by_its_constructor():
    @dataclass(frozen=True)
    class Positive:
        value: int

        def __post_init__(self):
            if self.value <= 0:
                raise ValueError("not positive")

    codec = record_codec(record_of(Positive, "Positive", "n", "n"))
    assert codec.decode(b"\x02") == Positive(1)
    with pytest.raises(CodecError, match="not positive"):
        codec.decode(b"\x01")


def test_equal_maps_in_another_order_are_equal_bytes():
    other = replace(SAMPLE, prices={"a": Decimal("2.000"), "b": Decimal("1.000")})
    assert CODEC.encode(other) == CODEC.encode(SAMPLE)


def test_the_schema_has_docs_defaults_and_each_type_once():
    assert SCHEMA["doc"] == "All of it."
    by_name = {field["name"]: field for field in SCHEMA["fields"]}
    assert by_name["limit"]["default"] == "\x80"
    assert by_name["tags"]["default"] == ["a"]
    assert by_name["other"] == {"name": "other", "type": "n.Colour", "default": "GREEN"}
    assert by_name["maybe"] == {"name": "maybe", "type": ["null", "string"], "default": None}
    assert by_name["either"]["type"][0] == "long" and by_name["either"]["default"] == 5
    assert by_name["points"]["type"] == {"type": "array", "items": "n.Point"}
    assert parse_schema(SCHEMA).text == json.dumps(SCHEMA, separators=(",", ":"), ensure_ascii=False)
