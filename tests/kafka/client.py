"""Plain Kafka clients for tests: make a topic, write to it, read all of it. They know nothing of Evento."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.broker import quiet

ANSWER_S = 90.0  # brokers that have just been killed, or stand still, are waited for


def make_topic(
    bootstrap: str, name: str, *, partitions: int = 1, replication: int = 1, config: Mapping[str, str] | None = None
) -> str:
    """Make a topic and return its name when it is there."""
    new = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(config or {}))
    admin = AdminClient(quiet(bootstrap))  # what it is asked for ends with it
    for made in admin.create_topics([new], operation_timeout=ANSWER_S).values():
        made.result(ANSWER_S)
    give_up = time.monotonic() + ANSWER_S
    while admin.list_topics(name, timeout=ANSWER_S).topics[name].error is not None:  # who is asked hears of it a little later
        assert time.monotonic() < give_up, f"the broker does not hear of {name}"
        time.sleep(0.02)
    return name


def producer(bootstrap: str, transactional_id: str = "", **more: str | int) -> Producer:
    """Return a producer; a transactional one is ready to begin."""
    config = {**quiet(bootstrap), "enable.idempotence": "true", "retry.backoff.ms": 1, "retry.backoff.max.ms": 5, **more}
    if not transactional_id:
        return Producer(config)
    made = Producer({**config, "transactional.id": transactional_id})
    made.init_transactions(ANSWER_S)
    return made


def write(bootstrap: str, topic: str, values: Sequence[str]) -> None:
    """Write values, and return when the broker has them."""
    writing = producer(bootstrap)
    for value in values:
        writing.produce(topic, value.encode(), partition=0)
    assert writing.flush(ANSWER_S) == 0


def ends(bootstrap: str, places: Iterable[tuple[str, int]], *, committed: bool) -> Mapping[tuple[str, int], int]:
    """Return how far partitions reach, with what is stable only (`committed`), or with all there is."""
    isolation = "read_committed" if committed else "read_uncommitted"
    with closing(Consumer({**quiet(bootstrap), "group.id": "reader", "isolation.level": isolation})) as consumer:
        return {place: consumer.get_watermark_offsets(TopicPartition(*place), ANSWER_S)[1] for place in places}


def read(bootstrap: str, topic: str, *, committed: bool = True) -> list[str]:
    """Return all values of a topic of one partition, up to what is stable now (`committed`), or up to its end."""
    isolation = "read_committed" if committed else "read_uncommitted"
    own = {"group.id": "reader", "enable.auto.commit": "false", "enable.partition.eof": "true", "isolation.level": isolation}
    consumer = Consumer({**quiet(bootstrap), **own})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    values = []
    try:
        while (message := consumer.poll(ANSWER_S)) is not None and message.error() is None:
            values.append((message.value() or b"").decode())
        assert message is not None, "the broker does not answer"
        return values
    finally:
        consumer.close()
