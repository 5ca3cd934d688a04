"""What a running platform offers its faces (HTTP API, and through it the CLI and console): four narrow protocols."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from evento.engine.stream_order import StreamOrder
from evento.engine.ticket import Waiter
from evento.errors import EventoError
from evento.journal.base import InstanceEntry
from evento.model.command import Command, Outcome, Pending, State, Turn
from evento.model.keys import EntityKey


class FunctionStatus(Struct, frozen=True):
    """How one function is doing: `condition` is ready, starting (who needs it waits), failing (its breaker is open) or stopped."""

    namespace: str
    name: str
    condition: str
    revision: str
    message: str = ""


class PartitionStatus(Struct, frozen=True):
    """Where a partition is: `node` is the address of the node that owns it, None if that is nobody just now."""

    number: int
    node: str | None


class RestoreStatus(Struct, frozen=True):
    """A partition that was given to this node, and takes Commands when all of it is read: `done` records of `total` at most."""

    partition: int
    done: int
    total: int


class IntakeStatus(Struct, frozen=True):
    """A partition of this node whose topics of Commands are not read any more, and why."""

    partition: int
    message: str


class Status(Struct, frozen=True):
    """How the platform is doing. `ready`: it takes Commands. `reason` says why not."""

    ready: bool
    reason: str
    journal: str
    catalog_version: int
    functions: tuple[FunctionStatus, ...] = ()
    pending: int = 0
    parked: int = 0
    rebuilding: int = 0  # states still to be folded again
    node: str = ""  # this node's address; what is counted above is here, and with other nodes there is more
    partitions: tuple[PartitionStatus, ...] = ()
    restoring: tuple[RestoreStatus, ...] = ()  # of this node's
    intakes_stopped: tuple[IntakeStatus, ...] = ()  # the same


class Verdict(Struct, frozen=True):
    """What was found by verifying: differences, as sentences, and how many states are `stale`.

    A stale state was folded by an earlier apply or schema: nobody is shown it, and what it should be cannot be told any more.
    """

    differences: Sequence[str]
    stale: int = 0


class Commands(Protocol):
    """Sending Commands, and the care of those that are not finished."""

    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        """Accept one Command and wait for its end, `wait_s` seconds at most; 0: until it is durable as pending.

        The outcome is durable when this returns (design §3.5). Cancelling stops the waiting, not the Command. Raises IdReused,
        VersionConflict, TooLarge, Overloaded, NotReady: nothing was stored (VersionConflict: the conflict was).
        """
        ...

    def submit(self, command: Command, waiter: Waiter, *, wait_s: float) -> None:
        """The same without a task: `waiter` is told the outcome, or VersionConflict or NotReady, once.

        That may be before this returns. Raises IdReused, Overloaded, NotReady: nothing was stored, and nobody will be told.
        """
        ...

    async def send_many(
        self, commands: Sequence[Command], *, wait_s: float, order: StreamOrder | None = None
    ) -> Sequence[Outcome | EventoError]:
        """The same for many at once: an answer per Command, in order. When the inbox is full it waits for room (backpressure).

        `order` is shared by all calls for one stream: what stands behind a Command that is refused for now is not carried out
        before it. Without it these Commands are a stream of their own.
        """
        ...

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        """Return what is accepted and not finished, by number; only the parked ones or only the others if asked."""
        ...

    async def retry(self, key: EntityKey, command_id: str) -> None:
        """Try a waiting or parked Command now. Raises NotFound."""
        ...

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """End a waiting or parked Command without an event; what waits behind it goes on. Raises NotFound."""
        ...


class Reads(Protocol):
    """Reading; never less than what was told (design §3.7). States and events come with the schema id they are written with."""

    async def state(self, key: EntityKey, *, version: int | None = None, at_us: int | None = None) -> State:
        """Return the state now, at a version, or at a time; folded with the current apply. Raises NotFound if there is none."""
        ...

    async def stream(self, key: EntityKey, *, after: int = 0, limit: int = 100) -> Sequence[Turn]:
        """Return turns with events of one instance, in order, from the first with a version above `after`. Raises NotFound."""
        ...

    async def outcome(self, key: EntityKey, command_id: str) -> Outcome:
        """Return what became of a Command. Raises NotFound."""
        ...

    async def instances(self, namespace: str, entity: str, *, after: str = "", limit: int = 100) -> Sequence[InstanceEntry]:
        """Return instances of an Entity by id, with their current states."""
        ...


class Operations(Protocol):
    """Running the platform."""

    def status(self) -> Status:
        """Return how the platform is doing."""
        ...

    async def verify(self) -> Verdict:
        """Fold all events again, check checksums, versions, states, outcomes; return each difference."""
        ...
