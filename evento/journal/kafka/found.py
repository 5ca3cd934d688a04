"""Records as they are found on the topics: what they say, or what is wrong with them and where they stand."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar, cast

from confluent_kafka import Message

from evento.errors import JournalCorrupt
from evento.journal.kafka.records import (
    Done,
    EventHead,
    HeadersRead,
    Record,
    outcome_record,
    read_event_head,
    read_outcome,
    read_pending,
    read_state,
    refusal_record,
    state_record,
)
from evento.journal.outcomes import Outline, outline_of
from evento.journal.sqlite.loading import ToldState
from evento.model.command import Pending, Turn
from evento.model.keys import EntityKey

T = TypeVar("T")
SHOWN_BYTES_MAX = 80


def headers_of(message: Message) -> HeadersRead:
    """Return a record's headers, in order."""
    return cast("Sequence[tuple[str, bytes | None]]", message.headers() or ())


def outlines_of(messages: Sequence[Message]) -> list[Outline | None]:
    """Return what indexes need of finished Commands' records; None of a refusal. Raises JournalCorrupt, with the place; so do the
    others."""
    try:
        return [outline_of(message.key(), message.value() or b"") for message in messages]
    except JournalCorrupt:
        for message in messages:
            _read(message, partial(outline_of, message.key(), message.value() or b""))
        raise


def event_head_of(message: Message) -> EventHead:
    """Return which event a record is."""
    return _read(message, lambda: read_event_head(message.key(), headers_of(message)))


def is_event(message: Message, wanted: tuple[str, int, str]) -> bool:
    """Return whether a record is this event (instance, version, Command) as Evento writes it; else `event_head_of` tells more."""
    instance_id, version, command_id = wanted
    if message.key() != instance_id.encode():
        return False
    headers = headers_of(message)
    return ("ce_sequence", b"%020d" % version) in headers and ("ce_causationid", command_id.encode()) in headers


def is_as_written(message: Message, record: Record) -> bool:
    """Return whether a record is exactly this one; else `contradiction` tells more."""
    return message.value() == record.value and message.key() == record.key and message.headers() == record.headers


def contradiction(message: Message, record: Record) -> str:
    """Return the first thing in which a record is not this one, which it should be."""
    if message.key() != record.key:
        return f"its key is {_shown(message.key())}, not {_shown(record.key)}"
    headers, expected = headers_of(message), record.headers
    for (name, content), (wanted, right) in zip(headers, expected, strict=False):
        if name != wanted:
            return f"there is the header {name}, where {wanted} should be"
        if content != right:
            return f"its header {name} is {_shown(content)}, not {_shown(right)}"
    if len(headers) > len(expected):
        return f"there is the header {headers[len(expected)][0]}, which should not be"
    if len(headers) < len(expected):
        return f"there is no header {expected[len(headers)][0]}"
    return f"its value is not the one that it should be, of {len(message.value() or b'')} and {len(record.value or b'')} bytes"


def states_of(begin: bytes, messages: Sequence[Message]) -> list[ToldState]:
    """Return the states that records hold, with their instances' names, which begin with `begin`."""
    try:
        return [(begin + (message.key() or b""), read_state(message.value() or b"", headers_of(message))) for message in messages]
    except JournalCorrupt:
        for message in messages:
            _read(message, partial(read_state, message.value() or b"", headers_of(message)))
        raise


def hold_outcome(message: Message) -> None:
    """Insist that an outcome's record is what is written for what its value tells."""
    told = _read(message, lambda: read_outcome(message.value() or b""))
    topic = str(message.topic())
    _insist(message, outcome_record(topic, told) if isinstance(told, Turn) else refusal_record(topic, told))


def hold_state(message: Message, namespace: str, entity: str) -> None:
    """Insist that a state's record is what is written for what its value and version tell."""
    state = _read(message, lambda: read_state(message.value() or b"", headers_of(message)))
    key = EntityKey(namespace, entity, (message.key() or b"").decode(errors="replace"))
    _insist(message, state_record(str(message.topic()), key, state))


def pending_of(message: Message) -> Pending | int | Mapping[str, Done]:
    """Return a pending entry, the number of one that is gone, or how far the sources are done with."""
    return _read(message, lambda: read_pending(message.key(), message.value(), headers_of(message)))


def corrupt(message: Message, problem: str) -> JournalCorrupt:
    """Return the error that names a record's place."""
    place = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
    return JournalCorrupt(f"{place}: {problem}", topic=message.topic(), partition=message.partition(), offset=message.offset())


def _insist(message: Message, record: Record) -> None:
    if not is_as_written(message, record):
        raise corrupt(message, f"this is not as it is written: {contradiction(message, record)}")


def _shown(content: bytes | None) -> str:
    """Return bytes as they can be told: not all of many."""
    if content is None or len(content) <= SHOWN_BYTES_MAX:
        return repr(content)
    return f"{content[:SHOWN_BYTES_MAX]!r} and {len(content) - SHOWN_BYTES_MAX} more bytes"


def _read(message: Message, read: Callable[[], T]) -> T:
    try:
        return read()
    except JournalCorrupt as error:
        raise corrupt(message, error.message) from error
