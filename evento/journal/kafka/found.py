"""Records as they are found on the topics: what they say, or what is wrong with them and where they stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from confluent_kafka import Message

from evento.errors import JournalCorrupt
from evento.journal.kafka.records import Done, EventHead, HeadersRead, read_event_head, read_outcome, read_pending, read_state
from evento.model.command import Pending, State, Turn
from evento.model.transition import Refusal

T = TypeVar("T")


def headers_of(message: Message) -> HeadersRead:
    """Return a record's headers, in order."""
    return cast("Sequence[tuple[str, bytes | None]]", message.headers() or ())


def outcome_of(message: Message) -> Turn | Refusal:
    """Return what a record of the outcomes tells. Raises JournalCorrupt, with its place; so do the others."""
    return _read(message, lambda: read_outcome(message.value() or b""))


def event_head_of(message: Message) -> EventHead:
    """Return which event a record is."""
    return _read(message, lambda: read_event_head(message.key(), headers_of(message)))


def is_event(message: Message, wanted: tuple[str, int, str]) -> bool:
    """Return whether a record is this event (instance, version, Command) as Evento writes it; else `event_head_of` tells more."""
    instance_id, version, command_id = wanted
    headers = headers_of(message)
    return (
        message.key() == instance_id.encode()
        and ("ce_sequence", b"%020d" % version) in headers
        and ("ce_causationid", command_id.encode()) in headers
    )


def state_of(message: Message) -> State:
    """Return the state that a record holds."""
    return _read(message, lambda: read_state(message.value() or b"", headers_of(message)))


def pending_of(message: Message) -> Pending | int | Mapping[str, Done]:
    """Return a pending entry, the number of one that is gone, or how far the sources are done with."""
    return _read(message, lambda: read_pending(message.key(), message.value(), headers_of(message)))


def corrupt(message: Message, problem: str) -> JournalCorrupt:
    """Return the error that names a record's place."""
    place = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
    return JournalCorrupt(f"{place}: {problem}", topic=message.topic(), partition=message.partition(), offset=message.offset())


def _read(message: Message, read: Callable[[], T]) -> T:
    try:
        return read()
    except JournalCorrupt as error:
        raise corrupt(message, error.message) from error
