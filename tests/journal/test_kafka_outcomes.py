"""Outcomes as Avro by hand, held against an Avro library with the published schema, in both directions."""

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evento.errors import JournalCorrupt
from evento.journal import avro
from evento.journal.outcomes import decode_outcome, encode_refusal, encode_turn, outline_of
from evento.model.command import Turn
from evento.model.keys import EntityKey
from evento.model.transition import Refusal
from evento.protocol.reserved import OUTCOME_ID, RESERVED_FROM, reserved_schemas
from evento.schema import pack_confluent, parse_schema, unpack_confluent
from evento.testing.journal_samples import turn
from tests.journal.record_strategies import LONG_MAX, keys, refusals, turns

SCHEMA = fastavro.parse_schema(json.loads(reserved_schemas()[OUTCOME_ID]))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SAMPLE = turn(EntityKey("bank", "Account", "blue"), "c1", before=6, events=2)


def moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else EPOCH + timedelta(microseconds=time_us)


def fields(struct) -> dict:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def as_datum(told: Turn | Refusal) -> dict:
    """Say a turn or a refusal in the words of the published schema."""
    if isinstance(told, Refusal):
        rest = {"turn": None, "refusal": {name: getattr(told, name) for name in ("code", "message", "source", "offset")}}
        return head(told.key, told.command_id, "refused", told.time_us) | rest
    command = told.command
    rest = {
        "command": command.type,
        "schema_id": command.schema_id,
        "payload": command.payload,
        "accepted": moment(command.accepted_us),
        "expected": command.expected,
        "due": moment(command.due_us),
        "context": command.context and fields(command.context),
        "before": told.before,
        "events": [fields(event) for event in told.events],
        "revision": told.revision,
        "attempts": told.attempts,
        "failure": told.failure and fields(told.failure),
    }
    return head(command.key, command.id, told.kind.value, told.time_us) | {"turn": rest, "refusal": None}


def head(key, command_id: str, outcome: str, time_us: int) -> dict:
    return {
        "namespace": key[0],
        "entity": key[1],
        "instance_id": key[2],
        "command_id": command_id,
        "outcome": outcome,
        "time": moment(time_us),
    }


def encoded(told: Turn | Refusal) -> bytes:
    return encode_turn(told) if isinstance(told, Turn) else encode_refusal(told)


@given(turns | refusals)
def test_what_is_written_an_avro_library_reads_with_the_published_schema(told: Turn | Refusal) -> None:
    schema_id, body = unpack_confluent(encoded(told))
    source = io.BytesIO(body)
    assert fastavro.schemaless_reader(source, SCHEMA, None) == as_datum(told)
    assert (schema_id, source.tell()) == (OUTCOME_ID, len(body))


@given(turns | refusals)
def test_what_an_avro_library_writes_is_read(told: Turn | Refusal) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, as_datum(told), strict=True)
    assert decode_outcome(pack_confluent(OUTCOME_ID, out.getvalue())) == told
    assert out.getvalue() == encoded(told)[5:]


@given(turns | refusals)
def test_what_indexes_need_is_found_without_decoding(told: Turn | Refusal) -> None:
    name = str(told.key if isinstance(told, Refusal) else told.command.key).encode()
    expected = (name, told.command.id.encode(), told.before, len(told.events)) if isinstance(told, Turn) else None
    for key in (name, None, b"", name[1:], b"another"):
        assert outline_of(key, encoded(told)) == expected


@given(turns | refusals, st.data())
def test_an_outcome_that_is_cut_off_has_its_outline_or_is_refused(told: Turn | Refusal, data: st.DataObject) -> None:
    name, value = str(told.key if isinstance(told, Refusal) else told.command.key).encode(), encoded(told)
    with contextlib.suppress(JournalCorrupt):
        assert outline_of(name, value[: data.draw(st.integers(0, len(value) - 1))]) == outline_of(name, value)


