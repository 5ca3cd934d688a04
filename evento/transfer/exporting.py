"""A journal becomes a folder of files. It streams: one page of turns, and whatever is pending, is all that is in memory.

All partitions are owned meanwhile, so that nothing is appended, and what is read belongs together.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from evento.errors import TransferRefused
from evento.journal.base import Journal, Partition, TurnEntry
from evento.registry.contents import Contents
from evento.registry.records import decode_change
from evento.transfer.container import ContainerWriter, FileEntry
from evento.transfer.kinds import CATALOG, PENDING, SCHEMA, STATE, TURN, Kind
from evento.transfer.manifest import CATALOGS, FORMAT, SCHEMAS, STATES, Counts, Manifest, turns_name, write_manifest
from evento.transfer.manifest import PENDING as PENDINGS
from evento.transfer.owning import owning_all
from evento.transfer.records import Record, pending_record, state_record, turn_record
from evento.transfer.stepping import Progress, silent
from evento.transfer.unfinished import refuse_without_catalog

PART_BYTES = 64 * 1024 * 1024  # a file of turns is closed by the page that goes over it
PAGE = 1_000  # turns or states read at a time


async def export_journal(journal: Journal, folder: Path, *, progress: Progress = silent, part_bytes: int = PART_BYTES) -> Manifest:
    """Write everything that a journal holds into a folder, which must be new or empty; return what was written.

    Raises TransferRefused, JournalError; then the folder holds no manifest, and nobody takes it for an export.
    """
    await asyncio.to_thread(_prepare, folder)
    async with owning_all(journal) as owned:
        export = _Export(journal, folder, progress, part_bytes)
        await export.catalogs()
        for number in range(journal.partitions):
            await export.turns(number)
        await export.states()
        await export.pending(owned)
    return await asyncio.to_thread(export.finish)


class _Export:
    def __init__(self, journal: Journal, folder: Path, progress: Progress, part_bytes: int) -> None:
        self._journal = journal
        self._folder = folder
        self._progress = progress
        self._part_bytes = part_bytes
        self._contents = Contents()
        self._files: list[FileEntry] = []
        self._counts = dict.fromkeys(Counts.__struct_fields__, 0)

    async def catalogs(self) -> None:
        versions = await self._journal.read_catalogs()
        if not versions:
            await refuse_without_catalog(self._journal)
            raise TransferRefused("nothing was ever deployed here: there is nothing to export")
        for version, content in versions:
            self._contents.absorb(version, decode_change(version, content))
        texts = [{"id": number, "text": text} for number, text in enumerate(self._contents.texts, 1)]
        await self._write_whole(CATALOGS, CATALOG, [{"version": version, "content": content} for version, content in versions])
        await self._write_whole(SCHEMAS, SCHEMA, texts)
        self._counts |= {"catalogs": len(versions), "schemas": len(texts)}

    async def turns(self, partition: int) -> None:
        """Write the turns of one partition, in parts."""
        writer: ContainerWriter | None = None
        part = after = 0
        while page := await self._journal.history.read_feed(partition, after=after, limit=PAGE):
            if writer is None:
                part += 1
                writer = await asyncio.to_thread(ContainerWriter, self._folder / turns_name(partition, part), TURN)
            size = await asyncio.to_thread(_write_turns, writer, page)
            after = page[-1].position
            self._counts["turns"] += len(page)
            self._counts["events"] += sum(len(entry.turn.events) for entry in page)
            self._progress("turns", self._counts["turns"], None)
            if size >= self._part_bytes:
                self._files.append(await asyncio.to_thread(writer.close))
                writer = None
        if writer is not None:
            self._files.append(await asyncio.to_thread(writer.close))

    async def states(self) -> None:
        writer = await asyncio.to_thread(ContainerWriter, self._folder / STATES, STATE)
        async for page in self._pages_of_states():
            await asyncio.to_thread(writer.write, page)
            self._counts["states"] += len(page)
            self._progress("states", self._counts["states"], None)
        self._files.append(await asyncio.to_thread(writer.close))

    async def _pages_of_states(self) -> AsyncIterator[Sequence[Record]]:
        for namespace, entity in sorted(self._contents.entities):
            after = ""
            while page := await self._journal.history.read_instances(namespace, entity, after=after, limit=PAGE):
                after = page[-1].key.id
                yield [state_record(entry) for entry in page]

    async def pending(self, owned: Sequence[Partition]) -> None:
        entries = [(entry, partition.number) for partition in owned for entry in await partition.read_pending()]
        entries.sort(key=lambda each: (each[0].number, each[1]))
        await self._write_whole(PENDINGS, PENDING, (pending_record(number, entry) for entry, number in entries))
        self._counts["pending"] = len(entries)

    async def _write_whole(self, name: str, kind: Kind, records: Iterable[Record]) -> None:
        self._files.append(await asyncio.to_thread(_written, self._folder / name, kind, records))

    def finish(self) -> Manifest:
        """Write the manifest; only then it is an export."""
        files = tuple(sorted(self._files, key=lambda entry: entry.name))
        manifest = Manifest(FORMAT, self._journal.partitions, Counts(**self._counts), files)
        write_manifest(self._folder, manifest)
        return manifest


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = next(folder.iterdir(), None)
    except OSError as error:
        raise TransferRefused(f"{folder} cannot be used: {error.strerror}") from error
    if used is not None:
        raise TransferRefused(f"{folder} is not empty; export into a new folder")


def _write_turns(writer: ContainerWriter, page: Sequence[TurnEntry]) -> int:
    return writer.write(turn_record(entry.turn) for entry in page)


def _written(path: Path, kind: Kind, records: Iterable[Record]) -> FileEntry:
    writer = ContainerWriter(path, kind)
    writer.write(records)
    return writer.close()
