"""Records of the Kafka journal: what is written is read again, bytes stay what they were, and strangers understand the headers."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.base import Format
from hypothesis import given
from hypothesis import strategies as st

from evento.errors import JournalCorrupt, JournalError
from evento.journal.kafka.records import (
    Done,
    EventHead,
    event_records,
    inputs_record,
    outcome_record,
    pending_gone,
    pending_record,
    read_event_head,
    read_outcome,
    read_pending,
    read_state,
    refusal_record,
    state_record,
)
from evento.model.command import ABSENT, Pending, State, Turn
from evento.model.times import time_text
from evento.model.transition import Refusal
from evento.schema import unpack_confluent
from tests.journal.kafka_samples import (
    INPUTS,
    INPUTS_OF_TOPICS,
    KEY,
    PENDINGS,
    REFUSAL,
    STATE,
    TIME_US,
    TURNS,
    VECTORS,
    as_json,
    records,
)
from tests.journal.record_strategies import keys, longs, pendings, refusals, states, texts, turns

KEPT = json.loads(VECTORS.read_text("utf-8"))


class Bytes(Format):
    """Data as it is: Avro is nothing that the CloudEvents library would read."""

    def read(self, event_factory, data):
        raise NotImplementedError

    def write(self, event):
        raise NotImplementedError

    def write_data(self, data, datacontenttype):
        return data

    def read_data(self, body, datacontenttype):
        return body

    def get_content_type(self):
        raise NotImplementedError


# ------------------------------------------------------------------ what stays as it is
@pytest.mark.parametrize("name", KEPT)
def test_the_bytes_of_a_record_never_change(name: str) -> None:
    assert [as_json(record) for record in records()[name]] == KEPT[name]


def test_what_was_written_once_is_read_for_ever() -> None:
    for name, turn in TURNS.items():
        assert read_outcome(bytes.fromhex(KEPT[f"outcome, {name}"][0]["value"])) == turn
    for name, pending in PENDINGS.items():
        assert read_pending(KEPT[name][0]["key"].encode(), bytes.fromhex(KEPT[name][0]["value"])) == pending
    state = KEPT["state"][0]
    assert read_state(bytes.fromhex(state["value"]), [(name, value.encode()) for name, value in state["headers"]]) == STATE
    assert read_outcome(bytes.fromhex(KEPT["refusal"][0]["value"])) == REFUSAL
    assert read_pending(b"inputs", bytes.fromhex(KEPT["inputs"][0]["value"])) == INPUTS
    later = KEPT["inputs of known topics"][0]
    headers = [(name, value.encode()) for name, value in later["headers"]]
    assert read_pending(b"inputs", bytes.fromhex(later["value"]), headers) == INPUTS_OF_TOPICS
    assert read_pending(b"inputs", bytes.fromhex(later["value"])) == {
        name: Done(each.next_offset) for name, each in INPUTS_OF_TOPICS.items()
    }


def test_every_sample_is_written_down() -> None:
    assert records().keys() == KEPT.keys()


# ------------------------------------------------------------------ events
@given(turns)
def test_a_turn_gives_a_record_per_event_with_the_next_version(turn: Turn) -> None:
    made = event_records("topic", turn)
    assert [unpack_confluent(record.value) for record in made] == [(event.schema_id, event.payload) for event in turn.events]
    assert [read_event_head(record.key, record.headers) for record in made] == [
        EventHead(turn.command.key.id, turn.before + place, turn.command.id, place, len(turn.events))
        for place in range(1, len(turn.events) + 1)
    ]


@given(turns)
def test_the_cloudevents_library_reads_the_headers(turn: Turn) -> None:
    command = turn.command
    key = command.key
    for version, (record, event) in enumerate(zip(event_records("t", turn), turn.events, strict=True), turn.before + 1):
        assert len(dict(record.headers)) == len(record.headers)
        if not all((key.namespace, key.entity, command.id)):
            continue  # no such thing exists: attributes are never empty
        read = from_binary(KafkaMessage(dict(record.headers), record.key, record.value), Bytes())
        context = command.context
        correlation = command.id if context is None or context.correlation_id is None else context.correlation_id
        assert read.get_data() == record.value
        assert read.get_attributes() == {
            "specversion": "1.0",
            "id": f"{key}/{version}",
            "source": f"/{key.namespace}/{key.entity}",
            "type": f"{key.namespace}.{event.type}",
            "subject": key.id,
            "time": datetime.fromisoformat(time_text(turn.time_us)),
            "datacontenttype": "application/avro",
            "sequence": f"{version:020}",
            "partitionkey": key.id,
            "correlationid": correlation,
            "causationid": command.id,
        }


def test_a_rejection_a_trace_and_a_place_among_several_are_told_only_where_they_are() -> None:
    plain = dict(event_records("t", TURNS["one event"])[0].headers)
    first, second = (dict(record.headers) for record in event_records("t", TURNS["two events"]))
    assert not {"evento-rejection", "traceparent", "evento-turn"} & plain.keys()
    assert "evento-rejection" not in first
    assert second["evento-rejection"] == b"true"
    assert (first["evento-turn"], second["evento-turn"]) == (b"1/2", b"2/2")
    assert second["traceparent"].startswith(b"00-0af7")
    assert (plain["ce_correlationid"], first["ce_correlationid"]) == (b"c1", b"conversation-7")
    assert datetime.fromisoformat(plain["ce_time"].decode()) == datetime.fromtimestamp(TIME_US // 10**6, UTC).replace(
        microsecond=123456
    )


HEAD = dict(event_records("t", TURNS["two events"])[0].headers)


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (None, HEAD),
        (b"other", HEAD),
        (b"\xff", HEAD | {"ce_id": b"bank/Checking/\xff/201"}),
        (KEY.id.encode(), {}),
        *(
            (KEY.id.encode(), {name: value for name, value in HEAD.items() if name != missing})
            for missing in ("ce_id", "ce_sequence")
        ),
        (KEY.id.encode(), HEAD | {"ce_causationid": None}),
        (KEY.id.encode(), HEAD | {"ce_causationid": b"\xff"}),
        (KEY.id.encode(), HEAD | {"ce_sequence": b"201"}),
        (KEY.id.encode(), HEAD | {"ce_sequence": b"0000000000000000020x"}),
        (KEY.id.encode(), HEAD | {"ce_sequence": b"00000000000000000202"}),
        (KEY.id.encode(), HEAD | {"ce_sequence": b"%020d" % 0, "ce_id": f"{KEY}/0".encode()}),
        *((KEY.id.encode(), HEAD | {"evento-turn": turn}) for turn in (b"", b"0/2", b"3/2", b"1", b"1/2/3", b"+1/2", b"x/2")),
    ],
)
def test_headers_of_an_event_that_contradict_themselves_are_refused(key: bytes | None, headers: dict[str, bytes | None]) -> None:
    with pytest.raises(JournalCorrupt):
        read_event_head(key, list(headers.items()))


# ------------------------------------------------------------------ states, outcomes, pending
@given(keys, states)
def test_a_state_is_read_as_it_was_written(key, state: State) -> None:
    record = state_record("topic", key, state)
    assert record.key == key.id.encode()
    assert read_state(record.value, record.headers) == state


def test_a_state_without_payload_has_no_record() -> None:
    with pytest.raises(JournalError):
        state_record("topic", KEY, ABSENT)


@pytest.mark.parametrize("headers", [None, [], [("evento-version", b"x"), ("evento-revision", b"r")], [("evento-version", b"1")]])
@pytest.mark.parametrize("value", [b"\x00\x00\x00\x00\x05abc", b"", b"abcdef"])
def test_a_state_with_unfit_headers_or_value_is_refused(value: bytes, headers) -> None:
    with pytest.raises(JournalCorrupt):
        read_state(value, headers)


@given(turns | refusals)
def test_an_outcome_is_read_as_it_was_written(told: Turn | Refusal) -> None:
    record = outcome_record("t", told) if isinstance(told, Turn) else refusal_record("t", told)
    key, command_id, outcome = (
        (told.command.key, told.command.id, told.kind.value) if isinstance(told, Turn) else (told.key, told.command_id, "refused")
    )
    assert read_outcome(record.value) == told
    assert record.key.decode() == str(key)
    assert record.headers == [
        ("evento-command-id", command_id.encode()),
        ("evento-outcome", outcome.encode()),
        ("content-type", b"application/avro"),
    ]


@given(pendings, st.dictionaries(texts, st.builds(Done, longs) | st.builds(Done, longs, st.text(min_size=1), st.booleans())))
def test_pending_entries_and_inputs_are_read_as_they_were_written(pending: Pending, inputs: dict[str, Done]) -> None:
    kept, gone, far = pending_record("t", pending), pending_gone("t", pending.number), inputs_record("t", inputs)
    assert kept.key == gone.key != far.key
    assert len(kept.key) == 20
    assert gone.value is None
    assert read_pending(kept.key, kept.value) == pending
    assert read_pending(gone.key, gone.value) == pending.number
    assert read_pending(far.key, far.value, far.headers) == inputs


NUMBER = b"%020d" % 7
GOOD = pending_record("t", Pending(7, TURNS["one event"].command)).value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, GOOD),
        (b"", GOOD),
        (b"7", GOOD),
        (b"%020d" % 8, GOOD),
        (b"0000000000000000000x", None),
        (b"inputs", None),
        (b"inputs", b""),
        (b"inputs", GOOD),
        (b"inputs", b"\x01\x81\xa1a\xa1b"),
        (NUMBER, b""),
        (NUMBER, b"\x02" + GOOD[1:]),
        (NUMBER, GOOD[:-1]),
        (NUMBER, GOOD + b"\x00"),
        (NUMBER, b"\x01\x80"),
        (NUMBER, GOOD.replace(b"Withdraw", b"\xff" * 8)),
    ],
)
def test_what_is_no_pending_record_is_refused(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(JournalCorrupt):
        read_pending(key, value)


@pytest.mark.parametrize("told", [b"", b"[]", b'{"a": "b"}', b"\xff"])
def test_what_does_not_say_which_topics_the_inputs_are_of_is_refused(told: bytes) -> None:
    with pytest.raises(JournalCorrupt):
        read_pending(b"inputs", b"\x01\x81\xa1a\x07", [("evento-topics", told)])


@given(st.none() | st.binary(max_size=30), st.none() | st.binary(max_size=60), st.lists(st.tuples(texts, st.none() | st.binary())))
def test_arbitrary_records_are_refused_or_read_but_never_worse(key, value, headers) -> None:
    for read in (
        lambda: read_pending(key, value, headers),
        lambda: read_event_head(key, headers),
        lambda: read_state(value or b"", headers),
        lambda: read_outcome(value or b""),
    ):
        try:
            read()
        except JournalCorrupt as error:
            assert error.message
