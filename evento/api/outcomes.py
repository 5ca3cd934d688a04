"""Outcomes, events and states as the API tells them. Pure but for the catalog's schemas, with which payloads become JSON.

An outcome that says no (rejected, conflict, discarded) is a problem object (RFC 9457) with the outcome's members added.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType

from evento.api.problems import problem
from evento.errors import EventoError, VersionConflict
from evento.model.command import Command, Failure, Outcome, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.times import TimeText
from evento.registry.catalog import Catalog

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_URN = "urn:evento:error:"


class EventView(Struct, omit_defaults=True):
    """An event. The last members are told in an instance's history only, where no outcome stands around them."""

    id: str
    type: str
    version: int
    time: str
    data: Any
    rejection: bool = False
    command_id: str | None = None
    revision: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class FailureView(Struct, omit_defaults=True):
    """Why a Command is not finished."""

    code: str
    message: str
    function: str | None = None


class OutcomeView(Struct):
    """An outcome. `version` is None until the Command is finished."""

    command_id: str
    outcome: str
    version: int | None
    events: list[EventView]
    duplicate: bool
    attempts: int | UnsetType = UNSET
    next_attempt: str | UnsetType | None = UNSET
    failure: FailureView | UnsetType | None = UNSET


class RefusalView(Struct):
    """An outcome that says no: a problem with the members of an outcome."""

    type: str
    title: str
    status: int
    code: str
    command_id: str
    outcome: str
    version: int | None
    events: list[EventView]
    duplicate: bool


class PendingView(Struct):
    """A Command that is not finished, as a listing gives it."""

    number: int
    entity: str
    id: str
    command: str
    command_id: str
    outcome: str
    accepted: str
    attempts: int
    next_attempt: str | None
    failure: FailureView | None


_SUCCEEDED = OutcomeKind.SUCCEEDED  # looking a member up in an enum costs more than a global
_TITLES = {
    OutcomeKind.REJECTED: (422, "The Command was rejected; the events say why."),
    OutcomeKind.CONFLICT: (412, "The instance was not at the expected version."),
    OutcomeKind.DISCARDED: (409, "An operator discarded the Command; it ended without an event."),
}
_CODES = {OutcomeKind.REJECTED: "rejected", OutcomeKind.CONFLICT: VersionConflict.code, OutcomeKind.DISCARDED: "discarded"}


class Views:
    """Makes what is told from what is known."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._time = TimeText()
        self._renderers: dict[int, Callable[[bytes], object]] = {}  # for good: ids of schemas are never used again

    def outcome(self, outcome: Outcome) -> OutcomeView:
        """Return an outcome as it is looked up: never a problem."""
        turn = outcome.turn
        if turn is not None:
            version = turn.before + len(turn.events)
            return OutcomeView(turn.command.id, outcome.kind, version, self.events(turn), outcome.duplicate)
        pending = _pending_of(outcome)
        return OutcomeView(
            pending.command.id,
            outcome.kind,
            None,
            [],
            outcome.duplicate,
            pending.attempts,
            self._next(pending),
            failure_view(pending.failure),
        )

    def answer(self, outcome: Outcome) -> tuple[int, OutcomeView | RefusalView]:
        """Return status and body of the answer to whoever sent the Command."""
        kind = outcome.kind
        if kind is _SUCCEEDED:
            return 200, self.outcome(outcome)
        title = _TITLES.get(kind)
        if title is None:
            return 202, self.outcome(outcome)
        view = self.outcome(outcome)
        status, text = title
        code = _CODES[kind]
        return status, RefusalView(
            _URN + code, text, status, code, view.command_id, view.outcome, view.version, view.events, view.duplicate
        )

    def events(self, turn: Turn) -> list[EventView]:
        """Return the events of a turn, as an outcome holds them."""
        namespace, entity, instance_id = turn.command.key
        prefix = f"{namespace}/{entity}/{instance_id}/"
        time = self._time(turn.time_us)
        version = turn.before
        views = []
        for event in turn.events:
            version += 1
            data = (self._renderers.get(event.schema_id) or self._renderer(event.schema_id))(event.payload)
            views.append(EventView(f"{prefix}{version}", event.type, version, time, data, event.rejection))
        return views

    def history(self, turns: Sequence[Turn], *, after: int, limit: int) -> list[EventView]:
        """Return the events with versions above `after`, `limit` at most, with what is known of the Commands behind them."""
        views: list[EventView] = []
        for turn in turns:
            context = turn.command.context
            for view in self.events(turn):
                if view.version > after and len(views) < limit:
                    view.command_id = turn.command.id
                    view.revision = turn.revision or None
                    if context is not None:
                        view.correlation_id, view.causation_id = context.correlation_id, context.causation_id
                        view.traceparent = context.traceparent
                    views.append(view)
        return views

    def state(self, state: State) -> Any:
        """Return a state's payload as JSON."""
        return None if state.payload is None else self._renderer(state.schema_id)(state.payload)

    def pending(self, pending: Pending) -> PendingView:
        """Return an unfinished Command as a listing gives it."""
        command = pending.command
        return PendingView(
            pending.number,
            f"{command.key.namespace}/{command.key.entity}",
            command.key.id,
            command.type,
            command.id,
            "parked" if pending.parked else "pending",
            self._time(command.accepted_us),
            pending.attempts,
            self._next(pending),
            failure_view(pending.failure),
        )

    def _renderer(self, schema_id: int) -> Callable[[bytes], object]:
        render = self._renderers[schema_id] = self._catalog().schema(schema_id).to_json
        return render

    def _next(self, pending: Pending) -> str | None:
        return None if pending.due_us is None else self._time(pending.due_us)


def refusal(error: EventoError, command: Command) -> dict[str, Any]:
    """Return the problem for a Command that was refused, with its id: the sender may not have chosen it."""
    return problem(error, command_id=command.id)


def failure_view(failure: Failure | None) -> FailureView | None:
    """Return a failure as it is told."""
    return None if failure is None else FailureView(failure.code, failure.message, failure.function)


def location(key: EntityKey, command_id: str) -> str:
    """Return where the outcome of a Command can be looked up."""
    return f"/v1/{key.namespace}/{key.entity}/{quote(key.id, safe='')}/commands/{command_id}"


def encode(view: Any) -> bytes:
    """Return a view as JSON."""
    return _encode(view)


def encode_lines(views: Sequence[Any]) -> bytes:
    """Return views as NDJSON."""
    return _encode_lines(views)


def _pending_of(outcome: Outcome) -> Pending:
    if outcome.pending is None:
        raise EventoError("an outcome without turn and pending was told")
    return outcome.pending
