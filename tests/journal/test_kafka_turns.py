"""How many commits a node makes at once, and what is in those that wait for their turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event, Semaphore

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from evento.clock import SystemClock
from evento.errors import JournalRewind
from evento.journal.base import Journal
from evento.journal.kafka import journal as kafka_journal
from evento.journal.kafka.journal import open_kafka
from evento.journal.observer import JournalObserver
from evento.model.transition import Conflict, Transition
from evento.testing.journal_samples import appended, keys, run
from tests.journal.kafka_child import ENTITIES, cluster_at
from tests.journal.test_kafka_owners import PATIENT
from tests.kafka.fixtures import Kafka

WAIT_S = 120.0


class Turns(Semaphore):
    """One at a time, and tells that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked = Event()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        self.asked.set()
        return super().acquire(blocking, timeout)

    __enter__ = acquire


class Commits(JournalObserver):
    """Counts them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def committed(self, seconds: float, records: int) -> None:
        self.seconds.append(seconds)


@asynccontextmanager
async def opened(kafka: Kafka, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Journal, Turns, Commits]]:
    turns, commits = Turns(), Commits()
    monkeypatch.setattr(kafka_journal, "Semaphore", lambda _: turns)
    cluster = replace(cluster_at(kafka.address(partitions=1)), times=PATIENT)
    async with asyncio.timeout(WAIT_S), open_kafka(cluster, folder, SystemClock(), observer=commits) as journal:
        await journal.provide(ENTITIES)
        yield journal, turns, commits


async def test_what_comes_while_a_commit_waits_for_its_turn_goes_into_it(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kafka, tmp_path, monkeypatch) as (journal, turns, commits), journal.own(0) as partition:
        first, second, third = keys(journal, 3)
        assert turns.acquire()  # as another partition does
        turns.asked.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(appended(partition, run(first, 0, "c1")))
            assert await asyncio.to_thread(turns.asked.wait, WAIT_S)
            tasks.create_task(appended(partition, run(second, 0, "c2")))
            tasks.create_task(appended(partition, run(third, 0, "c3")))
            await asyncio.sleep(0.2)
            turns.release()
        [seconds] = commits.seconds
        assert seconds >= 0.2, "the wait for the turn counts"


async def test_a_turn_is_given_back_whatever_becomes_of_it(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(kafka, tmp_path, monkeypatch) as (journal, _, commits):
        [key] = keys(journal, 1)
        async with journal.own(0) as partition:
            assert await partition.append(Transition(runs=(run(key, 5, "c1"),))) == Conflict(key, before=5, actual=0)
            await appended(partition, run(key, 0, "c1"))
            other = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"})
            other.init_transactions(WAIT_S)
            with pytest.raises(JournalRewind):
                await partition.append(Transition(runs=(run(key, 1, "c2"),)))
        async with journal.own(0) as partition:
            await appended(partition, run(key, 1, "c3"))
        assert len(commits.seconds) == 2
