"""The port to functions (design §5): one call carries many instances, and for each its state and a run of work in order."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from evento.model.command import Context, Failure
from evento.model.resources import FunctionSpec


class Operation(StrEnum):
    """What a function is asked for."""

    HANDLE = "handle"  # Commands to events
    APPLY = "apply"  # events to a state
    TURN = "turn"  # both fused, for a function that has both


class Item(Struct, frozen=True, gc=False):
    """One Command (handle, turn) or one event (apply). Payloads are of the schema versions that the function declares."""

    type: str
    payload: bytes
    time_us: int
    command_id: str
    context: Context | None = None


class InstanceCall(Struct, frozen=True, gc=False):
    """The work for one instance: `state` is None exactly when `version` is 0."""

    id: str
    version: int
    state: bytes | None
    items: Sequence[Item]


class FunctionEvent(Struct, frozen=True, gc=False):
    """An event as a function answers it, not checked yet."""

    type: str
    payload: bytes


class InstanceReply(Struct, frozen=True, gc=False):
    """What became of one instance's items.

    `results` holds the events of each finished item, in order (empty lists for apply). When it is shorter than the items, `failure`
    says why the first missing one failed. `state` is that after the last finished item (None for handle, and if none finished).
    """

    results: Sequence[Sequence[FunctionEvent]]
    state: bytes | None
    failure: Failure | None = None


def version_after(operation: Operation, call: InstanceCall, reply: InstanceReply) -> int:
    """Return the version that goes with the state which an instance ended in."""
    events = len(reply.results) if operation is Operation.APPLY else sum(map(len, reply.results))
    return call.version if reply.state is None else call.version + events


class Reply(Struct, frozen=True, gc=False):
    """The answer to one call, one InstanceReply per InstanceCall in the same order, by this revision of the function."""

    revision: str
    instances: Sequence[InstanceReply]


class ExpectedEntity(Struct, frozen=True):
    """What the catalog expects a function to serve of one Entity.

    `applies`: it must have the Entity's apply. `commands` are those it must handle, `events` those it may answer or apply: the
    name, and the text of the Avro schema in force ("": any).
    """

    namespace: str
    name: str
    applies: bool = False
    schema: str = ""
    commands: Mapping[str, str] = {}
    events: Mapping[str, str] = {}


class Expected(Struct, frozen=True):
    """What the catalog expects a function to serve; more is welcome."""

    entities: Sequence[ExpectedEntity] = ()


NOTHING_EXPECTED = Expected()


class FunctionClient(Protocol):
    """Calls one function."""

    @property
    def revision(self) -> str:
        """Return the revision last seen; known once `ready` returned."""
        ...

    async def ready(self) -> None:
        """Start the function if it is not running, wait until it answers discovery, and check that it serves what the catalog says.

        Raises FunctionUnavailable (try again later; no attempt is counted) when it does not get ready in time.
        """
        ...

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call. Raises FunctionError if it failed as a whole; one instance's failure is in its InstanceReply."""
        ...


class FunctionRuntime(Protocol):
    """Runs functions: as local processes, as containers, or not at all (somebody else does)."""

    def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AbstractAsyncContextManager[FunctionClient]:
        """Provide a client for the time of the context; leaving it drains and stops what was started.

        The function is ready only while it serves what is `expected`. Raises FunctionUnavailable for a kind it cannot run.
        """
        ...
