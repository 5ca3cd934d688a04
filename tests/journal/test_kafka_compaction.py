"""Topics that the broker has really compacted, to their very end (reliability §7, 12): they are read to there, nothing hangs."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from evento.journal.kafka import restore
from evento.model.command import Pending
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, command, keys, run, state
from tests.faults.node import eventually
from tests.journal.test_kafka_owners import opened, owned
from tests.kafka.broker import quiet
from tests.kafka.client import producer
from tests.kafka.fixtures import Kafka

ANSWER_S = 90.0
COMPACTED_S = 180.0  # it takes some 5 s
PASS_S = 3.0  # the broker looks for something to compact each second
ROLL_S = 0.1  # a segment is closed once it is so old and something is to be written; the last one is never compacted
EAGER = {
    "segment.ms": str(int(ROLL_S * 1000)),
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
    "min.compaction.lag.ms": "0",
}


async def test_what_was_compacted_away_at_the_end_is_not_waited_for(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "PENDING_TRUSTED_S", 0.0)  # as short against `delete.retention.ms` as a day is against a week
    address = kafka.address(partitions=1)
    state_topic, pending_topic = f"{kafka.prefix}bank.Account.state", f"{kafka.prefix}evento.pending"
    async with owned(address, tmp_path / "a") as (journal, partition):
        first, second = keys(journal, 2)
        await appended(partition, run(first, 0, "c0"), run(second, 0, "c0"))
        await partition.append(Transition(pending=(Pending(1, command(first, "waits")),)))
    async with owned(address, tmp_path / "half") as (_, partition):  # a replica that ends before what is compacted away
        await appended(partition, run(first, 1, "c1"))
    async with owned(address, tmp_path / "a") as (_, partition):
        await appended(partition, run(first, 2, "c2"), run(second, 1, "c1"))
        await partition.append(Transition(resolved=(1,)))
    alter(kafka, [state_topic, pending_topic], EAGER)
    await asyncio.to_thread(compact, kafka, {state_topic: 2, pending_topic: 0})
    alter(kafka, [pending_topic, state_topic], {"delete.retention.ms": str(7 * 24 * 3600 * 1000)})  # else no node starts
    for name in ("half", "new"):
        async with owned(address, tmp_path / name) as (journal, partition):
            found = await partition.read_states([first, second])
            assert {key: each.version for key, each in found.items()} == {first: 3, second: 2}
            assert await partition.read_pending() == []
            assert list(await journal.check()) == []
    async with asyncio.timeout(ANSWER_S), opened(address, tmp_path / "reader") as journal:
        [entry, _] = await journal.history.read_instances("bank", "Account")
        assert entry.state == state(3)


def alter(kafka: Kafka, topics: list[str], settings: dict[str, str]) -> None:
    """Set settings of topics."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()]
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries) for topic in topics]
    admin = AdminClient(quiet(kafka.bootstrap))  # what it is asked for ends with it
    for altered in admin.incremental_alter_configs(resources).values():
        altered.result(ANSWER_S)


def compact(kafka: Kafka, counts: Mapping[str, int]) -> None:
    """Let the broker compact topics until each has so many records, committed or not, and behind them a control record alone.

    One pass marks what says that a key is gone, and the next one removes it; for each, something must have been written.
    """
    stranger = producer(kafka.bootstrap, f"{kafka.prefix}stranger")
    for _ in eventually(f"the topics are compacted to {counts} records", COMPACTED_S):
        abort_behind(stranger, counts)
        give_up = time.monotonic() + PASS_S
        while time.monotonic() < give_up:
            if all(len(read_uncommitted(kafka, topic)) == count for topic, count in counts.items()):
                return


def abort_behind(stranger: Producer, topics: Iterable[str]) -> None:
    """Write records that are aborted, so that a segment is closed behind them, and the next one has a control record alone."""
    stranger.begin_transaction()
    for topic in topics:
        stranger.produce(topic, b"never", b"nobody", partition=0)
    assert stranger.flush(ANSWER_S) == 0
    time.sleep(3 * ROLL_S)
    stranger.abort_transaction(ANSWER_S)


def read_uncommitted(kafka: Kafka, topic: str) -> list[Message]:
    """Return whatever records the first partition has."""
    own = {"group.id": "anybody", "enable.partition.eof": True, "isolation.level": "read_uncommitted"}
    consumer, found = Consumer({**quiet(kafka.bootstrap), **own}), list[Message]()
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    try:
        while (message := consumer.poll(ANSWER_S)) is not None and message.error() is None:
            found.append(message)
        assert message is not None, "the broker does not answer"
        return found
    finally:
        consumer.close()
