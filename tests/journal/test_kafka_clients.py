"""What our Kafka clients are told: the client library takes all of it without a word, and nobody changes what promises rest on."""

import logging
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from evento.errors import SettingsError
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import (
    Cluster,
    Times,
    admin_properties,
    follower_properties,
    lane_producer_properties,
    member_properties,
    offsets_properties,
    reader_properties,
)
from evento.journal.kafka.security import Properties
from evento.settings import Settings

CLUSTER = Cluster(address=parse_address("kafka://127.0.0.1:1"), security=Properties({"client.rack": "b"}), client_id="node")
ALL: list[tuple[Callable[[Properties], object], Properties]] = [
    (AdminClient, admin_properties(CLUSTER)),
    (Producer, lane_producer_properties(CLUSTER, "evento.7", message_bytes_max=1 << 20)),
    (Consumer, member_properties(CLUSTER, "evento")),
    (Consumer, reader_properties(CLUSTER, "evento")),
    (Consumer, follower_properties(CLUSTER, "evento", 1)),
    (Consumer, follower_properties(CLUSTER, "evento", 8)),
    (Consumer, offsets_properties(CLUSTER, "read_committed")),
]


@pytest.mark.parametrize(("make", "properties"), ALL)
def test_the_client_library_takes_it_and_warns_of_nothing(
    make: Callable[[Properties], object], properties: Properties, capfd: pytest.CaptureFixture[str]
) -> None:
    make(
        Properties({name: value for name, value in properties.items() if name != "logger"})
    )  # without it, it writes where we see it
    assert "CONFWARN" not in capfd.readouterr().err


def test_what_is_ours_goes_over_what_comes_from_outside() -> None:
    outside = Properties({"acks": "1", "client.rack": "b"})
    told = lane_producer_properties(replace(CLUSTER, security=outside), "evento.7", message_bytes_max=1)
    assert (told["acks"], told["enable.idempotence"], told["client.rack"]) == ("all", True, "b")


def test_consumers_read_what_is_committed_and_never_begin_elsewhere_than_told() -> None:
    followers = [follower_properties(CLUSTER, "evento", shares) for shares in (1, 8)]
    for properties in (member_properties(CLUSTER, "evento"), reader_properties(CLUSTER, "evento"), *followers):
        assert properties["isolation.level"] == "read_committed"
        assert properties["auto.offset.reset"] == "error"
        assert properties["enable.auto.commit"] is properties["enable.auto.offset.store"] is False
        assert int(properties["queued.max.messages.kbytes"]) <= 16_384


def test_many_who_wait_for_records_have_no_more_ahead_than_one_would() -> None:
    names = ("queued.min.messages", "queued.max.messages.kbytes")
    one, many = (follower_properties(CLUSTER, "evento", shares) for shares in (1, 8))
    assert [8 * int(many[name]) for name in names] == [int(one[name]) for name in names]


def test_a_topic_that_is_gone_does_not_come_back_by_being_asked_for_or_written_to() -> None:
    for _, properties in ALL:
        assert properties["allow.auto.create.topics"] is False


def test_who_reads_fast_is_not_left_without_records_for_a_second() -> None:
    assert reader_properties(CLUSTER, "evento")["fetch.queue.backoff.ms"] == 5


def test_the_librarys_lines_are_logged() -> None:
    assert all(isinstance(properties["logger"], logging.Logger) for _, properties in ALL)


@pytest.mark.parametrize(
    ("times", "what"),
    [
        ({"message_ms": 20_001}, "message_ms"),
        ({"request_ms": 19_901}, "request_ms"),
        ({"heartbeat_ms": 5_001}, "heartbeat_ms"),
        ({"poll_ms": 14_999}, "session_ms"),
    ],
)
def test_times_that_do_not_fit_are_refused(times: dict[str, int], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        Times(**times)
    Times(**{name: value - 1 if name != "poll_ms" else value + 1 for name, value in times.items()})


@pytest.mark.parametrize("session_s", [2, 2.5, 7.3, 119.9, 120])
def test_all_times_follow_from_the_session(session_s: float) -> None:
    times = Times.of_session(session_s)
    assert 0 <= session_s * 1000 - times.session_ms < 15
    assert times.heartbeat_ms * 5 == times.session_ms
    assert times.request_ms < times.message_ms <= times.transaction_ms
    assert times.poll_ms == max(60_000, 4 * times.session_ms)


def test_the_defaults_are_those_of_the_default_session() -> None:
    assert Times.of_session(Settings().kafka_session_s) == Times()
