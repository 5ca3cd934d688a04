"""The journal's port (design §7): four narrow protocols, one suite that holds every backend to them.

A journal consists of partitions. An instance belongs to one partition for ever; a partition has one owner at a time, who alone
appends. Reading needs no ownership. SQLite and memory have one partition, Kafka as many as the Entity's topics have.

What the port demands of a backend, and `evento.testing.journal_contract` checks:
- `append` is atomic, and durable when it returns; transitions of one partition become durable in the order of the calls.
- A transition with a run whose `before` is not the instance's version is refused whole, as a Conflict; it is told no earlier than
  the transitions it was judged by are durable.
- A second owner is impossible: opening fails with JournalBusy, or the first owner's next append raises JournalError.
- After any JournalError the partition accepts nothing more, and what waited behind it fails alike. After a JournalRewind, and only
  then, this process may own the partition again and go on: what became of the appends it finds by reading, before anything else.

An owner that lost its partition to another learns it from its next append that stores something. Until then what it reads as the
owner, and a Conflict, may be as old as its last append.

Where nodes share the partitions, `own` waits until this node is given the partition, and an owner is asked to give it up
(`wait_revoked`); both may happen again and again.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from evento.model.command import Event, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Input, Transition


class CommandRef(Struct, frozen=True, gc=False):
    """A Command by its id; ids are unique within an instance."""

    key: EntityKey
    command_id: str


class TurnEntry(Struct, frozen=True, gc=False):
    """A turn as a feed gives it: `position`, above 0, is for reading on after it. Turns of one run may have one in common."""

    position: int
    turn: Turn


class EventsEntry(Struct, frozen=True, gc=False):
    """A turn as those see it who only fold: its instance, the version before it, its events."""

    position: int
    key: EntityKey
    before: int
    events: tuple[Event, ...]


class InstanceEntry(Struct, frozen=True, gc=False):
    """An instance as a listing gives it."""

    key: EntityKey
    state: State


class EntityPlace(Struct, frozen=True, gc=False):
    """An Entity that a journal must have a place for. `partitions` are how many it uses, for ever; 0: all there are.

    `deployed`: a catalog version of this journal names it, so a place was made for it before.
    """

    namespace: str
    entity: str
    partitions: int = 0
    deployed: bool = False


class Inputs(Protocol):
    """Commands that came to one partition without the platform: as records of a topic that anybody may write (design §7)."""

    async def read(self, limit: int) -> Sequence[Input]:
        """Return the next records of all sources, `limit` at most, each source in order; waits until there is one.

        Begins behind what the last commit's `Transition.inputs` says is done with. Raises JournalError; JournalCorrupt once, if
        there are records that cannot be read: whoever reads on then waits.
        """
        ...


class Partition(Protocol):
    """The owner's side of one partition."""

    @property
    def number(self) -> int:
        """Return the partition's number, from 0."""
        ...

    @property
    def inputs(self) -> Inputs | None:
        """Return what comes in without the platform; None where nothing can."""
        ...

    async def wait_revoked(self) -> None:
        """Return when the partition must be given up soon, or is lost already; never, where nobody else may want it."""
        ...

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        """Return the stored state of each instance that has any event; the others are left out.

        A backend that does not have the payload of a state (it is only a cache) answers the version with payload None and
        revision "": the engine folds it again.
        """
        ...

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        """Return the turns of those Commands that are finished; the others are left out. Called for every Command, mostly in vain:
        the common answer (none) must be cheap."""
        ...

    async def read_pending(self) -> Sequence[Pending]:
        """Return everything pending, ordered by number. Called once, by a new owner."""
        ...

    async def append(self, transition: Transition) -> Appended | Conflict:
        """Make the transition durable, and return when it is. May be called again before an earlier call returns: order is kept.

        Raises JournalRewind if it was not stored, or nobody knows whether it was (another is the owner now, the store did not
        answer): own the partition again, and read. Raises another JournalError if this process cannot mend it.
        """
        ...


class History(Protocol):
    """What anybody may read, without owning anything; never less than what was told to be durable, by whichever owner.

    Where another process writes, a read may have to wait until a commit under way is decided: of an owner that died in the middle,
    until the next one is there or the store gives the commit up.
    """

    async def read_stream(self, key: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        """Return the turns with events of one instance, in order, from the first that has a version above `after`; as many turns as
        are needed for `limit` events, at least one if there is any."""
        ...

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        """Return the finished turn of one Command, or None."""
        ...

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        """Return turns (also those without events) of one partition's instances in the order of their commits, from positions above
        `after`. All turns of one position come together; about `limit` of them."""
        ...

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        """Return the turns that `read_feed` returns, those without events too, but only what a fold needs of them: much cheaper."""
        ...

    async def read_instances(
        self, namespace: str, entity: str, *, partitions: Collection[int] | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[InstanceEntry]:
        """Return instances of one Entity ordered by id (by code point), from ids above `after`; of these partitions, or of all."""
        ...


class CatalogLog(Protocol):
    """Every catalog version ever deployed, as opaque bytes, for ever."""

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Return the catalog versions above `after`, in order."""
        ...

    async def append_catalog(self, version: int, content: bytes) -> bool:
        """Make one version durable, however big. False, and nothing changed, if `version` is not the last one plus 1."""
        ...


class Journal(CatalogLog, Protocol):
    """A whole journal, opened. Leaving the context closes it: what was appended stays, open appends finish first."""

    @property
    def history(self) -> History:
        """Return the reader's side."""
        ...

    @property
    def partitions(self) -> int:
        """Return how many partitions there are."""
        ...

    async def provide(self, entities: Sequence[EntityPlace]) -> None:
        """Make a place for these Entities, and check those that exist; before anything of theirs is appended, and after each start.

        Raises JournalUnfit, with everything that does not fit, if they cannot be kept as they say; JournalLost if the place of
        one that is deployed is gone.
        """
        ...

    def partition_of(self, key: EntityKey) -> int:
        """Return the number of the partition that an instance belongs to, for ever."""
        ...

    async def read_owners(self) -> Mapping[int, str]:
        """Return the addresses of the other nodes that own partitions just now, by partition; what is owned here, or by nobody, is
        left out. Raises JournalError."""
        ...

    def own(self, number: int) -> AbstractAsyncContextManager[Partition]:
        """Become the owner of a partition for the time of the context; entering it may take seconds (a store to be read first),
        or for ever, while others have it.

        Raises JournalBusy if somebody else is the owner, unless the backend ends the other's ownership instead. Never raises
        JournalRewind: where owning fails for a reason that passes, it waits and tries again.
        """
        ...

    async def check(self) -> Sequence[str]:
        """Check the store itself (checksums, structure, caches against the log) and return every difference as a sentence."""
        ...
