"""How Commands, turns and states are written into the rows, and what guards them. Stable for ever: only append fields.

Turns and pending entries are MessagePack arrays (no field names), laid out as the classes below list them. Every stored thing
has a CRC-32; a run's row also has one that goes on from the row before, so that a lost or moved row is found. It knows no SQL.
"""

import struct
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

import msgspec

from evento.errors import JournalCorrupt
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Run

STATE_INLINE_BYTES_MAX = 4096  # a bigger state is not repeated in the log with every run
_HASH_MASK = (1 << 63) - 1
_CRC_MASK = 0xFFFFFFFF
_NUMBERS = struct.Struct("<5q")


class StoredContext(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What travels with a Command."""

    correlation_id: str | None
    causation_id: str | None
    actor: str | None
    traceparent: str | None
    transaction_id: str | None
    encryption_key_id: str | None


class StoredEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event; its version follows from that of the run."""

    type: str
    schema_id: int
    payload: bytes
    rejection: bool


class StoredFailure(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why a turn failed."""

    code: str
    message: str
    function: str | None


class StoredCommand(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A Command without its key, which stands elsewhere in the row."""

    id: str
    type: str
    schema_id: int
    payload: bytes
    accepted_us: int
    expected: int | None
    due_us: int | None
    context: StoredContext | None


class StoredTurn(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A turn; its versions follow from those of the run."""

    command: StoredCommand
    kind: OutcomeKind
    events: tuple[StoredEvent, ...]
    time_us: int
    revision: str
    attempts: int
    failure: StoredFailure | None


class StoredPending(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A pending entry; its number is the row's."""

    key: EntityKey
    command: StoredCommand
    attempts: int
    due_us: int | None
    parked: bool
    failure: StoredFailure | None


class EncodedRun(msgspec.Struct, frozen=True, gc=False):
    """A run as its row holds it, as far as that does not depend on its place."""

    run: Run
    events: int
    turns: bytes
    hashes: list[int]


_encode = msgspec.msgpack.Encoder().encode
_decode_turns = msgspec.msgpack.Decoder(list[StoredTurn]).decode
_decode_pending = msgspec.msgpack.Decoder(StoredPending).decode


def encode_run(run: Run) -> EncodedRun:
    """Return the run encoded."""
    namespace, entity, instance = run.key
    prefix = f"{namespace}/{entity}/{instance}\n"
    hashes = [_hash(prefix + turn.command.id) for turn in run.turns]
    return EncodedRun(run, run.version - run.before, encode_turns(run.turns), hashes)


def encode_turns(turns: tuple[Turn, ...]) -> bytes:
    """Return turns as a MessagePack array of `StoredTurn`."""
    return _encode([_stored_turn(turn) for turn in turns])


def decode_turns(key: EntityKey, before: int, content: bytes) -> list[Turn]:
    """Return the turns of one run. Raises JournalCorrupt."""
    turns = []
    try:
        stored = _decode_turns(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"turns of {key} after version {before} are unreadable: {error}") from error
    for item in stored:
        turns.append(
            Turn(
                command=_command(key, item.command),
                kind=item.kind,
                before=before,
                events=tuple([Event(e.type, e.schema_id, e.payload, e.rejection) for e in item.events]),
                time_us=item.time_us,
                revision=item.revision,
                attempts=item.attempts,
                failure=_failure(item.failure),
            )
        )
        before += len(item.events)
    return turns


def encode_pending(pending: Pending) -> bytes:
    """Return a pending entry as `StoredPending`."""
    command = pending.command
    failure = _stored_failure(pending.failure)
    return _encode((command.key, _stored_command(command), pending.attempts, pending.due_us, pending.parked, failure))


def decode_pending(number: int, content: bytes) -> Pending:
    """Return a pending entry. Raises JournalCorrupt."""
    try:
        stored = _decode_pending(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"pending entry {number} is unreadable: {error}") from error
    command = _command(stored.key, stored.command)
    return Pending(number, command, stored.attempts, stored.due_us, stored.parked, _failure(stored.failure))


def command_hash(key: EntityKey, command_id: str) -> int:
    """Return the hash under which a Command is found: 63 bits, the same for ever and on every machine."""
    namespace, entity, instance = key
    return _hash(f"{namespace}/{entity}/{instance}\n{command_id}")


def row_checksum(numbers: tuple[int, int, int, int, int], words: str, turns: bytes) -> int:
    """Return a row's checksum: over (position, instance, before, events, state_checksum), its names and its turns."""
    start = crc32(_NUMBERS.pack(*numbers))
    return crc32(turns, crc32(words.encode(), start) if words else start)


def chained(previous: int, checksum: int) -> int:
    """Return the chain's value after a row with `checksum`."""
    return crc32((checksum & _CRC_MASK).to_bytes(4, "little"), previous & _CRC_MASK)


def state_checksum(version: int, payload: bytes | None, schema_id: int, revision: str) -> int:
    """Return a state's checksum; 0 stands for no payload."""
    if payload is None:
        return 0
    return crc32(payload, (_seed(schema_id, revision) + version) & _CRC_MASK)


def content_checksum(number: int, content: bytes) -> int:
    """Return the checksum of a pending entry or a catalog version."""
    return crc32(content, crc32(number.to_bytes(8, "little", signed=True)))


def is_inline(state: State | None) -> bool:
    """Return whether a run's state stands in its row."""
    return state is not None and state.payload is not None and len(state.payload) <= STATE_INLINE_BYTES_MAX


@lru_cache(maxsize=256)
def _seed(schema_id: int, revision: str) -> int:
    return crc32(f"{schema_id} {revision}".encode())


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") & _HASH_MASK


def _stored_turn(turn: Turn) -> tuple[object, ...]:
    return (
        _stored_command(turn.command),
        turn.kind.value,
        [(event.type, event.schema_id, event.payload, event.rejection) for event in turn.events],
        turn.time_us,
        turn.revision,
        turn.attempts,
        None if turn.failure is None else _stored_failure(turn.failure),
    )


def _stored_command(command: Command) -> tuple[object, ...]:
    context = command.context
    return (
        command.id,
        command.type,
        command.schema_id,
        command.payload,
        command.accepted_us,
        command.expected,
        command.due_us,
        None if context is None else msgspec.structs.astuple(context),
    )


def _stored_failure(failure: Failure | None) -> tuple[object, ...] | None:
    return None if failure is None else (failure.code, failure.message, failure.function)


def _command(key: EntityKey, stored: StoredCommand) -> Command:
    return Command(
        id=stored.id,
        key=key,
        type=stored.type,
        schema_id=stored.schema_id,
        payload=stored.payload,
        accepted_us=stored.accepted_us,
        expected=stored.expected,
        due_us=stored.due_us,
        context=None if stored.context is None else Context(*msgspec.structs.astuple(stored.context)),
    )


def _failure(stored: StoredFailure | None) -> Failure | None:
    return None if stored is None else Failure(stored.code, stored.message, stored.function)
