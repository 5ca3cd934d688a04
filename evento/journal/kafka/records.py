"""What the journal writes on its topics, and what it reads there: the model's values as records and back.

Stable for ever: what stands on a topic is read again after years, and by programs that nobody here knows; for them,
`docs/reference/topics.md` says the same. Knows no Kafka client, no partitions and no time; the topic's name is the caller's to say.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import Struct

from evento.errors import JournalCorrupt, JournalError, PayloadRefused
from evento.journal.kafka.inputs import HeadersRead, read_input
from evento.journal.outcomes import REFUSED, decode_outcome, encode_refusal, encode_turn
from evento.model.command import OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.times import time_text
from evento.model.transition import Refusal
from evento.schema.wire import pack_confluent, unpack_confluent

__all__ = [
    "Done",
    "EventHead",
    "Header",
    "HeadersRead",
    "Record",
    "event_records",
    "inputs_record",
    "outcome_record",
    "pending_gone",
    "pending_record",
    "read_event_head",
    "read_input",
    "read_outcome",
    "read_pending",
    "read_state",
    "refusal_record",
    "state_record",
]

Header = tuple[str, bytes]

INPUTS_KEY = b"inputs"
TOPICS_HEADER = "evento-topics"
NUMBER_DIGITS = 20
_FORMAT = b"\x01"  # in front of what only Evento reads: MessagePack arrays of the model's fields in their order
_AVRO: Header = ("content-type", b"application/avro")
_SPEC: Header = ("ce_specversion", b"1.0")
_OUTCOMES: Mapping[OutcomeKind, Header] = {kind: ("evento-outcome", kind.value.encode()) for kind in OutcomeKind}
_SUCCEEDED = _OUTCOMES[OutcomeKind.SUCCEEDED]  # looking a member up in a dict calls its hash, which is written in Python
_REFUSED: Header = ("evento-outcome", REFUSED.encode())
_VERSION = "evento-version"
_REVISION = "evento-revision"
_REJECTION: Header = ("evento-rejection", b"true")
_KINDS_KEPT = 4096  # headers of types and revisions, made once
_KEYS_KEPT = 1024
_TIMES_KEPT = 256  # those of one commit are the same
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

_encode = msgspec.msgpack.Encoder().encode
_decode_pending = msgspec.msgpack.Decoder(Pending).decode
_decode_inputs = msgspec.msgpack.Decoder(dict[str, int]).decode
_decode_topics = msgspec.json.Decoder(dict[str, tuple[str, bool]]).decode


class Record(Struct, frozen=True, gc=False):
    """A record to be written. Without a value it says that what stood under its key is gone."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[Header]


class EventHead(NamedTuple):
    """What an event's record says without being decoded. It is number `place` of the `places` events of its Command."""

    instance_id: str
    version: int
    command_id: str
    place: int
    places: int


class Done(Struct, frozen=True, gc=False):
    """How far a topic of Commands is done with, and which topic it is, "" if nobody noted it.

    `anew`: there was another one of its name before.
    """

    next_offset: int
    identity: str = ""
    anew: bool = False


# ------------------------------------------------------------------ events
def event_records(topic: str, turn: Turn) -> list[Record]:
    """Return one record per event, in order: Avro in the Confluent wire format, CloudEvents headers in binary mode.

    The correlation is the Command's, or the Command itself where it has none: it may be the first of a conversation. The cause of
    an event is its Command.
    """
    if not turn.events:
        return []
    command = turn.command
    names, namespace = _names(command.key), command.key.namespace
    key, prefix = names.id, names.full + b"/"
    context = command.context
    cause = command.id.encode()
    correlation = cause if context is None or context.correlation_id is None else context.correlation_id.encode()
    time, revision = _time(turn.time_us), _revision(turn.revision)
    count = len(turn.events)
    records = []
    version = turn.before
    for event in turn.events:
        version += 1
        headers = [
            _SPEC,
            ("ce_id", prefix + b"%d" % version),
            names.source,
            _type(namespace, event.type),
            names.subject,
            time,
            ("ce_sequence", b"%020d" % version),
            names.partition_key,
            ("ce_correlationid", correlation),
            ("ce_causationid", cause),
            _AVRO,
            revision,
        ]
        if event.rejection:
            headers.append(_REJECTION)
        if context is not None and context.traceparent is not None:
            headers.append(("traceparent", context.traceparent.encode()))
        if count > 1:
            headers.append(("evento-turn", b"%d/%d" % (version - turn.before, count)))
        records.append(Record(topic, key, pack_confluent(event.schema_id, event.payload), headers))
    return records


