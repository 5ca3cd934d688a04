"""What the queries answer, decoded and held against its checksums. For the reader's thread and the writer's; keeps nothing."""

from collections.abc import Iterator, Sequence
from typing import cast

import apsw
import msgspec
from msgspec import Struct

from evento.errors import JournalCorrupt
from evento.journal.sqlite.connection import SqlValue, one
from evento.journal.sqlite.layout import (
    StoredEvents,
    StoredRun,
    chained,
    content_checksum,
    decode_events,
    decode_pending,
    decode_run,
    decode_runs,
    decode_state,
    decode_states,
    key_of,
    name_of,
)
from evento.journal.sqlite.tail import Head
from evento.model.command import Pending, State
from evento.model.keys import EntityKey

SEGMENT_BITS = 15  # as in queries.sql
ROWS_PER_QUERY = 512  # an answer is at most 8 MiB: rows of more than 16 KiB are read one by one
PAGE_ROWS = 1_000
KEYS_PER_QUERY = 1_000


class _RowAnswer(Struct, array_like=True, frozen=True, gc=False):
    position: int
    size: int
    chain: int
    previous: int


class _HeadAnswer(Struct, array_like=True, frozen=True, gc=False):
    place: int | str
    number: int
    version: int
    size: int | None
    state_checksum: int


_decode_rows = msgspec.json.Decoder(list[_RowAnswer]).decode
_decode_heads = msgspec.json.Decoder(list[_HeadAnswer]).decode
_decode_numbers = msgspec.json.Decoder(list[int]).decode
_ROW_BYTES_MAX = 16384  # as in queries.sql
_STATE_BYTES_MAX = 5120  # likewise
Queries = dict[str, str]


def json_of(value: object) -> str:
    """Return a value as JSON text, as the queries take many values at once."""
    return msgspec.json.encode(value).decode()


def numbers(connection: apsw.Connection, sql: str, values: Sequence[SqlValue]) -> list[int]:
    """Return the numbers that a query answers as a JSON array."""
    return _decode_numbers(cast("str", one(connection, sql, values)))


def find_commands(connection: apsw.Connection, queries: Queries, hashes: Sequence[int], until: int) -> list[int]:
    """Return the positions of indexed rows, up to one, that may hold Commands with these hashes."""
    return numbers(connection, queries["find_commands"], (json_of(hashes), until >> SEGMENT_BITS))


def read_pending(connection: apsw.Connection, queries: Queries) -> list[Pending]:
    """Return everything pending, in order. Raises JournalCorrupt."""
    entries: list[Pending] = []
    for number, content, checksum in connection.execute(queries["read_pending"]):
        if checksum != content_checksum(number, content):
            raise JournalCorrupt(f"pending entry {number} contradicts its checksum", number=number)
        entries.append(decode_pending(number, content))
    return entries


def find_heads(connection: apsw.Connection, queries: Queries, keys: Sequence[EntityKey]) -> dict[EntityKey, Head]:
    """Return where instances stand according to their table; a big state is left out (None), as in the tail."""
    heads: dict[EntityKey, Head] = {}
    for start in range(0, len(keys), KEYS_PER_QUERY):
        part = keys[start : start + KEYS_PER_QUERY]
        for item, head in _heads(connection, queries["find_instances"], (json_of([name_of(key) for key in part]),)):
            heads[part[cast("int", item.place)]] = head
    return heads


def list_heads(connection: apsw.Connection, queries: Queries, above: EntityKey, limit: int) -> dict[EntityKey, Head]:
    """Return the first instances of an Entity with ids above that of `above`, in order."""
    end = f"{above.namespace}/{above.entity}0"  # the character after the slash
    found = _heads(connection, queries["list_instances"], (name_of(above), end, limit))
    return {key_of(cast("str", item.place)): head for item, head in found}


def load_state(connection: apsw.Connection, queries: Queries, key: EntityKey, number: int) -> State:
    """Return one instance's state from its table, however big. Raises JournalCorrupt."""
    row = connection.execute(queries["instance_state"], (number,)).fetchone()
    if row is None:
        raise JournalCorrupt(f"{key} has no state in the journal")
    version, content, checksum = row
    if content is None:
        return _thrown_away(version)
    if content_checksum(number, content) != checksum:
        raise _contradicted(number, version)
    return decode_state(content)