@given(st.integers(-LONG_MAX - 1, LONG_MAX) | st.integers(1 << 46, 1 << 57), st.binary(max_size=3))
@example((1 << 48) - 1, b"")
@example(1 << 48, b"")
@example((1 << 55) - 1, b"")
@example(1 << 55, b"")
@example(-(1 << 50), b"")
@example(1 << 50, b"\x7f")
def test_a_time_is_a_long(number: int, behind: bytes) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    end = len(out.getvalue())
    assert avro.time(number) == avro.long(number) == out.getvalue()
    assert avro.read_time(out.getvalue() + behind, 0) == avro.read_long(out.getvalue() + behind, 0) == (number, end)


@pytest.mark.parametrize("read", [avro.read_text, avro.read_data])
@pytest.mark.parametrize("size", [b"\x01", b"\xff\x01", b"\x81\x80\x01", b"\xff" * 10, b"\xfe" * 9 + b"\x03"])
def test_a_size_that_is_negative_or_too_long_is_refused(read, size: bytes) -> None:
    with pytest.raises(ValueError):
        read(b"abc" + size + b"abc", 3)


def in_blocks(*blocks: bytes) -> bytes:
    """Return the sample with its two events in other blocks than Evento writes."""
    events = [b"".join((avro.text(e.type), avro.long(e.schema_id), avro.data(e.payload), avro.NULL)) for e in SAMPLE.events]
    written = avro.long(2) + b"".join(events)
    given = b"".join(
        count + avro.long(len(event)) * (count == b"\x01") + event for count, event in zip(blocks, events, strict=True)
    )
    assert encode_turn(SAMPLE).count(written) == 1
    return encode_turn(SAMPLE).replace(written, given)


@pytest.mark.parametrize("counts", [(b"\x02", b"\x02"), (b"\x01", b"\x01")])
def test_events_in_several_blocks_are_not_what_evento_writes(counts) -> None:
    """Other writers of Avro may do so; but nobody else writes outcomes."""
    value = in_blocks(*counts)
    assert fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA, None) == as_datum(SAMPLE)
    with pytest.raises(JournalCorrupt):
        decode_outcome(value)


@given(st.data(), turns | refusals)
def test_damaged_outcomes_are_refused_or_read_but_never_worse(data: st.DataObject, told: Turn | Refusal) -> None:
    value = bytearray(encoded(told))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(JournalCorrupt):
        assert isinstance(decode_outcome(bytes(value)), Turn | Refusal)


@given(turns | refusals, st.data())
def test_an_outcome_that_is_cut_off_or_too_long_is_refused(told: Turn | Refusal, data: st.DataObject) -> None:
    value = encoded(told)
    with pytest.raises(JournalCorrupt):
        decode_outcome(value[: data.draw(st.integers(0, len(value) - 1))])
    with pytest.raises(JournalCorrupt):
        decode_outcome(value + data.draw(st.binary(min_size=1, max_size=3)))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        b"{}",
        pack_confluent(1, encode_turn(SAMPLE)[5:]),
        pack_confluent(OUTCOME_ID, b""),
        pack_confluent(OUTCOME_ID, b"\x01" * 40),
        pack_confluent(OUTCOME_ID, b"\xff" * 40),
        encode_turn(SAMPLE).replace(b"succeeded", b"pretended"),
        encode_turn(SAMPLE)[:-1] + b"\x02",
        encode_turn(SAMPLE).replace(b"\x00\x00\x00\x0c\x04", b"\x00\x00\x00\x0c\x03"),
    ],
)
def test_what_is_no_outcome_is_refused(value: bytes) -> None:
    assert value != encode_turn(SAMPLE)
    with pytest.raises(JournalCorrupt):
        decode_outcome(value)


@given(keys)
def test_neither_a_turn_nor_a_refusal_is_refused(key) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, head(key, "c1", "succeeded", 0) | {"turn": None, "refusal": None})
    with pytest.raises(JournalCorrupt):
        decode_outcome(pack_confluent(OUTCOME_ID, out.getvalue()))


def test_the_published_schema_is_one_that_evento_itself_would_admit() -> None:
    for number, text in reserved_schemas().items():
        assert number >= RESERVED_FROM
        assert parse_schema(text).full_name.startswith("evento.")
