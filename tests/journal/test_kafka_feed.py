"""Reading a partition's topics ahead, on a real broker: how much that may be, and that nothing is lost by it."""

import time

import pytest
from confluent_kafka import Producer

from evento.journal.kafka.clients import follower_properties, reader_properties
from evento.journal.kafka.feed import Feed
from tests.journal.kafka_child import cluster_at
from tests.kafka.client import make_topic, write
from tests.kafka.fixtures import Kafka

RECORDS = 32_000
FULL_S = 3.0  # nothing more comes within this time, on a busy machine too: it has enough
ALL_S = 60.0


@pytest.mark.parametrize(("shares", "least", "most"), [(1, 20_001, 30_001), (8, 2_501, 3_751)])
def test_what_is_read_ahead_is_shared_by_all_partitions(kafka: Kafka, shares: int, least: int, most: int) -> None:
    """A node may own many of them, and all may have a backlog."""
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}topic", partitions=1)
    values = [str(number) for number in range(RECORDS)]
    write(kafka.bootstrap, topic, values)
    feed = Feed(follower_properties(cluster_at(kafka.address(), "http://a"), "group", shares), 0, shares)
    try:
        feed.add({topic: 0})
        until = time.monotonic() + ALL_S
        while time.monotonic() < until and (feed.fill(FULL_S) or feed.is_taken(topic)):
            pass
        taken = list(feed.take(topic, RECORDS))
        assert least <= len(taken) <= most
        while time.monotonic() < until and not feed.has_ended(topic):
            feed.fill(FULL_S)
            taken += feed.take(topic, RECORDS)
        assert [(message.value() or b"").decode() for message in taken] == values
    finally:
        feed.close()


def test_where_the_next_record_is_is_known_once_it_is_here(kafka: Kafka) -> None:
    """Behind each commit is its marker, which nobody takes; who has read up to there need not read again what is here."""
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}topic", partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}commits"})
    producer.init_transactions()
    for _ in range(2):
        producer.begin_transaction()
        for value in (b"a", b"b"):
            producer.produce(topic, value, partition=0)
        producer.commit_transaction()
    feed = Feed(reader_properties(cluster_at(kafka.address(), "http://a"), "group"), 0)
    try:
        feed.add({topic: 0})
        while feed.fill(FULL_S):
            pass
        assert (feed.reached(topic), feed.next_offset(topic)) == (0, 0)
        assert [message.offset() for message in feed.take(topic, 2)] == [0, 1]
        assert (feed.reached(topic), feed.next_offset(topic)) == (2, 3)
        assert [message.offset() for message in feed.take(topic, 2)] == [3, 4]
        assert (feed.reached(topic), feed.next_offset(topic)) == (6, 6)
        assert feed.has_ended(topic)
    finally:
        feed.close()
