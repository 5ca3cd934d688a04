"""A partition's replica: the SQLite journal's store with one row per turn, and how far it has come, in one file. A cache.

It may be older than the topics, never newer, and never a mixture: what it holds and how far each topic is read are one commit.
If it does not belong to the topics that are there, or is damaged, it is thrown away and read again; unless it knows of what was on
topics that have nothing any more. Knows no Kafka client.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from evento.errors import JournalError
from evento.journal.kafka.patience import Patience, age_s
from evento.journal.kafka.records import Done
from evento.journal.outcomes import Outline
from evento.journal.sqlite.connection import ChunkedInsert, Tuning, is_of_the_system, one, translated
from evento.journal.sqlite.group import Group
from evento.journal.sqlite.hashing import command_hash
from evento.journal.sqlite.loading import Loading, Skipped, ToldState
from evento.journal.sqlite.rows import PAGE_ROWS, find_commands, read_page, read_pending, read_rows
from evento.journal.sqlite.store import Store
from evento.model.command import Pending, Turn
from evento.model.keys import EntityKey

_log = logging.getLogger(__name__)
_decode_names = msgspec.json.Decoder(list[str]).decode
_FILES = ("", "-wal", "-shm")


class Mark(Struct, frozen=True, gc=False):
    """How far a topic is read, and which topic of that name it was."""

    identity: str
    next_offset: int


Marks = Mapping[str, Mark]
Fetch = Callable[[Path], bool]  # write a replica to where none is, and return whether there is one to be had
Unfit = Callable[["Replica"], str]  # why a replica does not belong to the topics; "" if it does


class Replica(Store):
    """The open file. For one thread, but for what a Store lets others see.

    A turn's position is the number of turns up to it, everywhere.
    """

    by_turn = True

    def __init__(self, path: Path, tuning: Tuning) -> None:
        """Open the file, making it if need be. Raises JournalError, apsw.Error."""
        self._age_s = age_s(path)
        self._pending_read = Patience(0.0)
        self._shares = tuning.shares
        self._loading: Loading | None = None
        self.is_mended = False  # read anew because the one before was damaged: then its copy may be, too
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
        self.rest()
        with self.write(group) as connection:
            self._move(marks)
            rows = [(source, done.next_offset, done.identity, int(done.anew)) for source, done in (inputs or {}).items()]
            self._put_inputs(connection, [value for row in rows for value in row])
        self.inputs.update(inputs or {})

    # ---------------------------------------------------------------- what the topics tell
    def load(self, outlines: Sequence[Outline], outcomes: Sequence[bytes], marks: Marks) -> Skipped | None:
        """Write turns as their outcomes came, and move the marks, by one commit; nothing if one does not follow, which is returned.

        Their events are not proven by that. Raises apsw.Error; then use it no more.
        """
        loading = self._begun()
        self._connection.execute("BEGIN IMMEDIATE")
        loaded = loading.load(self._ends, outlines, outcomes)
        if isinstance(loaded, Skipped):
            self._connection.execute("ROLLBACK")
            return loaded
        self._connection.execute(self._queries["put_proven_position"], (self._ends.position,))
        self._move(marks)
        self._connection.execute("COMMIT")
        self._ends, hashes = loaded
        self.filter.add(hashes)
        self.tail.skip(self._ends.position)
        return None

    def put_states(self, states: Sequence[ToldState], marks: Marks, *, newest: bool = False) -> int | None:
        """Put in the states that are the latest of their instances, and move the marks, by one commit.

        `newest`: what comes last counts; an instance has no state any more if that is one of an older version.

        Returns the place of the first that is newer than all turns of its instance, if there is one: then nothing is written.
        Raises apsw.Error, as `load`.
        """
        loading = self._begun()
        self._connection.execute("BEGIN IMMEDIATE")
        early = loading.put(states, newest=newest)
        if early is not None:
            self._connection.execute("ROLLBACK")
            return early
        self._move(marks)
        self._connection.execute("COMMIT")
        self.tail.forget()
        return None

    def rest(self) -> None:
        """Free the memory that reading the topics takes; it is taken again when it must be."""
        self._loading = None

    def entities(self) -> list[tuple[str, str]]:
        """Return the namespaces and names of all Entities that have instances."""
        self.rounds.finish()
        names = _decode_names(one(self._connection, self._queries["list_entities"]))
        return [(namespace, entity) for namespace, entity, _ in (name.split("/", 2) for name in names)]

    def has_events(self, entity: tuple[str, str]) -> bool:
        """Return whether any instance of an Entity, given by namespace and name, has an event."""
        self.rounds.finish()
        begin = f"{entity[0]}/{entity[1]}/"
        return bool(one(self._connection, self._queries["has_events"], (begin, begin[:-1] + "0")))  # "0" comes behind "/"

    @property
    def proven_position(self) -> int:
        """Return up to which turn the events are held against the outcomes."""
        found = self._connection.execute(self._queries["proven_position"]).fetchone()
        return self.position if found is None else int(found[0])

    def prove(self, marks: Marks) -> None:
        """Say that all events are held against the outcomes, and move the marks of their topics."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(self._queries["delete_proven_position"])
        self._move(marks)
        self._connection.execute("COMMIT")

    def turns(self, after: int, until: int) -> Iterator[Turn]:
        """Yield the turns above a position up to another, in order. Raises JournalCorrupt."""
        while after < until:
            rows = read_page(self._connection, self._queries, after, until, PAGE_ROWS)
            for row in rows:
                yield from row.turns
            after = rows[-1].position

    def position_of(self, key: EntityKey, command_id: str) -> int:
        """Return the position of a finished Command, 0 if there is none."""
        self.rounds.finish()
        hashed = command_hash(self.modulus, key, command_id)
        if not self.filter.might_contain(hashed):
            return 0
        positions = find_commands(self._connection, self._queries, [hashed], self.position)
        for row in read_rows(self._connection, self._queries, positions):
            if any(turn.command.key == key and turn.command.id == command_id for turn in row.turns):
                return row.position
        return 0

    def _begun(self) -> Loading:
        if self._loading is None:
            self.rounds.finish()
            self._loading = Loading(self._connection, self._queries, self.modulus, self._shares)
        return self._loading

    # ---------------------------------------------------------------- what is pending
    def pending(self) -> list[Pending]:
        """Return everything pending, in order. Raises JournalCorrupt."""
        return read_pending(self._connection, self._queries)

    def forget_pending(self, topic: str) -> None:
        """Forget everything pending, to read it from the topic's beginning. Raises apsw.Error; then use it no more."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(self._queries["forget_pending"])
        mark = self.marks.get(topic)
        if mark is not None:
            self._move({topic: Mark(mark.identity, 0)})
        self._connection.execute("COMMIT")

    def _move(self, marks: Marks) -> None:
        moved = {topic: mark for topic, mark in marks.items() if self.marks.get(topic) != mark}
        self._put_reached(
            self._connection, [value for topic, mark in moved.items() for value in (topic, mark.identity, mark.next_offset)]
        )
        self.marks.update(moved)


@contextmanager
def opened_replica(path: Path, tuning: Tuning, unfit: Unfit, fetch: Fetch = lambda path: False) -> Iterator[Replica]:
    """Open a replica: the one that is there, else one that can be fetched, else an empty one. Raises JournalError.

    In place of a damaged one none is fetched: it may be its copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_usable(path, tuning, unfit, fetch)) as replica:
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


