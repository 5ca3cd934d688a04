"""Turns and refusals as values of the outcomes' topic, and back: the Avro record of `evento/protocol/outcome.avsc`, by hand.

The order of the calls is the order of the schema's fields. Knows neither topics nor headers. What is restored is not decoded: it is
looked over for what indexes need (`outline_of`), kept as it is, and decoded when somebody reads it.
"""

from functools import lru_cache
from typing import NamedTuple

from evento.errors import JournalCorrupt, PayloadRefused
from evento.journal.avro import (
    NULL,
    SOME,
    TRUE,
    data,
    long,
    optional_text,
    read_data,
    read_long,
    read_optional_text,
    read_some,
    read_text,
    read_time,
    text,
    time,
    word,
)
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Refusal
from evento.protocol.reserved import OUTCOME_ID
from evento.schema.wire import pack_confluent, unpack_confluent

REFUSED = "refused"
_TURN = SOME  # turn is set, and at the end of the record refusal is not
_REFUSAL = NULL + SOME
_FINISHED = (OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED, OutcomeKind.CONFLICT, OutcomeKind.DISCARDED)
_KINDS = {kind.value: kind for kind in _FINISHED}
_KIND_TEXTS = {kind: text(kind.value) for kind in _FINISHED}
_SUCCEEDED = OutcomeKind.SUCCEEDED  # looking a member up in a dict calls its hash, which is written in Python
_SUCCEEDED_TEXT = _KIND_TEXTS[_SUCCEEDED]
_RECORD_TIME_US = 1_000  # times of records are whole milliseconds, and many share one
_KEPT = 1024  # of each kind of piece that is made once
_shared_time = lru_cache(maxsize=_KEPT)(time)
_FRAME = pack_confluent(OUTCOME_ID, b"")
_FRAME_BYTES = len(_FRAME)
_NO_SIZE = 129
_MORE = 127  # a byte above says that a number goes on
_TIME_BYTES = 8  # of a time of our centuries; all but the last of them say that it goes on
_TIME_MARKS = 0x8080808080808080
_TIME_MARK = 0x0080808080808080
_PLAIN = b"\0\0\0"  # a Command without an expected version, a time that it is due, and a context
_MALFORMED = (IndexError, ValueError, KeyError)  # a UnicodeDecodeError is a ValueError


Outline = tuple[bytes, bytes, int, int]  # of a turn: namespace/Entity/id, the Command's id, the version before, how many events


class _Head(NamedTuple):
    """What every outcome begins with."""

    key: EntityKey
    command_id: str
    outcome: str
    time_us: int


@lru_cache(maxsize=_KEPT)
def _begin(key: EntityKey) -> bytes:
    """Return what all outcomes of an instance begin with; several of one often follow each other."""
    return _FRAME + text(key.namespace) + text(key.entity) + text(key.id)


@lru_cache(maxsize=_KEPT)
def _kind(name: str, schema_id: int) -> bytes:
    """Return the beginning of a Command or an Event: there are few, and they come again and again."""
    return text(name) + long(schema_id)


@lru_cache(maxsize=_KEPT)
def _end(revision: str, attempts: int) -> bytes:
    """Return what stands behind a turn's Events: their end, by which function and at which attempt."""
    return NULL + text(revision) + long(attempts)


def encode_turn(turn: Turn) -> bytes:
    """Return the value that tells a finished Command."""
    command, events = turn.command, turn.events
    accepted_us, failure = command.accepted_us, turn.failure
    parts = [
        _begin(command.key),
        text(command.id),
        _SUCCEEDED_TEXT if turn.kind is _SUCCEEDED else _KIND_TEXTS[turn.kind],
        _shared_time(turn.time_us),
        _TURN,
        _kind(command.type, command.schema_id),
        data(command.payload),
        time(accepted_us) if accepted_us % _RECORD_TIME_US else _shared_time(accepted_us),
        _PLAIN if command.expected is None and command.due_us is None and command.context is None else _extras(command),
        long(turn.before),
    ]
    if events:
        parts.append(long(len(events)))
        for event in events:
            parts += _kind(event.type, event.schema_id), data(event.payload), TRUE if event.rejection else NULL
    parts += _end(turn.revision, turn.attempts), NULL if failure is None else _failure(failure), NULL
    return b"".join(parts)


