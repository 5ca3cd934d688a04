"""One contract, every backend."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from evento.journal.base import Journal
from evento.journal.memory import MemoryJournal
from evento.journal.sqlite import indexing, open_sqlite, tail
from evento.testing.journal_contract import JournalContract, OpenJournal


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