def _usable(path: Path, tuning: Tuning, unfit: Unfit, fetch: Fetch) -> Replica:
    damaged = _damage(path).exists()
    if damaged:
        _log.warning("the replica %s was damaged when it was used last, and its topics are read again", path)
        put_away(path, keep=False)
        _damage(path).unlink()
    elif path.exists():
        found = _opened(path, tuning, unfit)
        if isinstance(found, Replica):
            return found
        _log.warning("the replica %s is not used: %s", path, found.reason)
        put_away(path, keep=found.is_sound)
        damaged = not found.is_sound
    if not damaged and fetch(path):
        found = _opened(path, tuning, unfit)
        if isinstance(found, Replica):
            return found
        _log.warning("the copy of the replica %s is not used, and its topics are read: %s", path, found.reason)
        put_away(path, keep=False)
    with translated():
        replica = Replica(path, tuning)
    replica.is_mended = damaged
    return replica


class _Useless(Struct, frozen=True):
    """Why a replica is not used, and whether it is at least sound."""

    reason: str
    is_sound: bool


def _opened(path: Path, tuning: Tuning, unfit: Unfit) -> "Replica | _Useless":
    """Open the replica that is there. Raises JournalError if another one would fare no better."""
    try:
        with translated():
            replica = Replica(path, tuning)
    except JournalError as error:
        if is_of_the_system(error):
            raise
        return _Useless(error.message, is_sound=False)
    try:
        reason = unfit(replica)
    except BaseException:
        replica.close()
        raise
    if not reason:
        return replica
    replica.close()
    return _Useless(reason, is_sound=True)


def _damage(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")
