"""An export becomes a journal, which must be empty: turns, then states, then what is pending, and the catalog last.

Instances go to the partitions that the journal has for them, whatever partitions they came from. The order of each partition's feed
that was exported is kept, and so is each instance's. It streams: a batch of turns is all that is in memory.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain

from evento.errors import TransferRefused
from evento.journal.base import Journal, Partition
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Conflict, Run, Transition
from evento.registry.places import places_for
from evento.transfer.checking import Export
from evento.transfer.container import FileEntry, read_container
from evento.transfer.kinds import CATALOG, PENDING, STATE, TURN, Kind
from evento.transfer.manifest import CATALOGS, STATES
from evento.transfer.manifest import PENDING as PENDINGS
from evento.transfer.owning import owning_all
from evento.transfer.records import Record, pending_of, state_of, turn_of
from evento.transfer.stepping import Progress, silent, stepped

BATCH_RECORDS = 4_000
BATCH_BYTES = 8 * 1024 * 1024  # of payloads; a batch is closed by the record that goes over it
_NOT_EMPTY = "the journal is not empty: import into a new one; nothing was written"
_UNFINISHED = "the import did not finish: begin again with an empty journal"


async def import_journal(
    journal: Journal, export: Export, writing: AbstractAsyncContextManager[None], *, progress: Progress = silent
) -> None:
    """Write a checked export into an empty journal. `writing` is entered before the first write, and left after the last.

    Raises TransferRefused: the journal is not empty, and stays as it is; or what could not be checked before is wrong, and the
    journal is of no use, as after any JournalError.
    """
    if await journal.read_catalogs():
        raise TransferRefused(_NOT_EMPTY)
    await journal.provide(places_for(export.catalog))
    async with owning_all(journal) as owned:
        await _refuse_unless_empty(journal, owned)
        async with writing:
            run = _Import(journal, owned, export, progress)
            for entry in export.manifest.turns():
                await run.turns(entry)
            await run.states()
            await run.pending()
            await run.catalogs()


async def _refuse_unless_empty(journal: Journal, owned: Sequence[Partition]) -> None:
    for partition in owned:
        if await journal.history.read_feed(partition.number, limit=1) or await partition.read_pending():
            raise TransferRefused(_NOT_EMPTY)


class _Import:
    def __init__(self, journal: Journal, owned: Sequence[Partition], export: Export, progress: Progress) -> None:
        self._journal = journal
        self._owned = owned
        self._export = export
        self._progress = progress
        self._total = export.manifest.records
        self._done = 0

    async def turns(self, entry: FileEntry) -> None:
        """Append the turns of one file. The states come later, once for each instance instead of once for each turn."""
        async for batch in self._batches(entry, TURN):
            runs: dict[int, list[_OpenRun]] = {}
            for record in batch:
                _add_turn(runs.setdefault(self._partition_of(record["command"]), []), turn_of(record))
            for number, opened in runs.items():
                await self._append(number, Transition(runs=tuple(run.closed() for run in opened)))

    async def states(self) -> None:
        async for batch in self._batches(self._export.manifest.file(STATES), STATE):
            states: dict[int, list[tuple[EntityKey, State]]] = {}
            for record in batch:
                states.setdefault(self._partition_of(record), []).append(state_of(record))
            for number, found in states.items():
                await self._compare_versions(number, found)
                known = tuple((key, state) for key, state in found if state.payload is not None)
                await self._append(number, Transition(states=known))

    async def pending(self) -> None:
        """Append what is pending, ordered by number, and give it a higher number where its own is taken.

        Where partitions come together their numbers may meet. Each target partition's numbers grow as the exported ones do, so
        that Commands of one instance keep their order.
        """
        highest = dict.fromkeys(range(self._journal.partitions), -1)
        async for batch in self._batches(self._export.manifest.file(PENDINGS), PENDING):
            entries: dict[int, list[Pending]] = {}
            for record in batch:
                number = self._partition_of(record["command"])
                highest[number] = max(record["number"], highest[number] + 1)
                entries.setdefault(number, []).append(pending_of({**record, "number": highest[number]}))
            for number, found in entries.items():
                await self._append(number, Transition(pending=tuple(found)))

    async def catalogs(self) -> None:
        async for batch in self._batches(self._export.manifest.file(CATALOGS), CATALOG):
            for record in batch:
                if not await self._journal.append_catalog(record["version"], record["content"]):
                    raise TransferRefused(f"somebody else deploys to this journal; {_UNFINISHED}")

    async def _batches(self, entry: FileEntry, kind: Kind) -> AsyncIterator[list[Record]]:
        blocks = read_container(self._export.folder, entry, kind, again=True)
        async for batch in stepped(_joined(blocks)):
            yield batch
            self._done += len(batch)
            self._progress("importing", self._done, self._total)

    def _partition_of(self, record: Record) -> int:
        return self._journal.partition_of(EntityKey(record["namespace"], record["entity"], record["instance"]))

    async def _append(self, number: int, transition: Transition) -> None:
        result = await self._owned[number].append(transition)
        if isinstance(result, Conflict):
            raise TransferRefused(
                f"{result.key} is at version {result.actual}, and its next turn begins after {result.before}; {_UNFINISHED}"
            )

    async def _compare_versions(self, number: int, states: Sequence[tuple[EntityKey, State]]) -> None:
        """Insist that states are those of the versions that the turns have led to: a journal ignores any other one."""
        found = await self._owned[number].read_states([key for key, _ in states])
        for key, state in states:
            version = found[key].version if key in found else 0
            if version != state.version:
                raise TransferRefused(f"{key} has {version} Events and a state at version {state.version}; {_UNFINISHED}")


class _OpenRun:
    """A run that may still grow."""

    def __init__(self, turn: Turn) -> None:
        self.turns = [turn]

    def takes(self, turn: Turn) -> bool:
        last = self.turns[-1]
        return last.command.key == turn.command.key and last.version == turn.before

    def closed(self) -> Run:
        first = self.turns[0]
        return Run(first.command.key, first.before, tuple(self.turns), None)


def _add_turn(runs: list[_OpenRun], turn: Turn) -> None:
    if runs and runs[-1].takes(turn):
        runs[-1].turns.append(turn)
    else:
        runs.append(_OpenRun(turn))


def _joined(blocks: Iterator[list[Record]]) -> Iterator[list[Record]]:
    """Yield the records of several blocks together, up to a good transition's worth."""
    batch: list[Record] = []
    size = 0
    for block in blocks:
        batch += block
        size += sum(map(_payload_bytes, block))
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _payload_bytes(record: Record) -> int:
    """Return how many bytes of payload a record has, of whatever kind it is."""
    inner = chain((record, record.get("command", {})), record.get("events", ()))
    return sum(len(each.get("payload") or b"") for each in inner)