def encode_refusal(refusal: Refusal) -> bytes:
    """Return the value that tells whoever wrote a record that it is refused."""
    return b"".join(
        (
            _begin(refusal.key),
            text(refusal.command_id),
            word(REFUSED),
            time(refusal.time_us),
            _REFUSAL,
            text(refusal.code),
            text(refusal.message),
            text(refusal.source),
            long(refusal.offset),
        )
    )


def decode_outcome(value: bytes) -> Turn | Refusal:
    """Return what a value tells. Raises JournalCorrupt."""
    if not value.startswith(_FRAME):
        raise JournalCorrupt(f"an outcome is not framed with the schema {OUTCOME_ID}: {_schema_of(value)}")
    told: Turn | Refusal
    try:
        head, at = _read_head(value)
        if read_some(value, at):
            told, end = _read_turn(value, at + 1, head)
            is_one = not read_some(value, end)
            end += 1
        else:
            is_one = read_some(value, at + 1)
            told, end = _read_refusal(value, at + 2, head)
    except _MALFORMED as error:
        raise JournalCorrupt(f"an outcome is unreadable: {type(error).__name__}: {error}") from error
    if not is_one or end != len(value):
        raise JournalCorrupt("an outcome is cut off, or something follows it, or it tells both a turn and a refusal")
    return told


def outline_of(key: bytes | None, value: bytes) -> Outline | None:
    """Return what indexes need of an outcome's record, and nothing for a refusal; the rest of it is not looked at.

    Raises JournalCorrupt.
    """
    return _outlined(key or b"", value) or _decoded(value)


def _outlined(key: bytes, value: bytes) -> Outline | None:
    """Go by the sizes to what is wanted, the fastest way there is in Python; None where anything is not as in most outcomes.

    A size up to 63 is a byte of twice as much: one that is odd or above 127 is not such a size.
    """
    if not value.startswith(_FRAME):
        return None
    try:
        of_namespace = value[_FRAME_BYTES]
        at = _FRAME_BYTES + 1 + (of_namespace >> 1)
        of_entity = value[at]
        at += 1 + (of_entity >> 1)
        of_id = value[at]
        end = at + 1 + (of_id >> 1)
        if (of_namespace | of_entity | of_id) & _NO_SIZE or key[at - _FRAME_BYTES :] != value[at + 1 : end]:
            return None
        of_command = value[end]
        at = end + 1 + (of_command >> 1)
        command_id = value[end + 1 : at]
        of_word = value[at]
        at += 1 + (of_word >> 1)
        if (of_command | of_word) & _NO_SIZE or int.from_bytes(value[at : at + _TIME_BYTES], "little") & _TIME_MARKS != _TIME_MARK:
            return None
        at += _TIME_BYTES + 1
        if value[at - 1] != _TURN[0]:
            return None
        of_type = value[at]
        at += 1 + (of_type >> 1)
        while value[at] > _MORE:  # the id of the payload's schema
            at += 1
        of_payload = value[at + 1]
        at += 2 + (of_payload >> 1)
        if (of_type | of_payload) & _NO_SIZE or int.from_bytes(value[at : at + _TIME_BYTES], "little") & _TIME_MARKS != _TIME_MARK:
            return None
        at += _TIME_BYTES
        at = at + 3 if value[at : at + 3] == _PLAIN else _read_extras(value, at)[-1]
        before, events = value[at], value[at + 1]
        if before > _MORE:
            number, at = read_long(value, at)
            before, events = number << 1, value[at]
    except _MALFORMED:
        return None
    return None if (before | events) & 1 or events > _MORE else (key, command_id, before >> 1, events >> 1)


def _decoded(value: bytes) -> Outline | None:
    told = decode_outcome(value)
    if not isinstance(told, Turn):
        return None
    return str(told.command.key).encode(), told.command.id.encode(), told.before, len(told.events)


def _schema_of(value: bytes) -> str:
    try:
        return f"schema {unpack_confluent(value)[0]}"
    except PayloadRefused as error:
        return error.message


