"""One contract, every backend."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from evento.clock import SystemClock
from evento.journal.base import EntityPlace, Journal
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.security import Properties
from evento.journal.memory import MemoryJournal
from evento.journal.sqlite import indexing, open_sqlite, tail
from evento.testing.journal_contract import JournalContract, OpenJournal
from tests.kafka.fixtures import Kafka

ENTITIES = [EntityPlace("bank", entity) for entity in ("Account", "Savings", "Accounts", "Account2")]


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        journal = MemoryJournal()

        @asynccontextmanager
        async def opened() -> AsyncIterator[Journal]:
            yield journal

        return opened


class TestSqliteJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def blocking_calls_fail(self) -> Iterator[None]:
        """Nothing here may block the event loop: files belong to the journal's threads."""
        with blockbuster_ctx("evento.journal"):
            yield

    @pytest.fixture
    def open_journal(self, tmp_path: Path) -> OpenJournal:
        return lambda: open_sqlite(tmp_path / "data" / "evento.db")


class TestSqliteJournalThatIndexesAllTheTime(TestSqliteJournal):
    """Small rounds: what is found in the tail above is found on disk here, and while it moves."""

    @pytest.fixture(autouse=True)
    def small_rounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tail, "ROUND_RUNS", 5)
        monkeypatch.setattr(tail, "CACHE_HEADS_MAX", 3)
        monkeypatch.setattr(indexing, "CHUNK_POSITIONS", 3)


class TestKafkaJournal(JournalContract):
    partitions = 1

    @pytest.fixture(autouse=True)
    def blocking_calls_fail(self) -> Iterator[None]:
        """Nothing here may block the event loop: clients and files belong to the journal's threads."""
        with blockbuster_ctx("evento.journal"):
            yield

    @pytest.fixture
    def open_journal(self, kafka: Kafka, tmp_path: Path) -> OpenJournal:
        address = parse_address(kafka.address(partitions=self.partitions))
        cluster = Cluster(address=address, security=Properties(), client_id="http://127.0.0.1:7070")

        @asynccontextmanager
        async def opened() -> AsyncIterator[Journal]:
            async with open_kafka(cluster, tmp_path, SystemClock()) as journal:
                await journal.provide(ENTITIES)
                yield journal

        return opened


class TestKafkaJournalOfThreePartitions(TestKafkaJournal):
    partitions = 3