def read_event_head(key: bytes | None, headers: HeadersRead | None) -> EventHead:
    """Return what the headers of an event's record say. Raises JournalCorrupt if they are not as `event_records` writes them."""
    found = dict(headers or ())
    try:
        if key is None:
            raise ValueError("there is no key")
        sequence, identity, cause = (_present(found, name) for name in ("ce_sequence", "ce_id", "ce_causationid"))
        version = int(sequence)
        if not identity.endswith(b"/%s/%d" % (key, version)) or version < 1 or sequence != b"%020d" % version:
            raise ValueError(f"key {key[:80]!r}, id {identity[:200]!r} and sequence {sequence[:80]!r} do not agree")
        place, places = 1, 1
        if (turn := found.get("evento-turn")) is not None:
            place, places = (int(part) for part in turn.split(b"/"))
            if not 1 <= place <= places or turn != b"%d/%d" % (place, places):
                raise ValueError(f"there is no place {turn[:80]!r}")
        return EventHead(key.decode(), version, cause.decode(), place, places)
    except ValueError as error:
        raise JournalCorrupt(f"the headers of an event are not as they are written: {error}") from error


class _Names(Struct, frozen=True, gc=False):
    """What the records of an instance call it."""

    id: bytes
    full: bytes
    source: Header
    subject: Header
    partition_key: Header


@lru_cache(maxsize=_KEYS_KEPT)
def _names(key: EntityKey) -> _Names:
    """Return the names of an instance, of which several turns often follow each other."""
    name = key.id.encode()
    source = f"/{key.namespace}/{key.entity}".encode()
    return _Names(name, str(key).encode(), ("ce_source", source), ("ce_subject", name), ("ce_partitionkey", name))


@lru_cache(maxsize=_KINDS_KEPT)
def _type(namespace: str, name: str) -> Header:
    return "ce_type", f"{namespace}.{name}".encode()


@lru_cache(maxsize=_KINDS_KEPT)
def _revision(revision: str) -> Header:
    return _REVISION, revision.encode()


@lru_cache(maxsize=_TIMES_KEPT)
def _time(time_us: int) -> Header:
    return "ce_time", time_text(time_us).encode()


def _present(headers: Mapping[str, bytes | None], name: str) -> bytes:
    found = headers.get(name)
    if found is None:
        raise ValueError(f"there is no {name}")
    return found


# ------------------------------------------------------------------ states
def state_record(topic: str, key: EntityKey, state: State) -> Record:
    """Return the record that replaces an instance's state. Raises JournalError for a state without payload."""
    if state.payload is None:
        raise JournalError(f"{key}: a state without payload has no record", key=str(key))
    headers: list[Header] = [(_VERSION, b"%d" % state.version), _revision(state.revision), _AVRO]
    return Record(topic, key.id.encode(), pack_confluent(state.schema_id, state.payload), headers)


