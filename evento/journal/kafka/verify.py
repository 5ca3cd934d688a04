"""The journal held against itself, from the topics alone: they are read once more, from the beginning, into a replica that is
thrown away.

Every record against what is written for it, every event against its outcome, every version against the one before, states and what
is pending against both; then the replica that is in use, against what was read. It repairs nothing. What contradicts itself on the
topics ends a partition's check: the rest follows from it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import Struct

from evento.errors import JournalCorrupt
from evento.journal.kafka.holding import Node
from evento.journal.kafka.placing import partition_of
from evento.journal.kafka.replica import Replica, opened_replica
from evento.journal.kafka.restore import Restoring
from evento.journal.sqlite.audit import audit
from evento.journal.sqlite.connection import Connection, connect_reader, load_queries, one, translated
from evento.journal.sqlite.layout import decode_state, key_of
from evento.journal.sqlite.rows import read_page
from evento.model.command import State
from evento.model.keys import EntityKey

PAGE_ROWS = 1_000
ROUNDS = 10  # of reading on, where others append meanwhile
Row = tuple[Any, ...]


class Refolded(Struct, frozen=True):
    """A state on its topic that another function or schema folded than the one in the replica, which is no difference if the
    replica has it meanwhile."""

    key: EntityKey
    state: State
    difference: str

    def contradicts(self, states: Mapping[EntityKey, State]) -> bool:
        """Return whether the replica still has another one, by what it has now."""
        now = states.get(self.key)
        return now is None or (now.version <= self.state.version and now != self.state)


class Verified(Struct, frozen=True):
    """What was found in one partition: differences, as sentences, and what may be some."""

    differences: Sequence[str]
    refolded: Sequence[Refolded] = ()


def verify(number: int, path: Path, node: Node) -> Verified:
    """Return every difference found in one partition. `path` is that of a copy of the replica in use. Blocks.

    Raises JournalError.
    """
    with TemporaryDirectory(prefix="verify-", dir=node.folder) as folder:
        fresh = Path(folder) / f"{number}.db"
        try:
            with opened_replica(fresh, node.tuning, lambda marks: "") as replica:
                _read(replica, number, node)
                unfinished = list(_finished_but_pending(number, replica))
        except JournalCorrupt as error:
            return Verified([error.message])
        found = [f"partition {number}, as read from its topics: {difference}" for difference in audit(fresh)]
        found += [f"partition {number}, the replica: {difference}" for difference in audit(path)]
        with translated(), closing(connect_reader(path)) as used, closing(connect_reader(fresh)) as read:
            found += [*unfinished, *_misplaced(number, node, read), *_turns(number, used, read)]
            states = list(_states(number, used, read))
    found += [each for each in states if isinstance(each, str)]
    return Verified(found, [each for each in states if isinstance(each, Refolded)])


def _read(replica: Replica, number: int, node: Node) -> None:
    """Read all topics. Raises JournalCorrupt.

    Where others append all the time something is always under way. But what was there when this began is read by the end of the
    second round: the first may stop at a state that is newer than the outcomes that it saw, the second sees its outcome.
    """
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
            return
        before = {problem.message for problem in problems}


def _finished_but_pending(number: int, replica: Replica) -> Iterator[str]:
    for entry in replica.pending():
        command = entry.command
        if replica.position_of(command.key, command.id):
            yield f"partition {number}: Command {command.id} of {command.key} is finished, and pending as number {entry.number}"


def _misplaced(number: int, node: Node, fresh: Connection) -> Iterator[str]:
    for _, name, *_ in fresh.execute(load_queries()["audit_states"]):
        key = key_of(name)
        place = node.entities.get(key[:2])
        home = partition_of(key.id, node.cluster.address.partitions if place is None else place.partitions)
        if home != number:
            yield f"partition {number}: {key} is on its topics, and belongs to partition {home}"


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


def _states(number: int, used: Connection, fresh: Connection) -> Iterator[str | Refolded]:
    """Compare the states of instances that are at the same version in both."""
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
        place = f"partition {number}: the state of {mine[1]} at version {mine[2]}"
        difference = f"{place} is another one in the replica than on its topic"
        same_fold = (ours.schema_id, ours.revision) == (other.schema_id, other.revision)
        yield difference if same_fold else Refolded(key_of(mine[1]), other, difference)
