"""The check of the file against itself: SQLite's own, every checksum, the chain, the versions, and what is derived from the log.

It streams on a connection of its own, in one snapshot, so that it sees one moment; it repairs nothing. What a state should be
is not known here: only whether it is what was written. States are a cache: one that was thrown away is no difference.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec

from evento.errors import JournalCorrupt
from evento.journal.sqlite.connection import SqlValue, connect_reader, load_queries, one, translated
from evento.journal.sqlite.layout import (
    chained,
    command_hash,
    content_checksum,
    decode_pending,
    decode_turns,
    row_checksum,
    state_checksum,
)
from evento.model.keys import EntityKey

DIFFERENCES_MAX = 1_000  # a file with more is described well enough


def audit(path: Path) -> list[str]:
    """Return every difference found in the file, as sentences, up to a thousand. Raises JournalError."""
    with translated():
        connection = connect_reader(path)
        try:
            connection.execute("BEGIN")
            found: list[str] = []
            for difference in _Audit(connection).differences():
                found.append(difference)
                if len(found) == DIFFERENCES_MAX:
                    found.append(f"there are more; these are the first {DIFFERENCES_MAX}")
                    break
            return found
        finally:
            connection.close()


class _Audit:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._queries = load_queries()

    def differences(self) -> Iterator[str]:
        checks: tuple[Callable[[], Iterator[str]], ...] = (
            self._structure,
            self._log,
            self._instances,
            self._states,
            self._indexes,
            self._repeated,
            self._contents,
        )
        for check in checks:
            try:
                yield from check()
            except (apsw.CorruptError, apsw.NotADBError, msgspec.DecodeError, UnicodeDecodeError) as error:
                yield f"the file cannot be read on: {error}"

    def _rows(self, name: str, values: tuple[SqlValue, ...] = ()) -> Iterator[tuple[Any, ...]]:
        return iter(self._connection.execute(self._queries[name], values))

    def _structure(self) -> Iterator[str]:
        for (line,) in self._connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield f"SQLite's integrity check: {line}"

    def _log(self) -> Iterator[str]:
        """Every row against its checksum, and against the row before it."""
        chain = last = 0
        for row in self._rows("audit_runs", (-1,)):
            position, checksum = row[0], row[12]
            if position != last + 1:
                yield f"the log has no rows between positions {last} and {position}"
            chain = chained(chain, checksum)
            if chain != row[13]:
                yield f"the row at position {position} does not follow the row before it"
            chain, last = row[13], position
            yield from _row_differences(row)
        indexed = one(self._connection, self._queries["indexed_position"])
        if indexed != last:
            yield f"the log ends at position {last}, but is indexed up to {indexed}"

    def _instances(self) -> Iterator[str]:
        """Versions without gaps, and each instance's row against its runs."""
        number, version, key, last = 0, 0, "", ()
        for row in self._rows("audit_instances"):
            if row[0] != number:
                yield from _instance_differences(key, version, last)
                number, version, last = row[0], 0, ()
                key = f"{row[4]}/{row[5]}"
                if row[5] is None:
                    yield f"the first row of instance {number}, at position {row[1]}, does not name it"
            elif row[5] is not None:
                yield f"the row at position {row[1]} names {row[4]}/{row[5]}, but is not the first of instance {number}"
            if row[2] != version:
                yield f"{key} is at version {version}, but the row at position {row[1]} begins after {row[2]}"
            version = row[2] + row[3]
            last = row if row[3] or not last else last
            if (row[9], row[10]) != (None, None) and f"{row[9]}/{row[10]}" != key:
                yield f"instance {number} is {key} in the log and {row[9]}/{row[10]} in its table"
        yield from _instance_differences(key, version, last)

    def _states(self) -> Iterator[str]:
        for number, entity, name, version, payload, schema_id, revision, checksum in self._rows("audit_states"):
            if payload is not None and checksum != state_checksum(version, payload, schema_id, revision):
                yield f"the state of {entity}/{name} at version {version} contradicts its checksum (instance {number})"
        for (number,) in self._rows("audit_strays"):
            yield f"instance {number} has no row in the log"

    def _indexes(self) -> Iterator[str]:
        for name, text in (
            ("audit_missing_commands", "the Commands at position {} are not indexed"),
            ("audit_stray_commands", "the index names a Command at position {} that is not there"),
            ("audit_missing_runs", "the row at position {} is not indexed by its instance"),
            ("audit_stray_runs", "the index by instance names position {}, which is another's"),
        ):
            for (position,) in self._rows(name):
                yield text.format(position)

    def _repeated(self) -> Iterator[str]:
        """Command ids that one instance has twice; a hash that two different Commands share is no difference."""
        for _, positions in self._rows("audit_repeated"):
            seen: dict[tuple[int, str], int] = {}
            for position in msgspec.json.decode(positions, type=list[int]):
                for row in self._rows("audit_runs", (position - 1,)):
                    if row[0] != position:
                        break
                    for command_id in _command_ids(row):
                        first = seen.setdefault((row[1], command_id), position)
                        if first != position:
                            yield f"Command {command_id} of instance {row[1]} was finished at positions {first} and {position}"
                    break

    def _contents(self) -> Iterator[str]:
        for number, content, checksum in self._rows("read_pending"):
            if checksum != content_checksum(number, content):
                yield f"pending entry {number} contradicts its checksum"
                continue
            try:
                decode_pending(number, content)
            except JournalCorrupt as error:
                yield error.message
        expected = 0
        for version, content, checksum in self._rows("read_catalogs", (0,)):
            expected += 1
            if version != expected:
                yield f"catalog version {expected} is missing"
                expected = version
            if checksum != content_checksum(version, content):
                yield f"catalog version {version} contradicts its checksum"


