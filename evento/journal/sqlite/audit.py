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
from evento.journal.sqlite.hashing import command_hash
from evento.journal.sqlite.layout import (
    StoredRun,
    chained,
    content_checksum,
    decode_pending,
    decode_run,
    decode_state,
    name_of,
)

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
            except (apsw.CorruptError, apsw.NotADBError, msgspec.DecodeError, UnicodeDecodeError, JournalCorrupt) as error:
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
        modulus = one(self._connection, self._queries["hash_modulus"])
        for row in self._rows("audit_runs", (-1,)):
            position, content, kept = row[0], row[7], row[10]
            if position != last + 1:
                yield f"the log has no rows between positions {last} and {position}"
            if chained(content, chain) != kept:
                yield f"the row at position {position} contradicts its checksum, or does not follow the row before it"
            else:
                yield from _row_differences(row, modulus)
            chain, last = kept, position
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
                key = f"{row[4]}"
                if row[4] is None:
                    yield f"the first row of instance {number}, at position {row[1]}, does not name it"
            elif row[4] is not None:
                yield f"the row at position {row[1]} names {row[4]}, but is not the first of instance {number}"
            if row[2] != version:
                yield f"{key} is at version {version}, but the row at position {row[1]} begins after {row[2]}"
            version = row[2] + row[3]
            last = row if row[3] or not last else last
            if row[6] not in (None, key):
                yield f"instance {number} is {key} in the log and {row[6]} in its table"
        yield from _instance_differences(key, version, last)

    def _states(self) -> Iterator[str]:
        for number, name, version, content, checksum in self._rows("audit_states"):
            if content is None:
                continue
            if checksum != content_checksum(number, content) or decode_state(content).version != version:
                yield f"the state of {name} at version {version} contradicts its checksum (instance {number})"
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


def _row_differences(row: tuple[Any, ...], modulus: int) -> Iterator[str]:
    """The columns against what they repeat."""
    position, instance, name, before, events, hashed, more, content, state, state_checksum, _ = row
    if state is not None and state_checksum != content_checksum(instance, state):
        yield f"the state in the row at position {position} contradicts its checksum"
    try:
        stored = decode_run(content)
        others = [] if more is None else msgspec.json.decode(more, type=list[int])
    except (JournalCorrupt, msgspec.DecodeError) as error:
        yield f"the row at position {position}: {error}"
        return
    columns = (position, instance, before, events, state_checksum)
    if columns != (
        stored.position,
        stored.instance,
        stored.before,
        sum(len(turn.events) for turn in stored.turns),
        stored.state_checksum,
    ):
        yield f"the columns of the row at position {position} contradict its content"
    if [hashed, *others] != [command_hash(modulus, turn.command.key, turn.command.id) for turn in stored.turns]:
        yield f"the hashes in the row at position {position} are not those of its Commands"
    yield from _turn_differences(stored, name)


def _turn_differences(stored: StoredRun, name: str | None) -> Iterator[str]:
    names = {turn.command.key for turn in stored.turns}
    if len(names) != 1 or name not in (None, *map(name_of, names)):
        yield f"the row at position {stored.position} is that of several instances, or of another one than its columns name"
    version = stored.before
    for turn in stored.turns:
        if turn.before != version:
            yield f"the turns in the row at position {stored.position} do not follow each other"
        version = turn.version


def _instance_differences(key: str, version: int, last: tuple[Any, ...]) -> Iterator[str]:
    """`last` is the instance's last row with events (or its first), joined with its own row of the table."""
    if not last:
        return
    logged, kept, in_log, in_table = last[5], last[8], last[9], last[10]
    if last[6] is None:
        yield f"{key} has rows in the log, but none in the table of instances"
    elif last[7] != version:
        yield f"{key} is at version {version} in the log, and at {last[7]} in the table of instances"
    elif logged and logged != kept and not _is_rebuilt(in_log, in_table):
        yield f"the state of {key} is another one in the log than in the table of instances"


def _is_rebuilt(in_log: bytes | None, in_table: bytes | None) -> bool:
    """Return whether the table's state may rightly be another one than the log's: folded by another function or schema."""
    if in_table is None:
        return False
    if in_log is None:  # it was thrown away: nothing to compare with
        return True
    old, new = decode_state(in_log), decode_state(in_table)
    return (old.schema_id, old.revision) != (new.schema_id, new.revision)


def _command_ids(row: tuple[Any, ...]) -> list[str]:
    try:
        return [turn.command.id for turn in decode_run(row[7]).turns]
    except JournalCorrupt:
        return []
