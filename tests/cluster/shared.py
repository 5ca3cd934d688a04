"""A journal that several nodes of one process share: a MemoryJournal for each partition, and who is given which.

It stands for what the nodes have between them, and for nothing of theirs: the nodes and the HTTP between them are real.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from evento.errors import JournalRewind
from evento.journal.base import CommandRef, EntityPlace, EventsEntry, InstanceEntry, Partition, TurnEntry
from evento.journal.memory import MemoryJournal, MemoryPartition
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Transition


class Shared:
    """What the nodes share."""

    def __init__(self, partitions: int) -> None:
        self.parts = [MemoryJournal() for _ in range(partitions)]
        self.assigned: dict[int, str] = {}
        self.owners: dict[int, str] = {}
        self.catalogs: list[bytes] = []
        self.changed = asyncio.Event()
        self.silent: set[str] = set()  # nodes that hear of no commit any more: it is durable, and they are not told
        self.committed = asyncio.Event()  # something was committed by a silent node
        self.commit_s: Callable[[], float] = lambda: 0.002
        self.fails: Callable[[], bool] = lambda: False  # whether a commit does, and with it those that follow

    def assign(self, address: str, *numbers: int) -> None:
        """Give partitions to a node; its owner until now is asked to give them up."""
        self.assigned.update(dict.fromkeys(numbers, address))
        self.tell()

    def tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def turns(self) -> list[Turn]:
        return [turn for part in self.parts for _, turn, _ in part.log]


class SharedJournal:
    """One node's side of it."""

    def __init__(self, shared: Shared, address: str) -> None:
        self.shared = shared
        self.address = address
        self.history = SharedHistory(shared, self.partition_of)
        self.provided: list[EntityPlace] = []

    @property
    def partitions(self) -> int:
        return len(self.shared.parts)

    async def provide(self, entities: Sequence[EntityPlace]) -> None:
        self.provided += entities

    def partition_of(self, key: EntityKey) -> int:
        return zlib.crc32(key.id.encode()) % self.partitions

    async def read_owners(self) -> Mapping[int, str]:
        return {number: owner for number, owner in self.shared.owners.items() if owner != self.address}

    def own(self, number: int) -> AbstractAsyncContextManager[Partition]:
        return self._own(number)

    async def check(self) -> Sequence[str]:
        return []

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        return list(enumerate(self.shared.catalogs, 1))[after:]

    async def append_catalog(self, version: int, content: bytes) -> bool:
        if version != len(self.shared.catalogs) + 1:
            return False
        self.shared.catalogs.append(content)
        return True

    @asynccontextmanager
    async def _own(self, number: int) -> AsyncIterator[Partition]:
        shared = self.shared
        while shared.assigned.get(number) != self.address or number in shared.owners:
            await shared.changed.wait()
        shared.owners[number] = self.address
        shared.tell()
        inner = shared.parts[number].owner = MemoryPartition(shared.parts[number])
        try:
            yield SharedPartition(inner, number, self)
        finally:
            if shared.parts[number].owner is inner:
                shared.parts[number].owner = None
                shared.owners.pop(number, None)
                shared.tell()


class SharedPartition:
    """The owner's side of one partition."""

    def __init__(self, inner: MemoryPartition, number: int, journal: SharedJournal) -> None:
        self._inner = inner
        self._journal = journal
        self.number = number
        self.inputs = inner.inputs
        self._in_order = asyncio.Lock()
        self._dead = False

    async def wait_revoked(self) -> None:
        shared = self._journal.shared
        while shared.assigned.get(self.number) == self._journal.address:
            await shared.changed.wait()

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        return await self._inner.read_states(keys)

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        return await self._inner.read_turns(refs)

    async def read_pending(self) -> Sequence[Pending]:
        return await self._inner.read_pending()

    async def append(self, transition: Transition) -> Appended | Conflict:
        shared = self._journal.shared
        async with self._in_order:
            await asyncio.sleep(shared.commit_s())
            self._dead = self._dead or shared.fails()
            if self._dead:
                raise JournalRewind("nothing was stored")
            appended = await self._inner.append(transition)
        if self._journal.address in shared.silent:
            shared.committed.set()
            await asyncio.get_running_loop().create_future()
        return appended


class SharedHistory:
    """What anybody may read."""

    def __init__(self, shared: Shared, place: object) -> None:
        self._parts = [part.history for part in shared.parts]
        self._place = place

    async def read_stream(self, key: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        return await self._part(key).read_stream(key, after=after, limit=limit)

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        return await self._part(ref.key).read_turn(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        return await self._parts[partition].read_feed(0, after=after, limit=limit)

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        return await self._parts[partition].read_events(0, after=after, limit=limit)

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        numbers = range(len(self._parts)) if partitions is None else partitions
        found = [
            entry
            for number in numbers
            for entry in await self._parts[number].read_instances(namespace, entity, after=after, limit=limit)
        ]
        return sorted(found, key=lambda entry: entry.key.id)[:limit]

    def _part(self, key: EntityKey):  # type: ignore[no-untyped-def]
        return self._parts[self._place(key)]  # type: ignore[operator]
