"""Records that anybody wrote among the Commands: what is right becomes a Command, what is wrong a sentence; nothing is an error."""

from typing import Any

import pytest
from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from evento.journal.kafka import inputs
from evento.journal.kafka.inputs import Place
from evento.journal.kafka.placing import murmur2
from evento.journal.kafka.records import read_input
from evento.model.command import Command, Context
from evento.model.keys import EntityKey, check_command_id, check_instance_id
from evento.model.limits import COMMAND_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX
from evento.model.times import TIME_MAX_US
from evento.model.transition import Input
from evento.schema import pack_confluent
from tests.journal.test_kafka_records import Bytes

SOURCE = "bank.Checking.commands"
PLACE = Place(SOURCE, "bank", "Checking", 0, 1)
TIME_US = 1_790_000_000_123_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
VALUE = pack_confluent(3, b"\x06abc")
TYPE = ("ce_type", b"Withdraw")
ID = ("ce_id", b"c1")


def read(
    *headers: tuple[str, bytes | None], key: bytes | None = b"ada", value: bytes | None = VALUE, offset: int = 17, **other: Any
) -> Input:
    said = {"place": PLACE, "timestamp_us": TIME_US} | other
    return read_input(key=key, value=value, headers=list(headers), offset=offset, **said)


def test_a_record_with_a_type_alone_is_a_command() -> None:
    made = read(TYPE)
    assert made.problem == ""
    assert (made.source, made.offset, made.key) == (SOURCE, 17, EntityKey("bank", "Checking", "ada"))
    assert made.command == Command(made.command_id, made.key, "Withdraw", 3, b"\x06abc", TIME_US)


def test_a_record_in_the_wrong_partition_is_refused_and_says_where_it_belongs() -> None:
    home = murmur2(b"ada") % 7
    for partition in range(7):
        for headers in ([ID, TYPE], [TYPE]):  # the short way through the usual records, and the long one
            made = read(*headers, place=Place(SOURCE, "bank", "Checking", partition, 7))
            assert made.key == EntityKey("bank", "Checking", "ada")
            assert (made.command is None) == (partition != home) == bool(made.problem)
            if made.problem:
                assert f"belongs to partition {home}, but the record is in {partition}" in made.problem


def test_without_an_id_the_place_gives_one_that_is_always_the_same() -> None:
    same, other, elsewhere = (
        read(TYPE),
        read(TYPE, offset=18),
        read(TYPE, place=PLACE._replace(source="new.bank.Checking.commands")),
    )
    assert read(TYPE).command_id == same.command_id == check_command_id(same.command_id)
    assert len({same.command_id, other.command_id, elsewhere.command_id}) == 3
    assert same.command_id == "record:1cef1244a4083f1c:17", "it must never change: records would be executed again"


def test_everything_that_headers_can_say_is_understood() -> None:
    made = read(
        ID,
        ("ce_specversion", b"1.0"),
        ("ce_type", b"bank.Withdraw"),
        ("ce_source", b"/somewhere"),
        ("ce_correlationid", b"conversation-7"),
        ("ce_causationid", b"cause-8"),
        ("traceparent", TRACE.encode()),
        ("evento-expected-version", b"41"),
        ("evento-due", b"2026-05-31T14:00:00.5+02:00"),
        ("somebody-elses", b"\xff"),
        ("somebody-elses", None),
        key="Zoë 1".encode(),
    )
    context = Context("conversation-7", "cause-8", None, TRACE)
    key = EntityKey("bank", "Checking", "Zoë 1")
    assert made == Input(SOURCE, 17, key, "c1", made.command)
    assert made.command == Command("c1", key, "Withdraw", 3, b"\x06abc", TIME_US, 41, 1780228800500000, context)


def test_nobody_outside_says_on_whose_behalf_a_command_comes() -> None:
    made = read(TYPE, ("ce_actor", b"root"), ("actor", b"root"), ("evento-actor", b"root"))
    assert made.command is not None
    assert made.command.context is None


def test_what_the_cloudevents_library_writes_is_a_command() -> None:
    attributes = {"type": "bank.Withdraw", "source": "/shop", "partitionkey": "ada", "correlationid": "conversation-7"}
    message = to_binary(CloudEvent(attributes | {"datacontenttype": "application/avro"}, VALUE), Bytes())
    made = read(*message.headers.items(), key=message.key.encode(), value=message.value)
    assert made.problem == ""
    assert made.command_id == message.headers["ce_id"].decode()
    assert made.command.context == Context("conversation-7")


def test_an_empty_payload_and_one_of_the_largest_size_are_taken() -> None:
    for payload in (b"", bytes(COMMAND_BYTES_MAX)):
        made = read(TYPE, value=pack_confluent(3, payload))
        assert made.command is not None
        assert made.command.payload == payload


