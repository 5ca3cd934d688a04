"""Reading instances: what is durable, folded with the apply now in force. Implements `evento.engine.base.Reads`."""

from collections.abc import Collection, Sequence

from evento.engine.engine import Engine
from evento.errors import NotFound
from evento.journal.base import CommandRef, InstanceEntry, Journal
from evento.model.command import Outcome, State, Turn
from evento.model.keys import EntityKey


class Reader:
    """Reads beside the engine; never what is not durable yet."""

    def __init__(self, journal: Journal, engine: Engine) -> None:
        self._history = journal.history
        self._engine = engine

    async def state(self, key: EntityKey, *, version: int | None = None, at_us: int | None = None) -> State:
        """See `evento.engine.base.Reads.state`."""
        catalog, callers = self._engine.configuration
        catalog.entity(key.namespace, key.entity)
        if version is None and at_us is None:
            stored = (await self._engine.read_states([key])).get(key)
            if stored is None:
                raise NotFound(f"{key} does not exist")
            if self._current(stored, key):
                return stored
            version = stored.version
        return await self._engine.folding.fold(catalog, callers, key, version=version, at_us=at_us)

    async def stream(self, key: EntityKey, *, after: int = 0, limit: int = 100) -> Sequence[Turn]:
        """See `evento.engine.base.Reads.stream`."""
        self._engine.configuration[0].entity(key.namespace, key.entity)
        turns = await self._history.read_stream(key, after=after, limit=limit)
        if not turns and not (after and await self._engine.read_states([key])):
            raise NotFound(f"{key} does not exist")
        return turns

    async def outcome(self, key: EntityKey, command_id: str) -> Outcome:
        """See `evento.engine.base.Reads.outcome`."""
        self._engine.configuration[0].entity(key.namespace, key.entity)
        unfinished = self._engine.unfinished(key, command_id)
        if unfinished is not None:
            return unfinished
        turn = await self._history.read_turn(CommandRef(key, command_id))
        if turn is None:
            raise NotFound(f"{key} has no Command {command_id!r}", command_id=command_id)
        return Outcome(turn.kind, turn)

    async def instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 100
    ) -> Sequence[InstanceEntry]:
        """See `evento.engine.base.Reads.instances`; of these partitions, or of all."""
        self._engine.configuration[0].entity(namespace, entity)
        entries = await self._history.read_instances(namespace, entity, partitions=partitions, after=after, limit=limit)
        return [
            entry if self._current(entry.state, entry.key) else InstanceEntry(entry.key, await self.state(entry.key))
            for entry in entries
        ]

    def _current(self, state: State, key: EntityKey) -> bool:
        catalog, callers = self._engine.configuration
        spec = catalog.entity(key.namespace, key.entity)
        revision = callers[key.namespace, spec.apply].revision
        return state.payload is not None and state.schema_id == spec.schema_id and state.revision == revision
