"""The journal held against itself, from the topics alone: they are read once more, from the beginning, into a replica that is
thrown away.

Every event against its outcome, every version against the one before, states and what is pending against both; then the replica
that is in use, against what was read. It repairs nothing. What contradicts itself on the topics ends a partition's check: the
rest follows from it.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evento.errors import JournalCorrupt
from evento.journal.kafka.holding import Node
from evento.journal.kafka.replica import Replica, opened_replica
from evento.journal.kafka.restore import Restoring
from evento.journal.sqlite.audit import audit
from evento.journal.sqlite.connection import Connection, connect_reader, load_queries, one, translated
from evento.journal.sqlite.layout import decode_state
from evento.journal.sqlite.rows import read_page

PAGE_ROWS = 1_000
ROUNDS = 10  # of reading on, where others append meanwhile
Row = tuple[Any, ...]


def verify(number: int, path: Path, node: Node) -> list[str]:
    """Return every difference found in one partition, as sentences. `path` is that of a copy of the replica in use. Blocks.

    Raises JournalError.
    """
    with TemporaryDirectory(prefix="verify-", dir=node.folder) as folder:
        fresh = Path(folder) / f"{number}.db"
        try:
            with opened_replica(fresh, node.tuning, lambda marks: "") as replica:
                complete = _read(replica, number, node)
                unfinished = list(_finished_but_pending(number, replica))
        except JournalCorrupt as error:
            return [error.message]
        found = [f"partition {number}, as read from its topics: {difference}" for difference in audit(fresh)]
        found += [f"partition {number}, the replica: {difference}" for difference in audit(path)]
        return [*found, *unfinished, *_differences(number, (path, fresh), complete=complete)]


def _read(replica: Replica, number: int, node: Node) -> bool:
    """Read all topics; return whether that is complete: not if others appended all the time. Raises JournalCorrupt."""
    before: set[str] = set()
    for _ in range(ROUNDS):
        with closing(node.make_feed(number)) as feed:
            restoring = Restoring(replica, feed, node.survey, node.topics(number), lambda: None, whole=True)
            early = restoring.follow(node.entities_of(number))
            restoring.read_pending()
            problems = [*restoring.find_surplus(node.entities_of(number)), *early]
        for problem in problems:
            if problem.message in before:  # what belongs to a commit under way is whole when it is read the next time
                raise problem
        if not problems:
            return True
        before = {problem.message for problem in problems}
    return False


def _finished_but_pending(number: int, replica: Replica) -> Iterator[str]:
    for entry in replica.pending():
        command = entry.command
        if replica.position_of(command.key, command.id):
            yield f"partition {number}: Command {command.id} of {command.key} is finished, and pending as number {entry.number}"


def _differences(number: int, paths: tuple[Path, Path], *, complete: bool) -> Iterator[str]:
    """Compare the replica in use with the one that was read, as far as both go."""
    with translated(), closing(connect_reader(paths[0])) as used, closing(connect_reader(paths[1])) as fresh:
        yield from _turns(number, used, fresh)
        if complete:
            yield from _states(number, used, fresh)


def _turns(number: int, used: Connection, fresh: Connection) -> Iterator[str]:
    queries, after = load_queries(), 0
    until = one(used, queries["last_position"])
    if until > (there := one(fresh, queries["last_position"])):
        yield f"partition {number}: the replica has {until} turns, its topics have {there}"
        until = there
    while after < until:
        ours, theirs = (read_page(each, queries, after, until, PAGE_ROWS) for each in (used, fresh))
        for mine, read in zip(ours, theirs, strict=True):
            if (mine.instance, mine.before, mine.turns) != (read.instance, read.before, read.turns):
                yield f"partition {number}: turn {mine.position} is another one in the replica than on the topics"
        after += len(ours)


def _states(number: int, used: Connection, fresh: Connection) -> Iterator[str]:
    sql = load_queries()["audit_states"] + " ORDER BY number"
    read: dict[int, Row] = {}
    theirs = iter(fresh.execute(sql))
    for mine in used.execute(sql):
        while mine[0] not in read and (row := next(theirs, None)) is not None:
            read = {row[0]: row}
        row = read.get(mine[0])
        if row is None or row[2] != mine[2] or row[3] == mine[3]:
            continue
        if mine[3] is None or row[3] is None:
            where = "the replica" if mine[3] is None else "its topic"
            yield f"partition {number}: the state of {mine[1]} at version {mine[2]} is missing in {where}"
            continue
        ours, other = decode_state(mine[3]), decode_state(row[3])
        if (ours.schema_id, ours.revision) == (other.schema_id, other.revision):
            yield f"partition {number}: the state of {mine[1]} at version {mine[2]} is another one in the replica than on its topic"
