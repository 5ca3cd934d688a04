"""What the queries answer, decoded and held against its checksums. For the reader's thread and the writer's; keeps nothing."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import apsw
import msgspec
from msgspec import Struct

from evento.errors import JournalCorrupt
from evento.journal.sqlite.connection import SqlValue, one
from evento.journal.sqlite.layout import decode_turns, row_checksum, state_checksum
from evento.journal.sqlite.tail import Head
from evento.model.command import State, Turn
from evento.model.keys import EntityKey

ROWS_PER_QUERY = 256  # big turns aside, an answer is at most some 8 MiB of hex
KEYS_PER_QUERY = 1_000


class Row(Struct, frozen=True):
    """One row of the log."""

    position: int
    key: EntityKey
    turns: list[Turn]


class _RowAnswer(Struct, array_like=True, frozen=True):
    position: int
    instance: int
    own_entity: str
    own_id: str
    before: int
    events: int
    turns: str | None
    state_checksum: int
    checksum: int
    entity: str | None
    id: str | None


class _HeadAnswer(Struct, array_like=True, frozen=True):
    place: int | str
    number: int
    version: int
    size: int | None
    state: str | None
    schema_id: int
    revision: str
    state_checksum: int


_decode_rows = msgspec.json.Decoder(list[_RowAnswer]).decode
_decode_heads = msgspec.json.Decoder(list[_HeadAnswer]).decode
_decode_numbers = msgspec.json.Decoder(list[int]).decode
Queries = dict[str, str]
NameOf = Callable[[int], EntityKey | None]


def json_of(value: object) -> str:
    """Return a value as JSON text, as the queries take many values at once."""
    return msgspec.json.encode(value).decode()


def numbers(connection: apsw.Connection, sql: str, values: Sequence[SqlValue]) -> list[int]:
    """Return the numbers that a query answers as a JSON array."""
    return _decode_numbers(cast("str", one(connection, sql, values)))


def find_heads(connection: apsw.Connection, queries: Queries, keys: Sequence[EntityKey]) -> dict[EntityKey, Head]:
    """Return where instances stand according to their table; a big state is left out (None), as in the tail."""
    heads: dict[EntityKey, Head] = {}
    for start in range(0, len(keys), KEYS_PER_QUERY):
        part = keys[start : start + KEYS_PER_QUERY]
        wanted = json_of([(f"{key.namespace}/{key.entity}", key.id) for key in part])
        for item in _decode_heads(cast("str", one(connection, queries["find_instances"], (wanted,)))):
            key = part[int(item.place)]
            heads[key] = _head(key, item)
    return heads


def list_heads(connection: apsw.Connection, queries: Queries, key: EntityKey, limit: int) -> dict[EntityKey, Head]:
    """Return the first instances of an Entity with ids above `key.id`, in order."""
    values = (f"{key.namespace}/{key.entity}", key.id, limit)
    items = _decode_heads(cast("str", one(connection, queries["list_instances"], values)))
    found = [(EntityKey(key.namespace, key.entity, str(item.place)), item) for item in items]
    return {name: _head(name, item) for name, item in sorted(found, key=lambda pair: pair[0].id)}


def load_state(connection: apsw.Connection, queries: Queries, key: EntityKey, number: int) -> State:
    """Return one instance's state from its table, however big. Raises JournalCorrupt."""
    row = connection.execute(queries["instance_state"], (number,)).fetchone()
    if row is None:
        raise JournalCorrupt(f"{key} has no state in the journal")
    version, payload, schema_id, revision, checksum = row
    return checked_state(key, State(version=version, payload=payload, schema_id=schema_id, revision=revision), checksum)


def checked_state(key: EntityKey, state: State, checksum: int) -> State:
    """Return the state, or raise JournalCorrupt if it is not as it was written. One that was thrown away tells its version only."""
    if state.payload is None:
        return State(version=state.version, payload=None, schema_id=0, revision="")
    if checksum != state_checksum(state.version, state.payload, state.schema_id, state.revision):
        raise JournalCorrupt(f"the state of {key} at version {state.version} contradicts its checksum")
    return state


def read_rows(connection: apsw.Connection, queries: Queries, positions: Sequence[int], name_of: NameOf) -> Iterator[Row]:
    """Yield the rows at positions, in order; `name_of` knows instances that may not be indexed. Raises JournalCorrupt."""
    for start in range(0, len(positions), ROWS_PER_QUERY):
        part = json_of(positions[start : start + ROWS_PER_QUERY])
        items = _decode_rows(cast("str", one(connection, queries["read_rows"], (part,))))
        for item in sorted(items, key=lambda answer: answer.position):
            yield _row(connection, queries, item, name_of)


def _row(connection: apsw.Connection, queries: Queries, item: _RowAnswer, name_of: NameOf) -> Row:
    if item.turns is None:
        turns = cast("bytes", one(connection, queries["row_turns"], (item.position,)))
    else:
        turns = bytes.fromhex(item.turns)
    words = f"{item.own_entity}/{item.own_id}" if item.own_id else ""
    checked = (item.position, item.instance, item.before, item.events, item.state_checksum)
    if item.checksum != row_checksum(checked, words, turns):
        raise JournalCorrupt(f"the row at position {item.position} contradicts its checksum", position=item.position)
    key = name_of(item.instance) or _key(item)
    return Row(item.position, key, decode_turns(key, item.before, turns))


def _key(item: _RowAnswer) -> EntityKey:
    if item.entity is None or item.id is None:
        raise JournalCorrupt(f"the instance {item.instance} at position {item.position} has no name", position=item.position)
    namespace, _, entity = item.entity.partition("/")
    return EntityKey(namespace, entity, item.id)


def _head(key: EntityKey, item: _HeadAnswer) -> Head:
    if item.version == 0 or (item.size is not None and item.state is None):
        return Head(number=item.number, version=item.version, state=None)
    payload = None if item.state is None else bytes.fromhex(item.state)
    state = State(version=item.version, payload=payload, schema_id=item.schema_id, revision=item.revision)
    return Head(number=item.number, version=item.version, state=checked_state(key, state, item.state_checksum))