def read_state(value: bytes, headers: HeadersRead | None) -> State:
    """Return the state that a record holds. Raises JournalCorrupt."""
    try:
        schema_id, payload = unpack_confluent(value)
        if headers and len(headers) > 1 and headers[0][0] == _VERSION and headers[1][0] == _REVISION:  # in the order of writing
            version, revision = headers[0][1], headers[1][1]
        else:
            version, revision = map(dict(headers or ()).get, (_VERSION, _REVISION))
        if version is None or revision is None:
            raise ValueError(f"there is no {_VERSION if version is None else _REVISION}")
        return State(int(version), payload, schema_id, revision.decode())
    except (PayloadRefused, ValueError) as error:
        raise JournalCorrupt(f"the record of a state is not as it is written: {error}") from error


# ------------------------------------------------------------------ outcomes
def outcome_record(topic: str, turn: Turn) -> Record:
    """Return the record that tells what became of a Command."""
    command, kind = turn.command, turn.kind
    outcome = _SUCCEEDED if kind is OutcomeKind.SUCCEEDED else _OUTCOMES[kind]
    headers: list[Header] = [("evento-command-id", command.id.encode()), outcome, _AVRO]
    return Record(topic, _names(command.key).full, encode_turn(turn), headers)


def refusal_record(topic: str, refusal: Refusal) -> Record:
    """Return the record that tells why a record is refused."""
    headers = [("evento-command-id", refusal.command_id.encode()), _REFUSED, _AVRO]
    return Record(topic, str(refusal.key).encode(), encode_refusal(refusal), headers)


def read_outcome(value: bytes) -> Turn | Refusal:
    """Return what a record of the outcomes tells. Raises JournalCorrupt."""
    return decode_outcome(value)


# ------------------------------------------------------------------ pending, and how far inputs are read
def pending_record(topic: str, pending: Pending) -> Record:
    """Return the record of an unfinished Command; it replaces the one before with the same number."""
    return Record(topic, _number_key(pending.number), _FORMAT + _encode(pending), [])


def pending_gone(topic: str, number: int) -> Record:
    """Return the record that says that an entry is no longer pending."""
    return Record(topic, _number_key(number), None, [])


def inputs_record(topic: str, inputs: Mapping[str, Done]) -> Record:
    """Return the record that says how far each source is done with; it replaces the one before.

    Which topics they are stands in a header, for versions that read the value alone.
    """
    offsets = {source: done.next_offset for source, done in inputs.items()}
    topics = {source: (done.identity, done.anew) for source, done in inputs.items() if done.identity}
    headers = [(TOPICS_HEADER, msgspec.json.encode(topics))] if topics else []
    return Record(topic, INPUTS_KEY, _FORMAT + _encode(offsets), headers)


def read_pending(key: bytes | None, value: bytes | None, headers: HeadersRead | None = None) -> Pending | int | Mapping[str, Done]:
    """Return a pending entry, or the number of one that is gone, or how far the sources are done with. Raises JournalCorrupt."""
    number = _number(key)
    if number is not None and value is None:
        return number
    if value is None or not value.startswith(_FORMAT):
        raise JournalCorrupt(f"the pending record {key!r} has no content in a format that is known")
    content = memoryview(value)[len(_FORMAT) :]
    try:
        if number is None:
            return _inputs(_decode_inputs(content), headers)
        pending = _decode_pending(content)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"the pending record {key!r} is unreadable: {error}") from error
    if pending.number != number:
        raise JournalCorrupt(f"pending entry {number} is that of number {pending.number}", number=number)
    return pending


def _inputs(offsets: Mapping[str, int], headers: HeadersRead | None) -> Mapping[str, Done]:
    told = dict(headers or ()).get(TOPICS_HEADER)
    topics = {} if told is None else _decode_topics(told)
    return {source: Done(offset, *topics.get(source, ())) for source, offset in offsets.items()}


def _number(key: bytes | None) -> int | None:
    """Return the number that a key is, or None for the key of inputs."""
    if key == INPUTS_KEY:
        return None
    if key is None or len(key) != NUMBER_DIGITS or not key.isdigit():
        raise JournalCorrupt(f"{(key or b'')[:80]!r} is no key of a pending record")
    return int(key)


def _number_key(number: int) -> bytes:
    return b"%020d" % number
