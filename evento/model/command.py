"""Commands, Events and what became of them. All times are microseconds since the Unix epoch, UTC.

What a journal stores is encoded as an array in the order of the fields: a new field goes to the end, with a default.
"""

from enum import StrEnum

from msgspec import Struct

from evento.model.keys import EntityKey


class Context(Struct, array_like=True, frozen=True, gc=False):
    """What travels with a Command besides its payload; each apart from the others (design §5)."""

    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str | None = None
    traceparent: str | None = None
    transaction_id: str | None = None
    encryption_key_id: str | None = None


class Command(Struct, array_like=True, frozen=True, gc=False):
    """An immutable intent for exactly one instance.

    `payload` is canonical Avro of the schema with id `schema_id`; the engine never looks inside.
    `expected` is the version the sender last saw; `due_us` is set when the Command is scheduled for later.
    """

    id: str
    key: EntityKey
    type: str
    schema_id: int
    payload: bytes
    accepted_us: int
    expected: int | None = None
    due_us: int | None = None
    context: Context | None = None


class NewCommand(Command, frozen=True, gc=False):
    """A Command whose id Evento has just made: when it is accepted for the first time, nobody can have sent it before.

    Stored and sent it is a Command like any other.
    """


class Event(Struct, array_like=True, frozen=True, gc=False):
    """An immutable fact as a function decided it, before it has a place in a stream."""

    type: str
    schema_id: int
    payload: bytes
    rejection: bool = False


class State(Struct, array_like=True, frozen=True, gc=False):
    """The state of an instance: the fold of `apply` over its first `version` events.

    Version 0 is the instance that does not exist yet, with `payload` None. `schema_id` and `revision` tell with which
    Entity schema and which revision of the apply function it was folded: a state folded by another one is rebuilt.
    """

    version: int
    payload: bytes | None
    schema_id: int
    revision: str


ABSENT = State(version=0, payload=None, schema_id=0, revision="")


class Failure(Struct, array_like=True, frozen=True, gc=False):
    """Why a turn failed: a stable code, a sentence for a person, and the function that failed, by its name in the namespace."""

    code: str
    message: str
    function: str | None = None


class OutcomeKind(StrEnum):
    """What became of a Command."""

    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    PENDING = "pending"
    PARKED = "parked"
    CONFLICT = "conflict"  # the expected version was not met: no event
    DISCARDED = "discarded"  # an operator gave it up: no event


class Turn(Struct, array_like=True, frozen=True, gc=False):
    """One finished Command with its events: what the journal keeps for ever (design §3.10).

    The events have the versions `before + 1 … before + len(events)`. `revision` is that of the function that handled it.
    """

    command: Command
    kind: OutcomeKind
    before: int
    events: tuple[Event, ...]
    time_us: int
    revision: str = ""
    attempts: int = 1
    failure: Failure | None = None

    @property
    def version(self) -> int:
        """Return the instance's version after this turn."""
        return self.before + len(self.events)


class Pending(Struct, array_like=True, frozen=True, gc=False):
    """A Command that is accepted and not finished (design §6).

    `number` is its place in the partition's order of acceptance, unique for ever. `due_us` is when to try it next (or first, when
    scheduled); None means as soon as its turn comes. A parked one waits for an operator.
    """

    number: int
    command: Command
    attempts: int = 0
    due_us: int | None = None
    parked: bool = False
    failure: Failure | None = None


class Outcome(Struct, frozen=True, gc=False):
    """What a caller is told. `turn` holds command and events when finished, `pending` when not; exactly one of them is set."""

    kind: OutcomeKind
    turn: Turn | None = None
    pending: Pending | None = None
    duplicate: bool = False
