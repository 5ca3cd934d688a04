"""How an import that did not finish is known afterwards, so that nobody works with half of a history.

Two signs. The catalog is written last: a journal with turns and without a catalog is half an import, on whatever node it is opened.
And a file stands in the data folder from the first write to the last: it also covers the moment between the first version of the
catalog and the last one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from evento.errors import JournalIncomplete
from evento.journal.base import Journal

MARK = "IMPORTING"
_SENTENCE = "holds a part of an import that did not finish, and cannot be used: begin again with an empty journal"


@asynccontextmanager
async def importing_into(data_dir: Path) -> AsyncIterator[None]:
    """Mark the data folder for the time of the context; the mark stays if the context fails, or the process ends in it."""
    await asyncio.to_thread(_mark, data_dir)
    yield
    await asyncio.to_thread(_unmark, data_dir)


def refuse_marked(data_dir: Path) -> None:
    """Raise JournalIncomplete if an import into this data folder did not finish."""
    if (data_dir / MARK).exists():
        raise JournalIncomplete(f"the journal in {data_dir} {_SENTENCE}", path=str(data_dir))


async def refuse_without_catalog(journal: Journal) -> None:
    """Raise JournalIncomplete if a journal without a catalog has turns."""
    for partition in range(journal.partitions):
        if await journal.history.read_feed(partition, limit=1):
            raise JournalIncomplete(
                f"the journal {_SENTENCE} (it has Commands and Events, and no catalog; if there was one, restore its topic)"
            )


def _mark(data_dir: Path) -> None:
    with (data_dir / MARK).open("xb") as file:
        os.fsync(file.fileno())
    _sync(data_dir)


def _unmark(data_dir: Path) -> None:
    (data_dir / MARK).unlink()
    _sync(data_dir)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
