"""How turns, states and pending entries are written into the rows, and what guards them. Stable for ever: only append fields.

Everything is a MessagePack array (no field names) of the model's fields in their order, so that one call in C encodes or decodes
all of a row, or of a thousand rows. What a row's other columns say is in there as well: the columns are for SQL, this is the truth.
A row's checksum goes on from the row before, so that a lost or moved row is found; rows that follow each other are checked at once.
What a replica took from its topics stands there as it came, one outcome a row, in place of the turns. It knows no SQL.
"""

from collections.abc import Sequence
from zlib import crc32

import msgspec

from evento.errors import JournalCorrupt
from evento.journal.outcomes import decode_outcome
from evento.model.command import Event, Pending, State, Turn
from evento.model.keys import EntityKey

STATE_INLINE_BYTES_MAX = 4096  # a bigger state is not repeated in the log with every run
_ARRAY_32 = b"\xdd"  # MessagePack: an array with its length in the next four bytes


class StoredRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row of the log: the turns of one run. `state_checksum` is 0 if no state came with it."""

    position: int
    instance: int
    before: int
    state_checksum: int
    turns: tuple[Turn, ...]


class _CommandsKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of a Command; the rest is skipped."""

    id: msgspec.Raw
    key: EntityKey


class _TurnsEvents(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of a Turn; the rest is skipped."""

    command: _CommandsKey
    kind: msgspec.Raw
    before: int
    events: tuple[Event, ...]


class StoredEvents(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row of the log as those read it who only fold."""

    position: int
    instance: msgspec.Raw
    before: msgspec.Raw
    state_checksum: msgspec.Raw
    turns: tuple[_TurnsEvents, ...]


class _KeptRun(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row of the log, with turns or with an outcome as it came."""

    position: int
    instance: int
    before: int
    state_checksum: int
    turns: tuple[Turn, ...] | bytes


encode = msgspec.msgpack.Encoder().encode
_decode_kept = msgspec.msgpack.Decoder(list[_KeptRun]).decode
_decode_events = msgspec.msgpack.Decoder(list[StoredEvents]).decode
_decode_runs = msgspec.msgpack.Decoder(list[StoredRun]).decode
_decode_state = msgspec.msgpack.Decoder(State).decode
_decode_states = msgspec.msgpack.Decoder(list[State]).decode
_decode_pending = msgspec.msgpack.Decoder(Pending).decode
chained = crc32  # (content, the chain's value before) -> its value after a row with this content, or after several that are joined
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


def encode_run(
    position: int, instance: int, before: int, turns: tuple[Turn, ...], state: State | None
) -> tuple[bytes, bytes | None, int]:
    """Return a row of the log as `StoredRun`, and its inline state with checksum (None and 0 without one)."""
    if state is None:
        return encode((position, instance, before, 0, turns)), None, 0
    content = encode(state)
    checksum = crc32(content, instance) or 1
    return encode((position, instance, before, checksum, turns)), content, checksum


def encode_outcome(position: int, instance: int, before: int, outcome: bytes) -> bytes:
    """Return a row of the log as `StoredRun`, with an outcome as it came in place of the turns."""
    return encode((position, instance, before, 0, outcome))


def decode_run(content: bytes | memoryview) -> StoredRun:
    """Return one row. Raises JournalCorrupt."""
    [run] = decode_runs(content, 1)
    return run


def decode_runs(joined: bytes | memoryview, count: int) -> list[StoredRun]:
    """Return `count` rows that stand one after another in `joined`. Raises JournalCorrupt."""
    content = _array(joined, count)
    try:
        return _decode_runs(content)
    except _UNREADABLE:  # there are outcomes as they came, or it is damaged
        return _told(content)


def decode_events(joined: bytes, count: int) -> Sequence[StoredEvents | StoredRun]:
    """Return what a fold needs of `count` rows that stand one after another in `joined`. Raises JournalCorrupt."""
    content = _array(joined, count)
    try:
        return _decode_events(content)
    except _UNREADABLE:
        return _told(content)


def decode_state(content: bytes) -> State:
    """Return one state. Raises JournalCorrupt."""
    try:
        return _decode_state(content)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"a state is unreadable: {error}") from error


def decode_states(joined: bytes, count: int) -> list[State]:
    """Return `count` states that stand one after another in `joined`. Raises JournalCorrupt."""
    try:
        return _decode_states(_array(joined, count))
    except _UNREADABLE as error:
        raise JournalCorrupt(f"states are unreadable: {error}") from error


def decode_pending(number: int, content: bytes) -> Pending:
    """Return a pending entry. Raises JournalCorrupt."""
    try:
        pending = _decode_pending(content)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"pending entry {number} is unreadable: {error}") from error
    if pending.number != number:
        raise JournalCorrupt(f"pending entry {number} is that of number {pending.number}", number=number)
    return pending


def content_checksum(number: int, content: bytes | memoryview) -> int:
    """Return the checksum of a state, by its instance's number, of a pending entry or of a catalog version; never 0."""
    return crc32(content, number) or 1


def name_of(key: EntityKey) -> str:
    """Return an instance's name in the columns."""
    return "/".join(key)


def key_of(name: str) -> EntityKey:
    """Return the instance with this name. Raises JournalCorrupt."""
    try:
        return EntityKey(*name.split("/", 2))
    except TypeError as error:
        raise JournalCorrupt(f"{name[:80]!r} is not an instance's name") from error


def is_inline(state: State | None) -> bool:
    """Return whether a run's state stands in its row."""
    return state is not None and state.payload is not None and len(state.payload) <= STATE_INLINE_BYTES_MAX


def _array(joined: bytes | memoryview, count: int) -> bytes:
    return b"".join((_ARRAY_32, count.to_bytes(4, "big"), joined))


def _told(content: bytes) -> list[StoredRun]:
    try:
        kept = _decode_kept(content)
    except _UNREADABLE as error:
        raise JournalCorrupt(f"the turns are unreadable: {error}") from error
    return [StoredRun(run.position, run.instance, run.before, run.state_checksum, _turns(run.turns)) for run in kept]


def _turns(kept: tuple[Turn, ...] | bytes) -> tuple[Turn, ...]:
    if isinstance(kept, tuple):
        return kept
    told = decode_outcome(kept)
    if not isinstance(told, Turn):
        raise JournalCorrupt("a row of the log holds a refusal")
    return (told,)
