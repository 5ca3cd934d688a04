"""The SQLite journal as the port wants it: what is in memory is answered at once, the rest by the two threads. Knows no SQL."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from evento.errors import JournalBusy, JournalError
from evento.journal.base import CommandRef, EntityPlace, EventsEntry, History, InstanceEntry, Journal, Partition, TurnEntry
from evento.journal.sqlite.audit import audit
from evento.journal.sqlite.files import acquire, check_filesystem, release
from evento.journal.sqlite.hashing import command_hash
from evento.journal.sqlite.reader import Reader
from evento.journal.sqlite.store import Store
from evento.journal.sqlite.writer import Writer
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Transition


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[Journal]:
    """Open the journal in one file, making it and its directory if need be; nobody else can open it meanwhile.

    Raises JournalBusy (another process has it open), JournalCorrupt (the file stays as it is), JournalError.
    """
    writer = Writer(path, _locked(path))
    try:
        store = await writer.start()
        reader = Reader(path, store.tail)
        try:
            await reader.start()
            yield SqliteJournal(path, writer, reader, store)
        finally:
            await reader.stop()
    finally:
        await writer.stop()


@contextmanager
def _locked(path: Path) -> Iterator[Store]:
    lock = acquire(path.parent)
    try:
        check_filesystem(path.parent)
        with closing(Store(path)) as store:
            yield store
    finally:
        release(lock)


class SqliteJournal:
    """A journal of one partition in one file."""

    def __init__(self, path: Path, writer: Writer, reader: Reader, store: Store) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._store = store
        self._owned = False

    @property
    def history(self) -> History:
        """Return the reader's side."""
        return SqliteHistory(self._reader, self._store)

    @property
    def partitions(self) -> int:
        """Return 1."""
        return 1

    def partition_of(self, key: EntityKey) -> int:
        """Return 0."""
        return 0

    async def provide(self, entities: Sequence[EntityPlace]) -> None:
        """Do nothing: there is a place for everything."""

    async def read_owners(self) -> Mapping[int, str]:
        """Return nothing: no other process can open the file."""
        return {}

    def own(self, number: int) -> AbstractAsyncContextManager[Partition]:
        """Become the owner of partition 0. Raises JournalBusy if somebody else in this process is; other processes cannot be."""
        return self._own(number)

    async def check(self) -> Sequence[str]:
        """Check the whole file, and return every difference. It streams, for about ten seconds per million Commands; the file
        grows meanwhile by what is appended."""
        await self._writer.call(self._store.rounds.finish)
        return await asyncio.to_thread(audit, self._path)

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Return the catalog versions above `after`, in order."""
        return await self._reader.call(partial(self._reader.catalogs, after))

    async def append_catalog(self, version: int, content: bytes) -> bool:
        """Make one version durable, if it is the next one."""
        return await self._writer.call(partial(self._store.append_catalog, version, content))

    @asynccontextmanager
    async def _own(self, number: int) -> AsyncIterator[Partition]:
        if number != 0:
            raise JournalError(f"there is no partition {number}; this journal has one, 0", partition=number)
        if self._owned:
            raise JournalBusy("partition 0 has an owner in this process already", partition=0)
        self._owned = True
        partition = SqlitePartition(self._writer, self._reader, self._store)
        try:
            yield partition
        finally:
            partition.given_up = True
            with suppress(JournalError):  # then the appends have had it as their answer
                await self._writer.settle()
            self._owned = False


class StoreReads:
    """What an owner reads of its store."""

    def __init__(self, reader: Reader, store: Store) -> None:
        self._reader = reader
        self._store = store

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        """Return the stored state of each instance that has any event; without a read if all of them are in memory."""
        heads, missing = self._store.tail.find_all(keys)
        states: dict[EntityKey, State] = {}
        for key, head in heads.items():
            if head.state is not None:
                states[key] = head.state
            elif head.version:
                missing.append(key)
        if missing:
            states.update(await self._reader.call(partial(self._reader.states, missing)))
        return states

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        """Return the turns of those Commands that are finished; without a read if no filter knows any of them."""
        might_contain, modulus = self._store.filter.might_contain, self._store.modulus
        wanted = {}
        for ref in refs:
            number = command_hash(modulus, ref.key, ref.command_id)
            if might_contain(number):
                wanted[ref] = number
        if not wanted:
            return {}
        return await self._reader.call(partial(self._reader.turns, self._store.tail.view, wanted))

    async def read_pending(self) -> Sequence[Pending]:
        """Return everything pending, ordered by number."""
        return await self._reader.call(self._reader.pending)


class SqlitePartition(StoreReads):
    """The owner's side."""

    def __init__(self, writer: Writer, reader: Reader, store: Store) -> None:
        super().__init__(reader, store)
        self._writer = writer
        self.given_up = False

    @property
    def number(self) -> int:
        """Return 0."""
        return 0

    @property
    def inputs(self) -> None:
        """Return None: Commands come through the platform."""

    async def wait_revoked(self) -> None:
        """Wait for ever: nobody else can open the file."""
        await asyncio.get_running_loop().create_future()

    async def append(self, transition: Transition) -> Appended | Conflict:
        """Make the transition durable, and return when it is."""
        if self.given_up:
            raise JournalError("this partition was given up; nothing was stored")
        return await self._writer.append(transition, self._store)


class SqliteHistory:
    """What anybody may read."""

    def __init__(self, reader: Reader, store: Store) -> None:
        self._reader = reader
        self._store = store

    async def read_stream(self, key: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        """Return turns with events of one instance, as many as are needed for `limit` events."""
        return await self._reader.call(partial(self._reader.stream, self._store.tail.view, key, after, limit))

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        """Return the finished turn of one Command, or None."""
        wanted = {ref: command_hash(self._store.modulus, ref.key, ref.command_id)}
        found = await self._reader.call(partial(self._reader.turns, self._store.tail.view, wanted))
        return found.get(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        """Return about `limit` turns in the order of their commits, all of one position together."""
        return await self._reader.call(partial(self._reader.feed, self._store.tail.view, after, limit))

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        """Return what a fold needs of the turns that `read_feed` returns."""
        return await self._reader.call(partial(self._reader.events, self._store.tail.view, after, limit))

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        """Return instances of one Entity by id."""
        if partitions is not None and 0 not in partitions:
            return []
        above = EntityKey(namespace, entity, after)
        found = await self._reader.call(partial(self._reader.instances, self._store.tail.view, above, limit))
        return [InstanceEntry(key=key, state=state) for key, state in found]