WRONG = [
    # what of the record is wrong, what the sentence must name
    ({"key": None}, "no key"),
    ({"key": b""}, "no key"),
    ({"key": b"\xff\xfe"}, "UTF-8"),
    ({"key": b"a/b"}, "must not contain '/'"),
    ({"key": b"a\x00b"}, "control"),
    ({"key": b"x" * 256}, "255 bytes"),
    ({"key": "e\u0301".encode()}, "normal form C"),
    ({"value": None}, "no value"),
    ({"value": b""}, "no value"),
    ({"value": b"\x00\x00\x00\x03"}, "zero byte"),
    ({"value": b'{"amount": 4}'}, "zero byte"),
    ({"value": b"\x00\xff\xff\xff\xff"}, "schema id"),
    ({"value": pack_confluent(3, bytes(COMMAND_BYTES_MAX + 1))}, f"limit of {COMMAND_BYTES_MAX}"),
    ({"timestamp_us": -1000}, "timestamp"),
    ({"timestamp_us": TIME_MAX_US + 1}, "timestamp"),
]
WRONG_HEADERS = [
    ([ID], "ce_type"),
    ([TYPE, ("ce_type", b"Deposit")], "repeated"),
    ([TYPE, ID, ID], "ce_id: must not be repeated"),
    ([("ce_type", None)], "ce_type: must have a value"),
    ([("ce_type", b"")], "ce_type"),
    ([("ce_type", b"\xff")], "UTF-8"),
    ([("ce_type", b"withdraw cash")], "ce_type"),
    ([("ce_type", b"W" * 100_00)], "ce_type"),
    ([("ce_type", b"shop.Withdraw")], "namespace bank"),
    ([("ce_type", b"bank.Checking.Withdraw")], "namespace bank"),
    ([("ce_type", b".Withdraw")], "namespace bank"),
    ([TYPE, ("ce_id", b"")], "ce_id"),
    ([TYPE, ("ce_id", b"a b")], "ce_id"),
    ([TYPE, ("ce_id", b"x" * 129)], "ce_id"),
    ([TYPE, ("ce_specversion", b"0.3")], "ce_specversion"),
    ([TYPE, ("evento-expected-version", b"-1")], "expected-version"),
    ([TYPE, ("evento-expected-version", "٣".encode())], "expected-version"),
    ([TYPE, ("evento-expected-version", b"9" * 5000)], "expected-version"),
    ([TYPE, ("evento-expected-version", b"9007199254740993")], "expected-version"),
    ([TYPE, ("evento-due", b"tomorrow")], "evento-due"),
    ([TYPE, ("evento-due", b"2026-05-31T12:00:00")], "evento-due"),
    ([TYPE, ("traceparent", b"00-0-0-00")], "traceparent"),
    ([TYPE, ("ce_correlationid", b"a b")], "ce_correlationid"),
    ([TYPE, ("ce_causationid", b"x" * 257)], "ce_causationid"),
    ([TYPE, *((f"x-{number}", b"") for number in range(HEADERS_MAX))], f"limit of {HEADERS_MAX}"),
    ([TYPE, ("x", bytes(HEADER_BYTES_MAX))], f"limit of {HEADER_BYTES_MAX}"),
    ([TYPE, ("x" * HEADER_BYTES_MAX, None)], f"limit of {HEADER_BYTES_MAX}"),
]


@pytest.mark.parametrize(("record", "named"), WRONG)
def test_a_record_with_unfit_content_is_a_sentence(record: dict[str, Any], named: str) -> None:
    made = read(TYPE, ID, **record)
    assert made.command is None
    assert named in made.problem
    assert made.command_id == "c1"
    assert made.key.id == ("" if "key" in record else "ada")


@pytest.mark.parametrize(("headers", "named"), WRONG_HEADERS)
def test_a_record_with_unfit_headers_is_a_sentence(headers: list[tuple[str, bytes | None]], named: str) -> None:
    made = read(*headers)
    assert made.command is None
    assert named in made.problem
    assert made.key.id == "ada"


names = st.sampled_from(
    [
        "ce_id",
        "ce_type",
        "ce_specversion",
        "ce_correlationid",
        "ce_causationid",
        "traceparent",
        "evento-due",
        "evento-expected-version",
    ]
)
hostile = (
    st.none() | st.binary(max_size=300) | st.sampled_from([b"Withdraw", b"1", b"1.0", TRACE.encode(), b"9999-12-31T23:59:59-23:59"])
)


@given(
    st.none() | st.binary(max_size=300) | st.text(max_size=40).map(str.encode),
    st.none() | st.binary(max_size=30) | st.binary(max_size=9).map(lambda payload: VALUE + payload),
    st.none() | st.lists(st.tuples(names | st.text(max_size=20), hostile), max_size=70),
    st.integers(-(2**63), 2**63),
)
def test_nothing_that_anybody_writes_is_an_exception(key, value, headers, timestamp_us: int) -> None:
    made = read_input(PLACE, 0, key=key, value=value, headers=headers, timestamp_us=timestamp_us)
    assert (made.command is None) == bool(made.problem)
    assert len(made.problem) < 1000
    made.problem.encode()
    if made.command is not None:
        assert made.command.key == made.key == ("bank", "Checking", check_instance_id(key.decode()))
        assert made.command.id == made.command_id == check_command_id(made.command_id)
        assert made == read_input(PLACE, 0, key=key, value=value, headers=headers, timestamp_us=timestamp_us)


PARTS = st.sampled_from(
    [b"", b"a", b".", b"..", b"a.b", b"a/b", b"ada", b"Withdraw", b"bank.Withdraw", b"\xff", "ä".encode(), b"x" * 300]
)
ANY_HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "other"]), st.none() | PARTS | st.binary(max_size=5)), max_size=3
)
ANY_VALUE = st.none() | PARTS | st.binary(max_size=12) | st.just(VALUE) | st.just(b"\0" + b"\xff" * 8) | st.just(b"\0" * 20_000)


@given(
    key=st.none() | PARTS, headers=ANY_HEADERS | st.just([ID, TYPE]), value=ANY_VALUE, time_us=st.sampled_from([TIME_US, -1, 2**60])
)
def test_the_short_way_through_the_usual_records_makes_what_the_long_way_makes(
    key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes | None, time_us: int
) -> None:
    made = read(*headers, key=key, value=value, timestamp_us=time_us)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_usual", lambda *arguments: None)
        assert read(*headers, key=key, value=value, timestamp_us=time_us) == made
