"""The journal in plain dicts and lists: what the port means, in the fewest words.

It keeps everything as long as the object lives, across any number of owners; it knows no file, no bytes, no index and no thread.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from evento.errors import JournalBusy, JournalError
from evento.journal.base import CommandRef, EntityPlace, EventsEntry, History, InstanceEntry, Partition, TurnEntry
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Input, Refusal, Run, Transition


class MemoryJournal:
    """A journal of one partition that lives and dies with this object."""

    def __init__(self) -> None:
        self.log: list[tuple[EntityKey, Turn, int]] = []  # every turn with the position of its run
        self.position = 0
        self.versions: dict[EntityKey, int] = {}
        self.states: dict[EntityKey, State] = {}
        self.streams: dict[EntityKey, list[Turn]] = {}
        self.turns: dict[CommandRef, Turn] = {}
        self.waiting: dict[int, Pending] = {}
        self.catalogs: list[bytes] = []
        self.owner: MemoryPartition | None = None
        self.records: list[Input] = []  # what came in without the platform
        self.reached: dict[str, int] = {}
        self.refusals: list[Refusal] = []
        self.arrived = asyncio.Event()

    def put(self, record: Input) -> None:
        """Put a record where Commands come in without the platform; offsets grow by one within a source."""
        self.records.append(record)
        self.arrived.set()

    @property
    def history(self) -> History:
        """Return the reader's side."""
        return MemoryHistory(self)

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
        """Return nothing: there are no other nodes."""
        return {}

    def own(self, number: int) -> AbstractAsyncContextManager[Partition]:
        """Become the owner of partition 0. Raises JournalBusy if somebody else is."""
        return self._own(number)

    async def check(self) -> Sequence[str]:
        """Return nothing: there is no store that could differ from itself."""
        return []

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Return the catalog versions above `after`, in order."""
        return list(enumerate(self.catalogs, 1))[after:]

    async def append_catalog(self, version: int, content: bytes) -> bool:
        """Keep one version, if it is the next one."""
        if version != len(self.catalogs) + 1:
            return False
        self.catalogs.append(content)
        return True

    @asynccontextmanager
    async def _own(self, number: int) -> AsyncIterator[Partition]:
        if number != 0:
            raise JournalError(f"there is no partition {number}; this journal has one, 0", partition=number)
        if self.owner is not None:
            raise JournalBusy("partition 0 has an owner in this process already", partition=0)
        self.owner = MemoryPartition(self)
        try:
            yield self.owner
        finally:
            self.owner = None


class MemoryPartition:
    """The owner's side; it accepts nothing once its context has ended."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.inputs = MemoryInputs(journal)

    @property
    def number(self) -> int:
        """Return 0."""
        return 0

    async def wait_revoked(self) -> None:
        """Wait for ever: there is nobody else."""
        await asyncio.get_running_loop().create_future()

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        """Return the state of each instance that has any event."""
        return {key: self._journal.states[key] for key in keys if key in self._journal.states}

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        """Return the turns of those Commands that are finished."""
        return {ref: self._journal.turns[ref] for ref in refs if ref in self._journal.turns}

    async def read_pending(self) -> Sequence[Pending]:
        """Return everything pending, ordered by number."""
        return [self._journal.waiting[number] for number in sorted(self._journal.waiting)]

    async def append(self, transition: Transition) -> Appended | Conflict:
        """Apply the transition whole, or not at all."""
        if self._journal.owner is not self:
            raise JournalError("this partition was given up; nothing was stored")
        conflict = self._conflict(transition.runs)
        if conflict is not None:
            return conflict
        for run in transition.runs:
            self._append_run(run)
        for key, state in transition.states:
            if self._journal.versions.get(key) == state.version:
                self._journal.states[key] = state
        self._journal.waiting.update((pending.number, pending) for pending in transition.pending)
        for number in transition.resolved:
            self._journal.waiting.pop(number, None)
        self._journal.reached.update(transition.inputs)
        self._journal.refusals.extend(transition.refusals)
        return Appended(position=self._journal.position)

    def _conflict(self, runs: Sequence[Run]) -> Conflict | None:
        versions: dict[EntityKey, int] = {}
        for run in runs:
            actual = versions.get(run.key, self._journal.versions.get(run.key, 0))
            if actual != run.before:
                return Conflict(key=run.key, before=run.before, actual=actual)
            versions[run.key] = run.version
        return None

    def _append_run(self, run: Run) -> None:
        journal = self._journal
        journal.position += 1
        for turn in run.turns:
            journal.log.append((run.key, turn, journal.position))
            journal.turns[CommandRef(key=run.key, command_id=turn.command.id)] = turn
            if turn.events:
                journal.streams.setdefault(run.key, []).append(turn)
        if run.version > run.before:
            journal.versions[run.key] = run.version
            journal.states[run.key] = run.state or State(version=run.version, payload=None, schema_id=0, revision="")


class MemoryInputs:
    """The records, read from what is done with."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self._next = dict(journal.reached)

    async def read(self, limit: int) -> Sequence[Input]:
        """Return the next records; wait until there is one."""
        while True:
            new = [record for record in self._journal.records if record.offset >= self._next.get(record.source, 0)][:limit]
            if new:
                self._next.update((record.source, record.offset + 1) for record in new)
                return new
            self._journal.arrived.clear()
            await self._journal.arrived.wait()


class MemoryHistory:
    """What anybody may read."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def read_stream(self, key: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        """Return turns with events of one instance, as many as are needed for `limit` events."""
        turns: list[Turn] = []
        events = 0
        for turn in self._journal.streams.get(key, []):
            if turn.version > after and events < limit:
                turns.append(turn)
                events += len(turn.events)
        return turns

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        """Return the finished turn of one Command, or None."""
        return self._journal.turns.get(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        """Return about `limit` turns in the order of their commits, all of one position together."""
        entries: list[TurnEntry] = []
        for _, turn, position in self._journal.log:
            if position <= after:
                continue
            if len(entries) >= limit and position != entries[-1].position:
                break
            entries.append(TurnEntry(position=position, turn=turn))
        return entries

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        """Return what a fold needs of the turns that `read_feed` returns."""
        entries = await self.read_feed(partition, after=after, limit=limit)
        return [EventsEntry(entry.position, entry.turn.command.key, entry.turn.before, entry.turn.events) for entry in entries]

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        """Return instances of one Entity by id."""
        if partitions is not None and 0 not in partitions:
            return []
        keys = sorted(key for key in self._journal.states if key[:2] == (namespace, entity) and key.id > after)
        return [InstanceEntry(key=key, state=self._journal.states[key]) for key in keys[:limit]]
