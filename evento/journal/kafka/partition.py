"""A partition's owner, as the engine sees it. Knows neither Kafka nor SQLite."""

from collections.abc import Mapping, Sequence

from evento.errors import JournalRewind
from evento.journal.base import CommandRef, Inputs
from evento.journal.kafka.holding import Holding
from evento.journal.kafka.membership import Lease
from evento.journal.kafka.owning import Owner
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Transition


class KafkaPartition:
    """The owner's side of one partition."""

    def __init__(self, holding: Holding, lease: Lease, owner: Owner, inputs: Inputs) -> None:
        self._holding = holding
        self._lease = lease
        self._owner = owner
        self._inputs = inputs
        self.given_up = False

    @property
    def number(self) -> int:
        """Return the partition's number."""
        return self._holding.number

    @property
    def inputs(self) -> Inputs:
        """Return what others put on the topics of Commands."""
        return self._inputs

    async def wait_revoked(self) -> None:
        """Return when the group wants the partition back, or has taken it."""
        await self._lease.wait_revoked()

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        """Return the stored state of each instance that has any event."""
        return await self._holding.reads.read_states(keys)

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        """Return the turns of those Commands that are finished."""
        return await self._holding.reads.read_turns(refs)

    async def read_pending(self) -> Sequence[Pending]:
        """Return everything pending, ordered by number."""
        return await self._holding.reads.read_pending()

    async def append(self, transition: Transition) -> Appended | Conflict:
        """Make the transition durable, and return when it is."""
        if self.given_up:
            raise JournalRewind("this partition was given up; nothing was stored")
        return await self._holding.append(transition, self._owner)
