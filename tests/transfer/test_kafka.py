"""The way that this is for: from one machine's journal to Kafka, and back, on a real broker."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from evento.clock import SystemClock
from evento.errors import JournalIncomplete
from evento.journal.base import Journal
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.security import Properties
from evento.journal.sqlite import open_sqlite
from evento.transfer.checking import check_export
from evento.transfer.exporting import export_journal
from evento.transfer.importing import import_journal
from evento.transfer.unfinished import refuse_without_catalog
from tests.faults.node import Node
from tests.kafka.broker import run_tool
from tests.kafka.fixtures import Kafka
from tests.transfer.samples import apart, everything, fill


@asynccontextmanager
async def on_kafka(kafka: Kafka, data: Path) -> AsyncIterator[Journal]:
    cluster = Cluster(address=parse_address(kafka.address(partitions=3)), security=Properties(), client_id="http://127.0.0.1:7070")
    async with open_kafka(cluster, data, SystemClock()) as journal:
        yield journal


async def test_a_history_moves_to_kafka_and_back(kafka: Kafka, tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "old" / "evento.db") as old:
        await fill(old)
        before = await everything(old)
        await export_journal(old, tmp_path / "there")
    async with on_kafka(kafka, tmp_path / "node") as journal:
        await import_journal(journal, await check_export(tmp_path / "there"), nullcontext())
        assert apart(await everything(journal)) == apart(before)
        assert list(await journal.check()) == []
    async with on_kafka(kafka, tmp_path / "other node") as again:
        await export_journal(again, tmp_path / "back")
    async with open_sqlite(tmp_path / "new" / "evento.db") as new:
        await import_journal(new, await check_export(tmp_path / "back"), nullcontext())
        assert apart(await everything(new)) == apart(before)
        assert list(await new.check()) == []


async def test_half_an_import_is_seen_by_every_node_and_begun_again_without_its_topics(kafka: Kafka, tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "old" / "evento.db") as old:
        await fill(old)
        await export_journal(old, tmp_path / "there")
    async with on_kafka(kafka, tmp_path / "node") as journal:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(type(journal), "append_catalog", lambda *_: 1 / 0)
            await import_journal(journal, await check_export(tmp_path / "there"), nullcontext())
    async with on_kafka(kafka, tmp_path / "other node") as other:
        await other.provide([])
        with pytest.raises(JournalIncomplete):
            await refuse_without_catalog(other)
    with Node(tmp_path / "program") as program:
        data = tmp_path / "third node"
        again = ("import", str(tmp_path / "there"), "--journal", kafka.address(partitions=3), "--data", str(data))
        assert "the journal is not empty" in program.evento(*again, status=1)
        await asyncio.to_thread(shutil.rmtree, data)
        pattern = re.escape(kafka.prefix) + ".*"
        await asyncio.to_thread(run_tool, f"kafka-topics.sh --bootstrap-server {kafka.bootstrap} --delete --topic '{pattern}'")
        assert "partitions: 1\ncatalogs: 3" in program.evento(*again)