def _row_differences(row: tuple[Any, ...]) -> Iterator[str]:
    position, instance, entity, name, before, events, hashes, turns, state, schema_id, revision, of_state, checksum, _ = row
    words = f"{entity}/{name}" if name else ""
    if checksum != row_checksum((position, instance, before, events, of_state), words, turns):
        yield f"the row at position {position} contradicts its checksum"
        return
    if state is not None and of_state != state_checksum(before + events, state, schema_id, revision):
        yield f"the state in the row at position {position} contradicts its checksum"
    try:
        decoded = decode_turns(EntityKey("", "", ""), before, turns)
    except JournalCorrupt as error:
        yield f"the row at position {position}: {error.message}"
        return
    if sum(len(turn.events) for turn in decoded) != events:
        yield f"the row at position {position} does not hold {events} events"
    try:
        kept = msgspec.json.decode(hashes, type=list[int])
    except msgspec.DecodeError:
        yield f"the hashes in the row at position {position} are unreadable"
        return
    if len(kept) != len(decoded) or len(set(kept)) != len(kept):
        yield f"the row at position {position} does not hold one Command for each of its hashes"
    if name:
        namespace, _, kind = entity.partition("/")
        key = EntityKey(namespace, kind, name)
        if kept != [command_hash(key, turn.command.id) for turn in decoded]:
            yield f"the hashes in the row at position {position} are not those of its Commands"


def _instance_differences(key: str, version: int, last: tuple[Any, ...]) -> Iterator[str]:
    """`last` is the instance's last row with events (or its first), joined with its own row of the table."""
    if not last:
        return
    if last[11] is None:
        yield f"{key} has rows in the log, but none in the table of instances"
    elif last[11] != version:
        yield f"{key} is at version {version} in the log, and at {last[11]} in the table of instances"
    elif last[6] and (last[7], last[8]) == (last[13], last[14]) and last[6] != last[12]:
        yield f"the state of {key} is another one in the log than in the table of instances"


def _command_ids(row: tuple[Any, ...]) -> list[str]:
    try:
        return [turn.command.id for turn in decode_turns(EntityKey("", "", ""), row[4], row[7])]
    except JournalCorrupt:
        return []
