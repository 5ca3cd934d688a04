"""The file as the writer's thread knows it: commits, index rounds, and what is kept in memory beside them.

Everything here runs on one thread. It knows neither the event loop nor who waits for an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import apsw
import msgspec

from evento.errors import JournalCorrupt
from evento.journal.sqlite.connection import JOURNAL, ChunkedInsert, SqlValue, Tuning, connect_writer, load_queries, one
from evento.journal.sqlite.filters import FILTER_CAPACITY, CommandFilter
from evento.journal.sqlite.group import Ends, Group
from evento.journal.sqlite.hashing import command_hash, make_modulus
from evento.journal.sqlite.indexing import Rounds, index_chunk
from evento.journal.sqlite.layout import content_checksum, decode_run
from evento.journal.sqlite.rows import find_heads
from evento.journal.sqlite.tail import Head, Tail
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Transition

FILL_HASHES = 50_000  # read at a time to fill the filter


class Store:
    """The open file with its one connection that writes."""

    by_turn = False  # a row of the log is a run, or a turn

    def __init__(self, path: Path, tuning: Tuning = JOURNAL) -> None:
        """Open the file and bring its indexes up to date. Raises JournalError, apsw.Error."""
        self._connection = connect_writer(path, tuning)
        self._queries = load_queries()
        self._insert_runs = ChunkedInsert(self._queries["insert_run"])
        self._put_instances = ChunkedInsert(self._queries["put_instance"])
        self._put_pending = ChunkedInsert(self._queries["put_pending"])
        try:
            self.modulus = self._known_modulus()
            self._ends = self._recover()
            self.tail = Tail(self._ends.position, tuning.shares)
            self.filter = self._filled_filter(FILTER_CAPACITY // tuning.shares)
        except BaseException:
            self._connection.close()
            raise
        self.rounds = Rounds(self._connection, self._queries, self.tail)

    def await_turn(self) -> None:
        """Return: nobody else writes this file."""

    def commit(self, transitions: Sequence[Transition]) -> list[Appended | Conflict | Exception]:
        """Make transitions durable by one commit, and say of each what became of it: an error if it cannot be encoded.

        Raises apsw.Error: then use it no more.
        """
        group, results = self.plan(transitions)
        if group.has_only_rows() and len(group.rows) <= self._insert_runs.values_max:
            self._insert_runs(self._connection, group.rows)  # a commit by itself: the lock changes hands once
            self._publish(group)
        elif not group.is_empty():
            with self.write(group):
                pass
        return results

    def plan(self, transitions: Sequence[Transition]) -> tuple[Group, list[Appended | Conflict | Exception]]:
        """Check transitions against what is there, and return what is to be written, and what is to be said of each once it is."""
        group = Group(self._ends, self._heads(transitions), self.modulus, by_turn=self.by_turn)
        return group, [_added(group, transition) for transition in transitions]

    @contextmanager
    def write(self, group: Group) -> Iterator[apsw.Connection]:
        """Make a group durable by one commit, with what the context does to the connection. Raises apsw.Error, as `commit`."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._insert_runs(self._connection, group.rows)
        self._put_instances(self._connection, group.direct_rows())
        self._write_pending(group.pending())
        yield self._connection
        self._connection.execute("COMMIT")
        self._publish(group)

    def append_catalog(self, version: int, content: bytes) -> bool:
        """Make one catalog version durable, if it is the next one."""
        if version != one(self._connection, self._queries["last_catalog"]) + 1:
            return False
        self._connection.execute(self._queries["insert_catalog"], (version, content, content_checksum(version, content)))
        return True

    def close(self) -> None:
        """Close the file; an open commit is rolled back."""
        self._connection.close()

    def _recover(self) -> Ends:
        last = self._connection.execute(self._queries["last_run"]).fetchone()
        position, chain = (int(last[0]), int(last[1])) if last else (0, 0)
        indexed = one(self._connection, self._queries["indexed_position"])
        if indexed > position:
            raise JournalCorrupt(f"the log ends at position {position}, but was indexed up to {indexed}: its end is lost")
        while index_chunk(self._connection, self._queries, position) < position:
            pass
        return Ends(position=position, chain=chain, instance=one(self._connection, self._queries["last_instance"]))

    def _known_modulus(self) -> int:
        """Return the modulus of this file's hashes, made if there is none. With a wrong one no Command would be known again."""
        row = self._connection.execute(self._queries["hash_modulus"]).fetchone()
        last = self._connection.execute(self._queries["last_hash"]).fetchone()
        if last is None:
            modulus = row[0] if row else make_modulus(lambda: int(one(self._connection, self._queries["draw"])))
            self._connection.execute(self._queries["put_hash_modulus"], (modulus,))
            return int(modulus)
        command = decode_run(last[1]).turns[0].command
        if row is None or row[0] <= 0 or command_hash(row[0], command.key, command.id) != last[0]:
            raise JournalCorrupt(
                "the hash of the last Command is not that of its id: the file's modulus, or its last row, is damaged"
            )
        return int(row[0])

    def _filled_filter(self, first: int) -> CommandFilter:
        known = CommandFilter(first)
        hashes: list[int] = []
        for (number,) in self._connection.execute(self._queries["all_hashes"]):
            hashes.append(number)
            if len(hashes) == FILL_HASHES:
                known.add(hashes)
                hashes.clear()
        known.add(hashes)
        return known

    def _publish(self, group: Group) -> None:
        self._ends = group.ends
        self.filter.add(group.publish(self.tail.current))
        self.tail.publish(self._ends.position)

    def _heads(self, transitions: Sequence[Transition]) -> dict[EntityKey, Head]:
        """Return where the instances stand that transitions name; those not in memory are read from disk, all at once."""
        heads, missing = self.tail.find_all(chain.from_iterable(map(_keys, transitions)))
        if missing:
            heads.update(find_heads(self._connection, self._queries, list(dict.fromkeys(missing))))
        return heads

    def _write_pending(self, pending: Mapping[int, bytes | None]) -> None:
        entries: list[SqlValue] = []
        gone: list[int] = []
        for number, content in pending.items():
            if content is None:
                gone.append(number)
            else:
                entries += (number, content, content_checksum(number, content))
        self._put_pending(self._connection, entries)
        if gone:
            self._connection.execute(self._queries["delete_pending"], (msgspec.json.encode(gone).decode(),))


def _added(group: Group, transition: Transition) -> Appended | Conflict | Exception:
    try:
        return group.add(transition)
    except (ValueError, TypeError, OverflowError) as error:  # it alone is refused; whoever waits behind it did nothing wrong
        return error


def _keys(transition: Transition) -> list[EntityKey]:
    return [run.key for run in transition.runs] + [key for key, _ in transition.states]
