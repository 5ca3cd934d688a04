"""The thread that reads a file, and who asks it at the wrong time."""

import asyncio
from pathlib import Path
from threading import Event

import pytest

from evento.errors import JournalError
from evento.journal.sqlite import open_sqlite
from evento.journal.sqlite.reader import Reader
from evento.journal.sqlite.tail import Tail

WAIT_S = 30


async def test_who_asks_while_the_reader_ends_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "evento.db"
    async with open_sqlite(path):
        pass
    reader = Reader(path, Tail(0))
    await reader.start()
    begun, go_on = Event(), Event()

    def last() -> bool:
        begun.set()
        return go_on.wait(WAIT_S)

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(reader.call(last))
        assert await asyncio.to_thread(begun.wait, WAIT_S)
        ending = tasks.create_task(reader.stop())
        await asyncio.sleep(0)
        with pytest.raises(JournalError, match="the journal is closed"):
            await reader.call(int)
        go_on.set()
        assert await asked, "what was asked before is answered"
        await ending
