"""A partition's replica: the SQLite journal's store with one row per turn, and how far it has come, in one file. A cache.

It may be older than the topics, never newer, and never a mixture: what it holds and how far each topic is read are one commit.
If it does not belong to the topics that are there, or is damaged, it is thrown away and read again. Knows no Kafka client.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from evento.errors import JournalError
from evento.journal.kafka.patience import Patience, age_s
from evento.journal.kafka.records import Done
from evento.journal.sqlite.connection import ChunkedInsert, SqlValue, Tuning, is_of_the_system, one, translated
from evento.journal.sqlite.group import Group
from evento.journal.sqlite.hashing import command_hash
from evento.journal.sqlite.layout import content_checksum, encode, name_of
from evento.journal.sqlite.rows import KEYS_PER_QUERY, find_commands, json_of, read_pending, read_rows
from evento.journal.sqlite.store import Store
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Run, Transition

_log = logging.getLogger(__name__)
_decode_places = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
_FILES = ("", "-wal", "-shm")


class Mark(Struct, frozen=True, gc=False):
    """How far a topic is read, and which topic of that name it was."""

    identity: str
    next_offset: int


Place = tuple[int, int]  # an instance's number and version
Marks = Mapping[str, Mark]
Unfit = Callable[[Marks], str]  # why a replica with these marks does not belong to the topics; "" if it does


class Replica(Store):
    """The open file. For one thread, but for what a Store lets others see."""

    def __init__(self, path: Path, tuning: Tuning) -> None:
        """Open the file, making it if need be. Raises JournalError, apsw.Error."""
        self._age_s = age_s(path)
        self._pending_read = Patience(0.0)
        super().__init__(path, tuning)
        self._put_reached = ChunkedInsert(self._queries["put_reached"])
        self._put_inputs = ChunkedInsert(self._queries["put_inputs"])
        try:
            found = self._connection.execute(self._queries["read_reached"])
            self.marks: dict[str, Mark] = {topic: Mark(identity, offset) for topic, identity, offset in found}
            done = self._connection.execute(self._queries["read_inputs"])
            self.inputs: dict[str, Done] = {source: Done(offset, identity, bool(anew)) for source, offset, identity, anew in done}
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Return the position of the last turn."""
        return self._ends.position

    @property
    def pending_age_s(self) -> float:
        """Return for how long what is pending may not have been read."""
        return self._age_s + self._pending_read.over_s

    def touch_pending(self) -> None:
        """Say that what is pending is as the topic has it."""
        self._age_s, self._pending_read = 0.0, Patience(0.0)

    def next_offset(self, topic: str) -> int:
        """Return from where to read on."""
        mark = self.marks.get(topic)
        return 0 if mark is None else mark.next_offset

    def advance(self, group: Group, marks: Marks, inputs: Mapping[str, Done] | None = None) -> None:
        """Write a group and move the marks, by one commit. Raises apsw.Error; then use it no more."""
        with self.write(group) as connection:
            self._move(marks)
            rows = [(source, done.next_offset, done.identity, int(done.anew)) for source, done in (inputs or {}).items()]
            self._put_inputs(connection, [value for row in rows for value in row])
        self.inputs.update(inputs or {})

    def places(self, keys: Sequence[EntityKey]) -> dict[EntityKey, Place]:
        """Return where instances stand; everything must be indexed."""
        found: dict[EntityKey, Place] = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            text = one(self._connection, self._queries["find_places"], (json_of([name_of(key) for key in part]),))
            found.update((part[at], (number, version)) for at, number, version in _decode_places(text))
        return found

    def put_states(self, states: Mapping[EntityKey, State], places: Mapping[EntityKey, Place], marks: Marks) -> None:
        """Put in the states that are the latest of their instances, and move the marks. Everything must be indexed."""
        rows: list[SqlValue] = []
        for key, state in states.items():
            number, version = places.get(key, (0, 0))
            if version == state.version:
                content = encode(state)
                rows += (number, name_of(key), version, content, content_checksum(number, content))
        self._connection.execute("BEGIN IMMEDIATE")
        self._put_instances(self._connection, rows)
        self._move(marks)
        self._connection.execute("COMMIT")
        self.tail.forget()

    def pending(self) -> list[Pending]:
        """Return everything pending, in order. Raises JournalCorrupt."""
        return read_pending(self._connection, self._queries)

    def is_finished(self, key: EntityKey, command_id: str) -> bool:
        """Return whether a Command has a turn; everything must be indexed."""
        hashed = command_hash(self.modulus, key, command_id)
        if not self.filter.might_contain(hashed):
            return False
        positions = find_commands(self._connection, self._queries, [hashed], self.position)
        rows = read_rows(self._connection, self._queries, positions)
        return any(turn.command.key == key and turn.command.id == command_id for row in rows for turn in row.turns)

    def _move(self, marks: Marks) -> None:
        moved = {topic: mark for topic, mark in marks.items() if self.marks.get(topic) != mark}
        self._put_reached(
            self._connection, [value for topic, mark in moved.items() for value in (topic, mark.identity, mark.next_offset)]
        )
        self.marks.update(moved)

    def forget_pending(self, topic: str) -> None:
        """Forget everything pending, to read it from the topic's beginning. Raises apsw.Error; then use it no more."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(self._queries["forget_pending"])
        mark = self.marks.get(topic)
        if mark is not None:
            self._move({topic: Mark(mark.identity, 0)})
        self._connection.execute("COMMIT")


def by_turn(transition: Transition) -> Transition:
    """Return the transition with a run for each turn: so a turn's position is the number of turns that were before it,
    everywhere.
    """
    if all(len(run.turns) <= 1 for run in transition.runs):
        return transition
    runs: list[Run] = []
    for run in transition.runs:
        before = run.before
        for turn in run.turns:  # the state belongs to the last one that has events
            state = run.state if turn.events and turn.version == run.version else None
            runs.append(Run(run.key, before, (turn,), state))
            before = turn.version
    return replace(transition, runs=tuple(runs))


@contextmanager
def opened_replica(path: Path, tuning: Tuning, unfit: Unfit) -> Iterator[Replica]:
    """Open a replica, an empty one if there is none that can be used. Raises JournalError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_usable(path, tuning, unfit)) as replica:
        yield replica


def mark_damaged(path: Path) -> None:
    """Let the next one who opens a replica throw it away."""
    _damage(path).touch()


def put_away(path: Path, *, keep: bool) -> None:
    """Throw a replica away, or set it aside: where its topics are gone it may be the last that is left of them."""
    for suffix in _FILES:
        file = path.with_name(path.name + suffix)
        if keep and file.exists():
            file.replace(file.with_name(f"{path.name}.aside{suffix}"))
        file.unlink(missing_ok=True)


def _usable(path: Path, tuning: Tuning, unfit: Unfit) -> Replica:
    if _damage(path).exists():
        _log.warning("the replica %s was damaged when it was used last, and its topics are read again", path)
        put_away(path, keep=False)
        _damage(path).unlink()
    reason, sound = "", False
    try:
        with translated():
            replica = Replica(path, tuning)
    except JournalError as error:
        if is_of_the_system(error):
            raise  # another file would fare no better
        reason = error.message
    else:
        try:
            reason = unfit(replica.marks)
        except BaseException:
            replica.close()
            raise
        if not reason:
            return replica
        sound = True
        replica.close()
    _log.warning("the replica %s is not used, and its topics are read again: %s", path, reason)
    put_away(path, keep=sound)
    with translated():
        return Replica(path, tuning)


def _damage(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")
