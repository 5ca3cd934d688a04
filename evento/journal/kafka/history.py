"""What anybody may read, of any partition: of one that is owned here as it is, of another once its replica has caught up."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from heapq import merge

from evento.journal.base import CommandRef, EventsEntry, InstanceEntry, TurnEntry
from evento.journal.kafka.holding import Holding
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
        async with (await self._hold(self._place(key))).current() as history:
            return await history.read_stream(key, after=after, limit=limit)

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        """Return the finished turn of one Command, or None."""
        async with (await self._hold(self._place(ref.key))).current() as history:
            return await history.read_turn(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        """Return about `limit` turns in the order of their commits."""
        async with (await self._hold(partition)).current() as history:
            return await history.read_feed(partition, after=after, limit=limit)

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        """Return what a fold needs of the turns that `read_feed` returns."""
        async with (await self._hold(partition)).current() as history:
            return await history.read_events(partition, after=after, limit=limit)

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        """Return instances of one Entity by id, of these partitions, or of all."""
        pages: list[Sequence[InstanceEntry]] = []
        for number in range(self._spread(namespace, entity)):
            if partitions is None or number in partitions:
                async with (await self._hold(number)).current() as history:
                    pages.append(await history.read_instances(namespace, entity, after=after, limit=limit))
        return list(merge(*pages, key=lambda entry: entry.key))[:limit]