def read_page(connection: apsw.Connection, queries: Queries, after: int, until: int, limit: int) -> Sequence[StoredRun]:
    """Return at most `limit` rows from positions above `after` up to `until`, in order. Raises JournalCorrupt."""
    joined, count, last = _page(connection, queries, after, until, limit)
    if joined is None:  # big rows, or a damaged one to be named
        return list(read_rows(connection, queries, range(after + 1, last + 1)))
    return decode_runs(joined, count)


def read_events_page(
    connection: apsw.Connection, queries: Queries, after: int, until: int, limit: int
) -> Sequence[StoredEvents | StoredRun]:
    """Return what `read_page` returns, as far as a fold needs it."""
    joined, count, last = _page(connection, queries, after, until, limit)
    if joined is None:
        return list(read_rows(connection, queries, range(after + 1, last + 1)))
    return decode_events(joined, count)


def _page(connection: apsw.Connection, queries: Queries, after: int, until: int, limit: int) -> tuple[bytes | None, int, int]:
    """Return a page's rows joined (None if they must be read one by one), their number, and the last position."""
    row = connection.execute(queries["feed_page"], (after, until, min(limit, PAGE_ROWS))).fetchone()
    count, last, size, previous, chain, joined = cast("tuple[int, int, int, int, int, bytes | None]", row)
    if count == 0:
        return b"", 0, after
    if joined is None or len(joined) != size or chained(joined, previous) != chain:
        return None, count, last
    return joined, count, last


def read_rows(connection: apsw.Connection, queries: Queries, positions: Sequence[int]) -> Iterator[StoredRun]:
    """Yield the rows at positions. Raises JournalCorrupt, also if one is missing."""
    for start in range(0, len(positions), ROWS_PER_QUERY):
        part = list(positions[start : start + ROWS_PER_QUERY])
        listed, joined = cast("tuple[str, bytes]", connection.execute(queries["read_rows"], (json_of(part),)).fetchone())
        items = _decode_rows(listed)
        if len(items) != len(part):
            lost = min(set(part) - {item.position for item in items})
            raise JournalCorrupt(f"the log has no row at position {lost}", position=lost)
        yield from _checked(connection, queries, items, joined)


def _checked(connection: apsw.Connection, queries: Queries, items: Sequence[_RowAnswer], joined: bytes) -> Iterator[StoredRun]:
    view = memoryview(joined or b"")
    place = 0
    for item in items:
        if item.size <= _ROW_BYTES_MAX:
            content = view[place : place + item.size]
            place += item.size
        else:
            content = memoryview(cast("bytes", one(connection, queries["row_turns"], (item.position,))))
        if chained(content, item.previous) != item.chain:
            raise JournalCorrupt(f"the row at position {item.position} contradicts its checksum", position=item.position)
        yield decode_run(content)


def _heads(connection: apsw.Connection, sql: str, values: Sequence[SqlValue]) -> Iterator[tuple[_HeadAnswer, Head]]:
    listed, joined = cast("tuple[str, bytes]", connection.execute(sql, values).fetchone())
    items = _decode_heads(listed)
    small = [item for item in items if item.size is not None and item.size <= _STATE_BYTES_MAX]
    view = memoryview(joined or b"")
    place = 0
    for item in small:
        size = cast("int", item.size)
        if content_checksum(item.number, view[place : place + size]) != item.state_checksum:
            raise _contradicted(item.number, item.version)
        place += size
    states = iter(decode_states(joined or b"", len(small)))
    for item in items:
        if item.size is None:
            yield item, Head(item.number, item.version, _thrown_away(item.version) if item.version else None)
        elif item.size > _STATE_BYTES_MAX:
            yield item, Head(item.number, item.version, None)
        else:
            state = next(states)
            if state.version != item.version:
                raise _contradicted(item.number, item.version)
            yield item, Head(item.number, item.version, state)


def _thrown_away(version: int) -> State:
    return State(version=version, payload=None, schema_id=0, revision="")


def _contradicted(number: int, version: int) -> JournalCorrupt:
    return JournalCorrupt(f"the state of instance {number} at version {version} contradicts its checksum", instance=number)
