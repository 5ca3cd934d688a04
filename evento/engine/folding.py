"""Folding an instance's events to its state again: for a read as of then, or because another apply folded it (design §3.8)."""

from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from evento.engine.callers import Caller, Callers
from evento.errors import FunctionError, InvalidFunctionResult, JournalCorrupt, NotFound
from evento.functions.base import InstanceCall, Item, Operation
from evento.journal.base import History
from evento.model.command import State, Turn
from evento.model.keys import EntityKey
from evento.model.resources import EntitySpec
from evento.registry.catalog import Catalog

_READ_EVENTS = 5000  # events read from the journal and sent to apply at a time


class Mark(Struct, frozen=True):
    """What a state was folded with; a state with another mark is not served."""

    schema_id: int
    revision: str


class Folding:
    """Folds streams by calling apply."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def fold(
        self, catalog: Catalog, callers: Callers, key: EntityKey, *, version: int | None = None, at_us: int | None = None
    ) -> State:
        """Return the state of an instance at `version`, or at the time `at_us`, or after its last event, from its events alone.

        Raises NotFound if the instance had no event then, FunctionError if apply fails, JournalCorrupt if events are missing.
        """
        entity = catalog.entity(key.namespace, key.entity)
        caller = callers[key.namespace, entity.apply]
        if not caller.usable:
            await caller.ready()
        state = State(0, None, entity.schema_id, caller.revision)
        async for turns in self._turns(key, at_us):
            items = _items(catalog, entity, turns, None if version is None else version - state.version)
            if not items:
                break
            state = await _advance(catalog, caller, key, state, items)
        if not state.version:
            raise NotFound(f"{key} does not exist" + (" at that time" if at_us is not None else ""))
        if version is not None and state.version != version:
            raise NotFound(f"{key} has {state.version} events; there is no version {version}")
        return state

    async def _turns(self, key: EntityKey, at_us: int | None) -> AsyncIterator[Sequence[Turn]]:
        after = 0
        while turns := await self._history.read_stream(key, after=after, limit=_READ_EVENTS):
            if turns[0].before > after:
                raise JournalCorrupt(f"{key} lacks the events {after + 1} to {turns[0].before}")
            if at_us is not None:
                before = len(turns)
                turns = [turn for turn in turns if turn.time_us <= at_us]
                if len(turns) < before:
                    yield turns
                    return
            yield turns
            after = turns[-1].version


def _items(catalog: Catalog, entity: EntitySpec, turns: Sequence[Turn], limit: int | None) -> list[Item]:
    items: list[Item] = []
    for turn in turns:
        items.extend(turn_items(catalog, entity, turn))
        if limit is not None and len(items) >= limit:
            return items[:limit]
    return items


def turn_items(catalog: Catalog, entity: EntitySpec, turn: Turn) -> list[Item]:
    """Return a turn's events as items for apply, in the schema versions now in force."""
    items = []
    for event in turn.events:
        current = entity.events[event.type].schema_id  # an Event is never removed
        payload = event.payload if event.schema_id == current else catalog.resolver(event.schema_id, current)(event.payload)
        items.append(Item(event.type, payload, turn.time_us, turn.command.id, turn.command.context))
    return items


async def _advance(catalog: Catalog, caller: Caller, key: EntityKey, state: State, items: Sequence[Item]) -> State:
    entity = catalog.entity(key.namespace, key.entity)
    call = InstanceCall(key.id, state.version, state.payload, items)
    reply = await caller.call(Operation.APPLY, entity.namespace, entity.name, [call])
    instance = reply.instances[0]
    if instance.failure is not None:
        failed = state.version + len(instance.results) + 1
        raise FunctionError(f"apply failed at event {failed} of {key}: {instance.failure.message}", function=caller.name)
    revision = reply.revision or caller.revision
    if state.version and revision != state.revision:
        raise FunctionError(f"{caller.name} was replaced while {key} was folded", function=caller.name)
    if instance.state is None:
        raise InvalidFunctionResult(f"apply of {entity.name} answered no state", function=caller.name)
    payload = catalog.schema(entity.schema_id).canonical(instance.state)
    return State(state.version + len(items), payload, entity.schema_id, revision)
