"""Folding whole Entities again from the feed, for states after a changed apply and for `verify` (design §3.8).

The feed is read once in the order of the commits, not instance by instance: reading is sequential, and one call to apply carries
the events of thousands of instances. While a call is under way the next part of the feed is read. States on the way are held in
memory; when they outgrow their share, the instances are divided into slices, and the feed is read once for each.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from zlib import crc32

from msgspec import Struct

from evento.engine.callers import Callers
from evento.errors import FunctionError, PayloadRefused
from evento.functions.base import InstanceCall, InstanceReply, Item, Operation
from evento.journal.base import History, TurnEntry
from evento.model.command import State
from evento.model.keys import EntityKey
from evento.model.resources import EntitySpec
from evento.registry.catalog import Catalog

_FEED_TURNS = 50_000  # turns read and folded at a time: the more, the more events of an instance go into one call
_CALL_EVENTS = 10_000  # events in one call to apply
_CALLS = 2  # under way at the same time: while the function works on one, the other is prepared
_STATES_BYTES_MAX = 64 * 1024 * 1024
_STATE_BYTES = 350  # what a state on the way costs besides its payload, roughly

EntityName = tuple[str, str]
Fold = tuple[int, bytes]  # version, state
Calls = list[tuple[EntityKey, InstanceCall]]


class Broken(Struct, frozen=True):
    """An instance that cannot be folded, and why."""

    key: EntityKey
    reason: str


class _Overflow(Exception):
    pass


class Refolding:
    """Folds all instances of some Entities again."""

    def __init__(self, history: History, partitions: int, catalog: Catalog, callers: Callers) -> None:
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
        for partition in range(self._partitions):
            entries = await self._history.read_feed(partition, limit=_FEED_TURNS)
            while entries:
                work.add(entries)
                async with asyncio.TaskGroup() as tasks:
                    reading = tasks.create_task(self._read(partition, entries[-1].position))
                    error = await work.advance()
                if error is not None:
                    raise error
                if progress is not None:
                    progress(sum(len(entry.turn.events) for entry in entries))
                entries = reading.result()
        return work.states(), work.broken()

    async def _read(self, partition: int, after: int) -> Sequence[TurnEntry]:
        return await self._history.read_feed(partition, after=after, limit=_FEED_TURNS)


class _Run:
    """The events of one instance in one part of the feed, as items for apply; `schemas` are those in force, by event type."""

    __slots__ = ("items", "schemas", "version")

    def __init__(self, version: int, schemas: Mapping[str, int]) -> None:
        self.version = version
        self.schemas = schemas
        self.items: list[Item] = []


_LEFT_OUT = _Run(0, {})


class _Slice:
    """The folds of one slice on their way."""

    def __init__(self, catalog: Catalog, callers: Callers, entities: Collection[EntityName], number: int, slices: int) -> None:
        self._catalog = catalog
        self._callers = callers
        self._specs = {name: catalog.entity(*name) for name in entities}
        self._number = number
        self._slices = slices
        self._folds: dict[EntityKey, Fold] = {}
        self._runs: dict[EntityKey, _Run] = {}
        self._broken: dict[EntityKey, str] = {}
        self._revisions: dict[EntityName, str] = {}
        self._bytes = 0

    def add(self, entries: Sequence[TurnEntry]) -> None:
        """Take in the events of turns, those that belong to this slice."""
        for entry in entries:
            turn = entry.turn
            key = turn.command.key
            place = self._runs.get(key)
            if place is None:
                place = self._begin(key)
            if place is _LEFT_OUT or not turn.events:
                continue
            if turn.before != place.version:
                self._runs[key] = _LEFT_OUT
                self._broken[key] = f"after version {place.version} comes version {turn.before + 1}"
                continue
            place.version += len(turn.events)
            for event in turn.events:
                payload, current = event.payload, place.schemas[event.type]
                if event.schema_id != current:
                    payload = self._catalog.resolver(event.schema_id, current)(payload)
                place.items.append(Item(event.type, payload, turn.time_us, turn.command.id))

    def _begin(self, key: EntityKey) -> _Run:
        """Begin an instance's run in this part of the feed, or leave it out: of another slice or Entity, or broken."""
        spec = self._specs.get((key.namespace, key.entity))
        mine = self._slices == 1 or crc32(key.id.encode()) % self._slices == self._number
        if spec is None or not mine or key in self._broken:
            self._runs[key] = _LEFT_OUT
            return _LEFT_OUT
        version = self._folds[key][0] if key in self._folds else 0
        run = self._runs[key] = _Run(version, {name: event.schema_id for name, event in spec.events.items()})
        return run

    async def advance(self) -> Exception | None:
        """Fold what was taken in. Returns what went wrong instead of raising it: the next part is being read meanwhile."""
        items = {key: run.items for key, run in self._runs.items() if run.items}
        self._runs = {}
        room = asyncio.Semaphore(_CALLS)
        errors: list[Exception] = []
        async with asyncio.TaskGroup() as tasks:
            for spec, calls in self._calls(items):
                await room.acquire()
                if errors:
                    break
                tasks.create_task(self._call(spec, calls, errors)).add_done_callback(lambda _: room.release())
        if not errors and self._bytes > _STATES_BYTES_MAX:
            errors.append(_Overflow())
        return errors[0] if errors else None

    def _calls(self, items: Mapping[EntityKey, list[Item]]) -> Iterator[tuple[EntitySpec, Calls]]:
        """Divide the work into calls: each of one Entity, none too large, no instance in two of them."""
        for name, spec in self._specs.items():
            calls: Calls = []
            events = 0
            for key, found in items.items():
                if (key.namespace, key.entity) != name or key in self._broken:
                    continue
                version, state = self._folds.get(key, (0, None))
                calls.append((key, InstanceCall(key.id, version, state, found)))
                events += len(found)
                if events >= _CALL_EVENTS:
                    yield spec, calls
                    calls, events = [], 0
            if calls:
                yield spec, calls

    async def _call(self, spec: EntitySpec, calls: Calls, errors: list[Exception]) -> None:
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
        for (key, call), answer in zip(calls, reply.instances, strict=True):
            self._take(key, call, answer)
        schema = self._catalog.schema(spec.schema_id)
        states = [(key, self._folds[key][1]) for key, _ in calls if key in self._folds]
        for (key, state), payload in zip(states, schema.canonical_many([state for _, state in states]), strict=True):
            if isinstance(payload, PayloadRefused):
                self._broken[key] = f"apply answers a state that its schema refuses: {payload.message}"
            elif payload is not state:
                self._folds[key] = (self._folds[key][0], payload)

    def _take(self, key: EntityKey, call: InstanceCall, answer: InstanceReply) -> None:
        if answer.failure is not None or answer.state is None:
            reason = answer.failure.message if answer.failure is not None else "no state"
            self._broken[key] = f"apply fails at event {call.version + len(answer.results) + 1}: {reason}"
            return
        old = self._folds.get(key)
        self._bytes += len(answer.state) - len(old[1]) if old else len(answer.state) + _STATE_BYTES
        self._folds[key] = (call.version + len(call.items), answer.state)

    def states(self) -> Mapping[EntityKey, State]:
        """Return the folded states."""
        states = {}
        for key, (version, payload) in self._folds.items():
            if key not in self._broken:
                name = (key.namespace, key.entity)
                states[key] = State(version, payload, self._specs[name].schema_id, self._revisions[name])
        return states

    def broken(self) -> Sequence[Broken]:
        """Return the instances that could not be folded."""
        return [Broken(key, reason) for key, reason in self._broken.items()]
