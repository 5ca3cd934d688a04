"""Index rounds: everything that is derived from the log, built later, in bulk, in small commits between the appends.

A round is over when its generation's rows are indexed; a crash between two commits loses nothing, for the next opening goes on
at the mark. The statements run wholly inside SQLite, without the interpreter's lock.
"""

import apsw

from evento.journal.sqlite.connection import one
from evento.journal.sqlite.tail import Tail

CHUNK_POSITIONS = 4_096  # one commit; an append that waits behind it waits some 10 ms
_STEPS = ("index_commands", "index_runs", "index_instances")


def index_chunk(connection: apsw.Connection, queries: dict[str, str], until: int) -> int:
    """Index the next few thousand positions, not beyond `until`, by one commit. Returns up to where the log is indexed now."""
    after: int = one(connection, queries["indexed_position"])
    last = min(until, after + CHUNK_POSITIONS)
    if last <= after:
        return after
    connection.execute("BEGIN IMMEDIATE")
    index_rows(connection, queries, after, last)
    connection.execute("COMMIT")
    return last


def index_rows(connection: apsw.Connection, queries: dict[str, str], after: int, last: int) -> None:
    """Index the rows above a position up to another, in an open commit; those before must be indexed."""
    for step in _STEPS:
        connection.execute(queries[step], (after, last))
    connection.execute(queries["set_indexed_position"], (last,))


class Rounds:
    """The rounds of a writer: freeze a generation, index it chunk by chunk, drop it."""

    def __init__(self, connection: apsw.Connection, queries: dict[str, str], tail: Tail) -> None:
        self._connection = connection
        self._queries = queries
        self._tail = tail

    def is_due(self) -> bool:
        """Return whether there is a round to begin or to go on with."""
        return self._tail.frozen is not None or self._tail.current.is_due()

    def is_behind(self) -> bool:
        """Return whether the next round is due before this one is over."""
        return self._tail.frozen is not None and self._tail.current.is_due()

    def is_idle(self) -> bool:
        """Return whether everything is indexed, and what is known of instances in memory is only a cache of what is on disk."""
        return self._tail.frozen is None and self._tail.current.is_empty()

    def step(self) -> None:
        """Make one commit of the round under way, beginning one if there is none."""
        frozen = self._tail.freeze()
        if index_chunk(self._connection, self._queries, frozen.last) >= frozen.last:
            self._tail.drop()

    def keep_up(self) -> None:
        """Make a step if one is due, and more until memory is bounded again: appends wait meanwhile."""
        if self.is_due():
            self.step()
            while self.is_behind():
                self.step()

    def finish(self) -> None:
        """Index everything."""
        while not self.is_idle():
            self.step()
