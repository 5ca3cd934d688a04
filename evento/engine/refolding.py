"""Folding whole Entities again from the feed, for states after a changed apply and for `verify` (design §3.8).

The feed is read once in the order of the commits, not instance by instance: reading is sequential, and one call to apply carries
the events of thousands of instances. While calls are under way the next part of the feed is read. Folds on the way are held in
memory; when they outgrow their share, the instances are divided into slices, and the feed is read once for each.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from zlib import crc32

from msgspec import Struct

from evento.engine.callers import Callers
from evento.errors import FunctionError, NotFound, PayloadRefused
from evento.functions.base import InstanceCall, InstanceReply, Item, Operation
from evento.journal.base import EventsEntry, History
from evento.model.command import State
from evento.model.keys import EntityKey
from evento.model.resources import EntitySpec
from evento.registry.catalog import Catalog

_PAGE_TURNS = 1_000  # turns read at a time: what fits into the cache of a processor is read at twice the speed
_PART_EVENTS = 200_000  # events gathered before they are folded: the more, the more events of an instance go into one call
_CALL_EVENTS = 10_000  # events in one call to apply
_CALLS = 2  # under way at the same time: while the function works on one, the other is prepared
_FOLDS_BYTES_MAX = 64 * 1024 * 1024
_FOLD_BYTES = 400  # what a fold on the way costs besides its state, roughly

EntityName = tuple[str, str]


class Broken(Struct, frozen=True):
    """An instance that cannot be folded, and why."""

    key: EntityKey
    reason: str


class _Overflow(Exception):
    pass


class Refolding:
    """Folds all instances of some Entities again, as far as they are in some partitions."""

    def __init__(self, history: History, partitions: Collection[int], catalog: Catalog, callers: Callers) -> None:
        self._history = history
        self._partitions = partitions
        self._catalog = catalog
        self._callers = callers

    async def fold(
        self, entities: Collection[EntityName], *, progress: Callable[[int], None] | None = None
    ) -> AsyncIterator[tuple[Mapping[EntityKey, State], Sequence[Broken]]]:
        """Fold the instances of `entities` from all their events; yield them slice by slice. `progress` hears of events folded.

        Raises FunctionUnavailable if a function cannot be reached.
        """
        slices = 1
        done = 0
        while done < slices:
            try:
                folded, broken = await self._slice(entities, done, slices, progress)
            except _Overflow:
                done, slices = done * 2, slices * 2
                continue
            done += 1
            yield folded, broken

    async def _slice(
        self, entities: Collection[EntityName], number: int, slices: int, progress: Callable[[int], None] | None
    ) -> tuple[Mapping[EntityKey, State], Sequence[Broken]]:
        work = _Slice(self._catalog, self._callers, entities, number, slices)
        for partition in self._partitions:
            async with asyncio.TaskGroup() as tasks:
                folding: asyncio.Task[Exception | None] | None = None
                error, after = None, 0
                while error is None and (entries := await self._history.read_events(partition, after=after, limit=_PAGE_TURNS)):
                    after = entries[-1].position
                    work.add(entries)
                    if progress is not None:
                        progress(sum([len(entry.events) for entry in entries]))
                    if work.gathered >= _PART_EVENTS:
                        error = await folding if folding is not None else None
                        folding = tasks.create_task(work.advance(work.take()))
                error = (await folding if folding is not None else None) or error or await work.advance(work.take())
            if error is not None:
                raise error
        return work.states(), work.broken()


class _Fold:
    """The fold of one instance: `version` events are in `state`, `added` with those in `items`, which wait for apply."""

    __slots__ = ("added", "items", "key", "spec", "state", "version")

    def __init__(self, key: EntityKey, spec: EntitySpec) -> None:
        self.key = key
        self.spec = spec
        self.version = 0
        self.added = 0
        self.state: bytes | None = None
        self.items: list[Item] = []


Calls = list[tuple[_Fold, InstanceCall]]


class _Slice:
    """The folds of one slice on their way."""

    def __init__(self, catalog: Catalog, callers: Callers, entities: Collection[EntityName], number: int, slices: int) -> None:
        self._catalog = catalog
        self._callers = callers
        self._specs = {name: catalog.entity(*name) for name in entities}
        self._number = number
        self._slices = slices
        self._folds: dict[EntityKey, _Fold | None] = {}  # None: left out, of another slice or Entity, or broken
        self._waiting: list[_Fold] = []  # that have items
        self._broken: dict[EntityKey, str] = {}
        self._revisions: dict[EntityName, str] = {}
        self._bytes = 0
        self.gathered = 0  # events that wait for apply

    def add(self, entries: Sequence[EventsEntry]) -> None:
        """Take in the events of turns, those that belong to this slice."""
        folds = self._folds
        for entry in entries:
            events = entry.events
            if not events:
                continue
            key = entry.key
            fold = folds[key] if key in folds else self._begin(key)
            if fold is None:
                continue
            if entry.before != fold.added:
                self._break(key, f"after version {fold.added} comes version {entry.before + 1}")
                continue
            schemas, items = fold.spec.events, []
            try:
                for event in events:
                    payload, current = event.payload, schemas[event.type].schema_id
                    if event.schema_id != current:
                        payload = self._catalog.resolver(event.schema_id, current)(payload)
                    items.append(Item(event.type, payload, 0, ""))
            except KeyError as error:
                self._break(key, f"after version {entry.before} comes an Event {error}, which is not deployed")
                continue
            except (NotFound, PayloadRefused) as error:
                self._break(key, f"what comes after version {entry.before} cannot be read: {error.message}")
                continue
            if not fold.items:
                self._waiting.append(fold)
            fold.added += len(events)
            self.gathered += len(events)
            fold.items += items

    def _begin(self, key: EntityKey) -> _Fold | None:
        spec = self._specs.get((key.namespace, key.entity))
        mine = self._slices == 1 or crc32(key.id.encode()) % self._slices == self._number
        fold = self._folds[key] = _Fold(key, spec) if spec is not None and mine else None
        if fold is not None:
            self._bytes += _FOLD_BYTES
        return fold

    def _break(self, key: EntityKey, reason: str) -> None:
        self._folds[key] = None
        self._broken[key] = reason

    def take(self) -> Calls:
        """Return what was gathered, as work for apply, and gather anew. What was taken before must be folded by now."""
        waiting, self._waiting, self.gathered = self._waiting, [], 0
        work = [(fold, InstanceCall(fold.key.id, fold.version, fold.state, fold.items)) for fold in waiting]
        for fold in waiting:
            fold.items = []
        return work

    async def advance(self, work: Calls) -> Exception | None:
        """Fold what was taken. Returns what went wrong instead of raising it: the next part is being read meanwhile."""
        room = asyncio.Semaphore(_CALLS)
        errors: list[Exception] = []
        async with asyncio.TaskGroup() as tasks:
            for calls in _calls(work):
                await room.acquire()
                if errors:
                    break
                tasks.create_task(self._call(calls, errors)).add_done_callback(lambda _: room.release())
        if not errors and self._bytes > _FOLDS_BYTES_MAX:
            errors.append(_Overflow())
        return errors[0] if errors else None

    async def _call(self, calls: Calls, errors: list[Exception]) -> None:
        spec = calls[0][0].spec
        caller = self._callers[spec.namespace, spec.apply]
        try:
            reply = await caller.call(Operation.APPLY, spec.namespace, spec.name, [call for _, call in calls])
        except FunctionError as error:
            errors.append(error)
            return
        revision = reply.revision or caller.revision
        if self._revisions.setdefault((spec.namespace, spec.name), revision) != revision:
            errors.append(FunctionError(f"{caller.name} was replaced while its states were folded", function=caller.name))
            return
        states = self._catalog.schema(spec.schema_id).canonical_many([answer.state or b"" for answer in reply.instances])
        for (fold, call), answer, state in zip(calls, reply.instances, states, strict=True):
            self._take(fold, call, answer, state)

    def _take(self, fold: _Fold, call: InstanceCall, answer: InstanceReply, state: bytes | PayloadRefused) -> None:
        if answer.failure is not None or answer.state is None:
            reason = answer.failure.message if answer.failure is not None else "no state"
            self._break(fold.key, f"apply fails at event {call.version + len(answer.results) + 1}: {reason}")
        elif isinstance(state, PayloadRefused):
            self._break(fold.key, f"apply answers a state that its schema refuses: {state.message}")
        else:
            self._bytes += len(state) - len(fold.state or b"")
            fold.version += len(call.items)
            fold.state = state

    def states(self) -> Mapping[EntityKey, State]:
        """Return the folded states."""
        states = {}
        for key, fold in self._folds.items():
            if fold is not None:
                revision = self._revisions[key.namespace, key.entity]
                states[key] = State(fold.version, fold.state, fold.spec.schema_id, revision)
        return states

    def broken(self) -> Sequence[Broken]:
        """Return the instances that could not be folded."""
        return [Broken(key, reason) for key, reason in self._broken.items()]


def _calls(work: Calls) -> Iterator[Calls]:
    """Divide the work into calls: each of one Entity, none too large."""
    by_entity: dict[int, Calls] = {}
    for fold, call in work:
        by_entity.setdefault(id(fold.spec), []).append((fold, call))
    for found in by_entity.values():
        calls: Calls = []
        events = 0
        for fold, call in found:
            calls.append((fold, call))
            events += len(call.items)
            if events >= _CALL_EVENTS:
                yield calls
                calls, events = [], 0
        if calls:
            yield calls
