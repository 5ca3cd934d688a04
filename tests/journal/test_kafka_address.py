"""Addresses of a journal on Kafka: what is meant, and what is wrong with those that mean nothing."""

import pytest

from evento.errors import SettingsError
from evento.journal.kafka.address import KafkaAddress, parse_address


def test_brokers_alone_are_enough() -> None:
    assert parse_address("kafka://one:9092") == KafkaAddress(bootstrap="one:9092", partitions=8, replication=3, min_insync=2)


def test_everything_can_be_said() -> None:
    address = parse_address("kafka://one:9092,[::1]:9093/?prefix=acme.&partitions=256&replication=5&min_insync=3")
    expected = KafkaAddress(bootstrap="one:9092,[::1]:9093", prefix="acme.", partitions=256, replication=5, min_insync=3)
    assert address == expected


@pytest.mark.parametrize(("replication", "expected"), [(1, 1), (2, 2), (3, 2), (5, 2)])
def test_a_record_is_told_when_two_copies_have_it_if_there_are_two(replication: int, expected: int) -> None:
    assert parse_address(f"kafka://one:1?replication={replication}").min_insync == expected


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("sqlite://one:1", "kafka://"),
        ("kafka://", "host:port"),
        ("kafka://one", "host:port"),
        ("kafka://one:1,", "host:port"),
        ("kafka://one:0", "host:port"),
        ("kafka://one:65536", "host:port"),
        ("kafka://a b:1", "host:port"),
        ("kafka://one:1/topics", "'/topics'"),
        ("kafka://one:1#x", "'x'"),
        ("kafka://one:1?prefix", "name=value"),
        ("kafka://one:1?topic=x", "'topic'"),
        ("kafka://one:1?partitions=1&partitions=1", "twice"),
        ("kafka://one:1?partitions=0", "1 to 256"),
        ("kafka://one:1?partitions=257", "1 to 256"),
        ("kafka://one:1?partitions=eight", "'eight'"),
        ("kafka://one:1?replication=0", "1 to 9"),
        ("kafka://one:1?replication=2&min_insync=3", "1 to 2"),
        ("kafka://one:1?prefix=acme", "prefix"),
        ("kafka://one:1?prefix=a/c.", "prefix"),
        ("kafka://one:1?prefix=" + "a" * 60 + ".", "at most 60"),
        ("kafka://one:1?" + "a" * 4096, "4096"),
    ],
)
def test_what_is_wrong_is_told(address: str, what: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_address(address)
    assert what in error.value.message.partition(" Example:")[0]


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match=r"sasl\.password") as error:
        parse_address("kafka://me:hush@one:9092?partitions=0")
    assert "hush" not in repr(error.value) + repr(error.value.details)
