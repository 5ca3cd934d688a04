"""Model and Avro records into each other. Pure, and trusting: whether what comes out may be so is `checking`'s matter."""

from collections.abc import Mapping
from typing import Any

from evento.journal.base import InstanceEntry
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey

Record = dict[str, Any]

_CONTEXT = Context.__struct_fields__
_FAILURE = Failure.__struct_fields__
_OUTCOMES = {kind.value: kind for kind in OutcomeKind}


def turn_record(turn: Turn) -> Record:
    """Return the record of a turn."""
    return {
        "command": _command_record(turn.command),
        "outcome": turn.kind.value,
        "before": turn.before,
        "events": [
            {
                "version": version,
                "type": event.type,
                "schema_id": event.schema_id,
                "payload": event.payload,
                "rejection": event.rejection,
            }
            for version, event in enumerate(turn.events, turn.before + 1)
        ],
        "time": turn.time_us,
        "revision": turn.revision,
        "attempts": turn.attempts,
        "failure": _fields(turn.failure, _FAILURE),
    }


def turn_of(record: Record) -> Turn:
    """Return the turn of a record."""
    return Turn(
        _command_of(record["command"]),
        _OUTCOMES[record["outcome"]],
        record["before"],
        tuple([Event(event["type"], event["schema_id"], event["payload"], event["rejection"]) for event in record["events"]]),
        record["time"],
        record["revision"],
        record["attempts"],
        _failure_of(record["failure"]),
    )


def state_record(entry: InstanceEntry) -> Record:
    """Return the record of an instance's state."""
    return {
        **_key_record(entry.key),
        "version": entry.state.version,
        "schema_id": entry.state.schema_id,
        "payload": entry.state.payload,
        "revision": entry.state.revision,
    }


def state_of(record: Record) -> tuple[EntityKey, State]:
    """Return the instance and state of a record."""
    return _key_of(record), State(record["version"], record["payload"], record["schema_id"], record["revision"])


def pending_record(partition: int, entry: Pending) -> Record:
    """Return the record of a pending entry."""
    return {
        "partition": partition,
        "number": entry.number,
        "command": _command_record(entry.command),
        "attempts": entry.attempts,
        "due": entry.due_us,
        "parked": entry.parked,
        "failure": _fields(entry.failure, _FAILURE),
    }


def pending_of(record: Record) -> Pending:
    """Return the pending entry of a record."""
    return Pending(
        record["number"],
        _command_of(record["command"]),
        record["attempts"],
        record["due"],
        record["parked"],
        _failure_of(record["failure"]),
    )


def _command_record(command: Command) -> Record:
    return {
        **_key_record(command.key),
        "id": command.id,
        "type": command.type,
        "schema_id": command.schema_id,
        "payload": command.payload,
        "accepted": command.accepted_us,
        "expected": command.expected,
        "due": command.due_us,
        "context": _fields(command.context, _CONTEXT),
    }


def _command_of(record: Record) -> Command:
    context = record["context"]
    return Command(
        record["id"],
        _key_of(record),
        record["type"],
        record["schema_id"],
        record["payload"],
        record["accepted"],
        record["expected"],
        record["due"],
        None if context is None else Context(**context),
    )


def _key_record(key: EntityKey) -> Record:
    return {"namespace": key.namespace, "entity": key.entity, "instance": key.id}


def _key_of(record: Record) -> EntityKey:
    return EntityKey(record["namespace"], record["entity"], record["instance"])


def _fields(value: Context | Failure | None, names: tuple[str, ...]) -> Record | None:
    return None if value is None else {name: getattr(value, name) for name in names}


def _failure_of(record: Mapping[str, Any] | None) -> Failure | None:
    return None if record is None else Failure(**record)
