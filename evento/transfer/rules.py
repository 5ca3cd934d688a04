"""What may stand in the records of an export, given its catalog. Each method raises Misfit with a sentence about what may not.

Payloads are collected and checked many at once, schema by schema: that is how the check of a million of them is affordable.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from evento.errors import EventoError, InvalidName
from evento.model.command import Command, Event, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey, check_command_id, check_instance_id, check_namespace, check_type_name
from evento.model.limits import COMMAND_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX, STATE_BYTES_MAX
from evento.registry.catalog import Catalog

_WITHOUT_EVENTS = (OutcomeKind.CONFLICT, OutcomeKind.DISCARDED)
_KEYS_CACHED = 100_000


class Misfit(Exception):
    """A record says something that no journal would."""


class Rules:
    """Judges records by one catalog. Call `check_payloads` after each handful."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._payloads: dict[int, list[tuple[bytes, str, EntityKey]]] = {}

    def check_versions(self, events: Sequence[Mapping[str, object]], before: int) -> None:
        """Check that the Events of a turn's record are numbered on from `before`."""
        for version, event in enumerate(events, before + 1):
            _require(event["version"] == version, f"the versions of its Events do not follow on {before}")

    def check_turn(self, turn: Turn) -> None:
        """Check a turn by itself: whether it follows on the turns before it only the journal can say."""
        command = turn.command
        self.check_command(command)
        _require(turn.before >= 0 and turn.attempts >= 0, "a number is below 0")
        _require(len(turn.events) <= EVENTS_PER_COMMAND_MAX, f"it has more than {EVENTS_PER_COMMAND_MAX} Events")
        _require(bool(turn.events) != (turn.kind in _WITHOUT_EVENTS), f"its outcome is {turn.kind}, and its Events say otherwise")
        if turn.events:
            rejected = any(event.rejection for event in turn.events)
            _require(rejected == (turn.kind is OutcomeKind.REJECTED), f"its outcome is {turn.kind}, and its Events say otherwise")
        for event in turn.events:
            self._check_event(command.key, event)

    def check_state(self, key: EntityKey, state: State) -> None:
        """Check a state by itself."""
        _check_key(key)
        _require(key[:2] in self._catalog.entities, "the catalog has no such Entity")
        _require(state.version > 0, "its version is not above 0")
        if state.payload is not None:
            _require(state.schema_id in self._catalog.schema_ids, "there is no such schema")
            self._collect(state.schema_id, state.payload, STATE_BYTES_MAX, "the state", key)

    def check_pending(self, entry: Pending) -> None:
        """Check a pending entry by itself."""
        self.check_command(entry.command)
        _require(entry.number >= 0 and entry.attempts >= 0, "a number is below 0")

    def check_command(self, command: Command) -> None:
        """Check a Command."""
        key = command.key
        _check_key(key)
        try:
            check_command_id(command.id)
        except InvalidName as error:
            raise Misfit(error.message) from error
        known = self._catalog.command_schema_ids(key.namespace, key.entity, command.type)
        _require(command.schema_id in known, f"there never was a Command {command.type[:80]!r} with schema {command.schema_id}")
        _require(command.expected is None or command.expected >= 0, "a number is below 0")
        self._collect(command.schema_id, command.payload, COMMAND_BYTES_MAX, "the Command", key)

    def check_payloads(self) -> None:
        """Check all payloads since the last call."""
        payloads, self._payloads = self._payloads, {}
        for schema_id, found in payloads.items():
            try:
                verdicts = self._catalog.schema(schema_id).check_many([payload for payload, _, _ in found])
            except EventoError as error:
                raise Misfit(f"schema {schema_id} is refused: {error.message}") from error
            for (_, what, key), refused in zip(found, verdicts, strict=True):
                _require(refused is None, f"the payload of {what} of {key} is not canonical Avro of schema {schema_id}")

    def _check_event(self, key: EntityKey, event: Event) -> None:
        record = self._catalog.contents.events.get((key.namespace, event.type))
        known = self._catalog.event_schema_ids(key.namespace, event.type)
        mine = record is not None and record.entity == key.entity and event.schema_id in known
        _require(mine, f"there never was an Event {event.type[:80]!r} with schema {event.schema_id}")
        self._collect(event.schema_id, event.payload, EVENT_BYTES_MAX, "an Event", key)

    def _collect(self, schema_id: int, payload: bytes, bytes_max: int, what: str, key: EntityKey) -> None:
        _require(len(payload) <= bytes_max, f"the payload of {what} has {len(payload)} bytes, more than {bytes_max}")
        self._payloads.setdefault(schema_id, []).append((payload, what, key))


def check_increasing(last: tuple[object, ...], this: tuple[object, ...]) -> None:
    """Insist that records are ordered, and so also that none stands there twice."""
    _require(last < this, "it is out of order, or stands there twice")


@lru_cache(_KEYS_CACHED)
def _check_key(key: EntityKey) -> None:
    try:
        check_namespace(key.namespace)
        check_type_name(key.entity)
        check_instance_id(key.id)
    except InvalidName as error:
        raise Misfit(error.message) from error


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Misfit(otherwise)