def _read_head(value: bytes) -> tuple[_Head, int]:
    namespace, at = read_text(value, _FRAME_BYTES)
    entity, at = read_text(value, at)
    instance_id, at = read_text(value, at)
    command_id, at = read_text(value, at)
    outcome, at = read_text(value, at)
    time_us, at = read_time(value, at)
    return _Head(EntityKey(namespace, entity, instance_id), command_id, outcome, time_us), at


def _read_turn(value: bytes, at: int, head: _Head) -> tuple[Turn, int]:
    command, at = _read_command(value, at, head)
    before, at = read_long(value, at)
    events, at = _read_events(value, at)
    revision, at = read_text(value, at)
    attempts, at = read_long(value, at)
    failure = None
    if read_some(value, at):
        failure, at = _read_failure(value, at + 1)
    else:
        at += 1
    return Turn(command, _KINDS[head.outcome], before, events, head.time_us, revision, attempts, failure), at


def _read_command(value: bytes, at: int, head: _Head) -> tuple[Command, int]:
    kind, at = read_text(value, at)
    schema_id, at = read_long(value, at)
    payload, at = read_data(value, at)
    accepted_us, at = read_time(value, at)
    if value[at : at + 3] == _PLAIN:  # as most are
        return Command(head.command_id, head.key, kind, schema_id, payload, accepted_us), at + 3
    expected, due_us, context, at = _read_extras(value, at)
    return Command(head.command_id, head.key, kind, schema_id, payload, accepted_us, expected, due_us, context), at


def _read_extras(value: bytes, at: int) -> tuple[int | None, int | None, Context | None, int]:
    """Read what few Commands have."""
    expected = due_us = context = None
    if read_some(value, at):
        expected, at = read_long(value, at + 1)
    else:
        at += 1
    if read_some(value, at):
        due_us, at = read_time(value, at + 1)
    else:
        at += 1
    if read_some(value, at):
        context, at = _read_context(value, at + 1)
    else:
        at += 1
    return expected, due_us, context, at


def _read_events(value: bytes, at: int) -> tuple[tuple[Event, ...], int]:
    count, at = read_long(value, at)
    if not count:
        return (), at
    events = []
    for _ in range(count):
        kind, at = read_text(value, at)
        schema_id, at = read_long(value, at)
        payload, at = read_data(value, at)
        events.append(Event(kind, schema_id, payload, value[at] == 1))
        at += 1
    if value[at]:
        raise ValueError("events in several blocks, or in one with its size, are not what Evento writes")
    return tuple(events), at + 1


def _extras(command: Command) -> bytes:
    """Return what few Commands have."""
    return b"".join(
        (
            NULL if command.expected is None else SOME + long(command.expected),
            NULL if command.due_us is None else SOME + time(command.due_us),
            NULL if command.context is None else _context(command.context),
        )
    )


def _context(context: Context) -> bytes:
    return SOME + b"".join(
        (
            optional_text(context.correlation_id),
            optional_text(context.causation_id),
            optional_text(context.actor),
            optional_text(context.traceparent),
            optional_text(context.transaction_id),
            optional_text(context.encryption_key_id),
        )
    )


def _read_context(value: bytes, at: int) -> tuple[Context, int]:
    correlation_id, at = read_optional_text(value, at)
    causation_id, at = read_optional_text(value, at)
    actor, at = read_optional_text(value, at)
    traceparent, at = read_optional_text(value, at)
    transaction_id, at = read_optional_text(value, at)
    encryption_key_id, at = read_optional_text(value, at)
    return Context(correlation_id, causation_id, actor, traceparent, transaction_id, encryption_key_id), at


def _failure(failure: Failure) -> bytes:
    return SOME + text(failure.code) + text(failure.message) + optional_text(failure.function)


def _read_failure(value: bytes, at: int) -> tuple[Failure, int]:
    code, at = read_text(value, at)
    message, at = read_text(value, at)
    function, at = read_optional_text(value, at)
    return Failure(code, message, function), at


def _read_refusal(value: bytes, at: int, head: _Head) -> tuple[Refusal, int]:
    code, at = read_text(value, at)
    message, at = read_text(value, at)
    source, at = read_text(value, at)
    offset, at = read_long(value, at)
    return Refusal(source, offset, head.key, head.command_id, code, message, head.time_us), at
