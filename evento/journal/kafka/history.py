"""What anybody may read, of any partition: of one that is owned here as it is, of another once its replica has caught up."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from heapq import merge

from evento.journal.base import CommandRef, EventsEntry, InstanceEntry, TurnEntry
from evento.journal.kafka.holding import Holding
from evento.journal.sqlite.journal import SqliteHistory
from evento.model.command import Turn
from evento.model.keys import EntityKey

Hold = Callable[[int], Awaitable[Holding]]


class KafkaHistory:
    """`hold` opens the replica of a partition, `place` tells the partition of an instance, `spread` how many an Entity uses."""

    def __init__(self, hold: Hold, place: Callable[[EntityKey], int], spread: Callable[[str, str], int]) -> None:
        self._hold = hold
        self._place = place
        self._spread = spread

    async def read_stream(self, key: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        """Return turns with events of one instance, as many as are needed for `limit` events."""
        return await (await self._current(self._place(key))).read_stream(key, after=after, limit=limit)

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        """Return the finished turn of one Command, or None."""
        return await (await self._current(self._place(ref.key))).read_turn(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        """Return about `limit` turns in the order of their commits."""
        return await (await self._current(partition)).read_feed(partition, after=after, limit=limit)

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        """Return what a fold needs of the turns that `read_feed` returns."""
        return await (await self._current(partition)).read_events(partition, after=after, limit=limit)

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        """Return instances of one Entity by id, of these partitions, or of all."""
        pages = [
            await (await self._current(number)).read_instances(namespace, entity, after=after, limit=limit)
            for number in range(self._spread(namespace, entity))
            if partitions is None or number in partitions
        ]
        return list(merge(*pages, key=lambda entry: entry.key))[:limit]

    async def _current(self, number: int) -> SqliteHistory:
        holding = await self._hold(number)
        await holding.refresh()
        return holding.history
