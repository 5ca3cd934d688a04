"""Records that anybody may have put on a topic of Commands, read as Commands.

Everything in them is hostile: what is wrong with their form or their partition becomes a sentence for whoever wrote it, never an
exception. Knows no catalog: whether the Command and its schema exist, and the payload fits, is judged later.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from evento.errors import CommandError, EventoError, InvalidName, InvalidRequest, PayloadRefused
from evento.journal.kafka.placing import partition_of
from evento.model.command import Command, Context
from evento.model.context import EXPECTED_MAX, check_context_id, check_traceparent
from evento.model.keys import EntityKey, check_command_id, check_instance_id, check_type_name
from evento.model.limits import COMMAND_BYTES_MAX, HEADER_BYTES_MAX, HEADERS_MAX
from evento.model.times import TIME_MAX_US, parse_time
from evento.model.transition import Input
from evento.schema.wire import unpack_confluent

HeadersRead = Sequence[tuple[str, bytes | None]]

SPEC_VERSION = "1.0"
_READ = frozenset(
    (
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_correlationid",
        "ce_causationid",
        "traceparent",
        "evento-expected-version",
        "evento-due",
    )
)
_USUAL = frozenset(("ce_id", "ce_type"))
_TYPES_KEPT = 1_024
_TYPE_SHORT = 256  # a longer one is not kept: whoever writes records must not fill the memory with them
_SOURCE_DIGITS = 16
_DIGITS_MAX = 16
_SHOWN_MAX = 80
_TARGETS_KEPT = 16_384  # instances that come again and again are looked at once, and have one key in memory; 5 to 20 MiB


class Place(NamedTuple):
    """Where a record was found: in a source, for an Entity, in one of so many partitions."""

    source: str
    namespace: str
    entity: str
    partition: int
    partitions: int


def read_input(
    place: Place,
    offset: int,
    *,
    key: bytes | None,
    value: bytes | None,
    headers: HeadersRead | None,
    timestamp_us: int,
) -> Input:
    """Return what the record at `offset` of a place says. Reading it again gives the same Command, also if it brings no id.

    `timestamp_us` is the record's: with it the Command counts as accepted.
    """
    usual = _usual(place, key, value, headers, timestamp_us)
    if usual is not None:
        return Input(place.source, offset, usual.key, usual.id, usual, "")
    instance_id, command_id, command, problem = "", "", None, ""
    said: dict[str, str] = {}
    try:
        instance_id = _instance_id(key)
    except CommandError as error:
        problem = error.message
    try:
        said = _said(headers)
        command_id = _command_id(said, place.source, offset)
    except CommandError as error:
        problem = problem or error.message
    target = EntityKey(place.namespace, place.entity, instance_id)
    if not problem:
        try:
            _check_partition(target, place)
            command = _command(target, command_id, said, value, timestamp_us)
        except (CommandError, PayloadRefused) as error:
            problem = error.message
    return Input(place.source, offset, target, command_id, command, problem)


def _usual(place: Place, key: bytes | None, value: bytes | None, headers: HeadersRead | None, timestamp_us: int) -> Command | None:
    """Return the Command of a record as nearly all are: with an id and a type, and nothing wrong; None of any other.

    It is half the work, and a million records are read one after another.
    """
    if not headers or len(headers) != 2 or not 0 <= timestamp_us <= TIME_MAX_US:
        return None
    (first, command_id), (second, full) = headers
    if first != "ce_id" or second != "ce_type" or command_id is None or full is None or len(full) >= _TYPE_SHORT:
        return None
    try:
        target = _target(place, key)
        identity, kind = check_command_id(command_id.decode()), _type(place.namespace, full.decode())
        return Command(identity, target, kind, *_payload(value), timestamp_us)
    except (EventoError, UnicodeDecodeError):
        return None


@lru_cache(_TARGETS_KEPT)
def _target(place: Place, key: bytes | None) -> EntityKey:
    """Return the instance whose key a record has. Raises CommandError."""
    target = EntityKey(place.namespace, place.entity, _instance_id(key))
    _check_partition(target, place)
    return target


def _check_partition(target: EntityKey, place: Place) -> None:
    belongs = partition_of(target.id, place.partitions)
    if belongs != place.partition:
        raise InvalidRequest(
            f"the key {target.id!r} belongs to partition {belongs}, but the record is in {place.partition}: "
            "use the partitioner murmur2 of the key's bytes, as Java's clients do"
        )


def _instance_id(key: bytes | None) -> str:
    if not key:
        raise InvalidRequest("the record has no key: it must be the id of the instance, in UTF-8")
    try:
        return check_instance_id(key.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the record's key {_shown(key)}: must be the id of the instance, in UTF-8") from error


def _said(headers: HeadersRead | None) -> dict[str, str]:
    """Return the headers that mean something to Evento. Others are left alone, but not without limit."""
    said: dict[str, str] = {}
    size = 0
    if headers is not None and len(headers) > HEADERS_MAX:
        raise InvalidRequest(f"{len(headers)} headers are more than the limit of {HEADERS_MAX}")
    for name, value in headers or ():
        size += len(name) + (0 if value is None else len(value))
        if name in _READ:
            if name in said:
                raise InvalidRequest(f"header {name}: must not be repeated")
            if value is None:
                raise InvalidRequest(f"header {name}: must have a value, or be left out")
            try:
                said[name] = value.decode()
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"header {name} {_shown(value)}: must be UTF-8") from error
    if size > HEADER_BYTES_MAX:
        raise InvalidRequest(f"{size} bytes of headers are more than the limit of {HEADER_BYTES_MAX}")
    return said


def _command_id(said: dict[str, str], source: str, offset: int) -> str:
    """Return the id that the record brings, or one that follows from its place, so that it is executed once, however often read."""
    given = said.get("ce_id")
    if given is None:
        return f"record:{sha256(source.encode()).hexdigest()[:_SOURCE_DIGITS]}:{offset}"
    try:
        return check_command_id(given)
    except InvalidName as error:
        raise InvalidRequest(f"header ce_id: {error.message}") from error


def _command(key: EntityKey, command_id: str, said: dict[str, str], value: bytes | None, timestamp_us: int) -> Command:
    if (spec := said.get("ce_specversion", SPEC_VERSION)) != SPEC_VERSION:
        raise InvalidRequest(f"header ce_specversion {spec[:_SHOWN_MAX]!r}: must be {SPEC_VERSION}, or be left out")
    if not 0 <= timestamp_us <= TIME_MAX_US:
        raise InvalidRequest(f"the record's timestamp, {timestamp_us} µs since 1970, must be set, and lie before the year 10000")
    schema_id, payload = _payload(value)
    full = said.get("ce_type")
    if full is None:
        raise InvalidRequest("header ce_type: must be the Command's name")
    kind = _type(key.namespace, full) if len(full) < _TYPE_SHORT else _type.__wrapped__(key.namespace, full)
    if said.keys() <= _USUAL:
        return Command(command_id, key, kind, schema_id, payload, timestamp_us)
    return Command(
        command_id,
        key,
        kind,
        schema_id,
        payload,
        timestamp_us,
        _expected(said),
        parse_time(said["evento-due"], "header evento-due") if "evento-due" in said else None,
        _context(said),
    )


def _payload(value: bytes | None) -> tuple[int, bytes]:
    if not value:
        raise InvalidRequest("the record has no value: it must be the Command, Avro in the Confluent wire format")
    schema_id, payload = unpack_confluent(value)
    if len(payload) > COMMAND_BYTES_MAX:
        raise InvalidRequest(f"{len(payload)} bytes of payload are more than the limit of {COMMAND_BYTES_MAX}")
    return schema_id, payload


@lru_cache(_TYPES_KEPT)
def _type(namespace: str, full: str) -> str:
    place, dot, name = full.rpartition(".")
    if dot and place != namespace:
        raise InvalidRequest(f"header ce_type {full[:_SHOWN_MAX]!r}: must be a Command of the namespace {namespace}")
    return check_type_name(name, "header ce_type")


def _expected(said: dict[str, str]) -> int | None:
    text = said.get("evento-expected-version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text) <= EXPECTED_MAX):
        raise InvalidRequest(f"header evento-expected-version {text[:_SHOWN_MAX]!r}: must be a version, 0 to {EXPECTED_MAX}")
    return int(text)


def _context(said: dict[str, str]) -> Context | None:
    correlation, causation, trace = (said.get(name) for name in ("ce_correlationid", "ce_causationid", "traceparent"))
    if correlation is None and causation is None and trace is None:
        return None
    return Context(
        correlation_id=None if correlation is None else check_context_id(correlation, "header ce_correlationid"),
        causation_id=None if causation is None else check_context_id(causation, "header ce_causationid"),
        traceparent=None if trace is None else check_traceparent(trace),
    )


def _shown(content: bytes) -> str:
    return repr(content[:_SHOWN_MAX])
