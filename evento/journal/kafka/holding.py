"""One partition as this node has it: the replica with its two threads, followed or owned. The event loop's side of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Event, Semaphore
from typing import TypeVar, cast

from msgspec import Struct

from evento.errors import JournalError, JournalLost, JournalRewind, JournalUnreachable
from evento.journal.base import EntityPlace
from evento.journal.kafka.clients import Cluster, follower_properties, lane_producer_properties, reader_properties
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.fetching import Source, fetch_copy
from evento.journal.kafka.gone import made_anew
from evento.journal.kafka.membership import Lease
from evento.journal.kafka.names import Names
from evento.journal.kafka.owning import Owner
from evento.journal.kafka.replica import Replica, mark_damaged, opened_replica
from evento.journal.kafka.restore import Entity, Restoring, Topics
from evento.journal.kafka.survey import Survey
from evento.journal.kafka.topics import OUTCOME_BYTES_MAX
from evento.journal.kafka.transactions import Transactions
from evento.journal.observer import JournalObserver
from evento.journal.sqlite.connection import Tuning
from evento.journal.sqlite.journal import SqliteHistory, StoreReads
from evento.journal.sqlite.reader import Reader
from evento.journal.sqlite.writer import Writer

T = TypeVar("T")


Progress = Callable[[int, int], None]


class Node(Struct, frozen=True):
    """What all partitions of this node share. `entities` are those provided, with how many partitions each uses."""

    cluster: Cluster
    names: Names
    survey: Survey
    folder: Path
    tuning: Tuning
    commits: Semaphore
    entities: dict[Entity, EntityPlace]
    observer: JournalObserver

    def entities_of(self, number: int) -> Collection[Entity]:
        """Return the Entities that use this partition."""
        return [entity for entity, place in list(self.entities.items()) if number < place.partitions]

    def topics(self, number: int) -> Topics:
        """Return one partition's topics; whose they are is told with the partition, for a replica belongs to one."""
        return Topics(self.names, number, lambda topic: f"{self.survey.identity(topic)}[{number}]")

    def replica(self, number: int) -> Path:
        """Return the file of one partition's replica."""
        return self.folder / f"{number}.db"

    def copies(self, number: int) -> Source:
        """Return where the copies of one partition's replica stand."""
        return Source(self.names.replicas, number, self.survey, lambda: self.make_feed(number))

    def make_feed(self, number: int) -> Feed:
        """Return a new reader of what one partition of the topics has."""
        return Feed(reader_properties(self.cluster, self.names.group), number)

    def make_follower(self, number: int) -> Feed:
        """Return a new reader of what will come in one partition of the topics."""
        shares = self.tuning.shares
        return Feed(follower_properties(self.cluster, self.names.group, shares), number, shares)


class Holding:
    """The replica of one partition, open."""

    def __init__(self, number: int, node: Node) -> None:
        self.number = number
        self._node = node
        self._topics = node.topics(number)
        path = node.replica(number)
        self._damaged = partial(mark_damaged, path)
        self._path = path
        self._writer = Writer(path, opened_replica(path, node.tuning, self._unfit, self._fetch), self._damaged)
        self._feed: Feed | None = None
        self._owner: Owner | None = None
        self._progress: Progress = lambda done, total: None
        self._wanted = Event()  # by an owner, who does not wait until all that is under way on the topics is decided
        self._closing = Event()  # nor does who stops
        self._changing = asyncio.Lock()  # nobody reads while the replica is between two moments

    async def start(self, progress: Progress) -> None:
        """Open the replica. `progress` is told how many records of its copy are read, of how many. Raises JournalError."""
        self._progress = progress
        self.store = cast("Replica", await self._writer.start())
        self.reader = Reader(self._path, self.store.tail, self._node.tuning, self._damaged)
        await self.reader.start()
        self.reads = StoreReads(self.reader, self.store)
        self.history = SqliteHistory(self.reader, self.store)
        self.append = self._writer.append

    async def stop(self) -> None:
        """Close it; what was appended is done first, what is being read is given up."""
        self._closing.set()
        try:
            if hasattr(self, "reader"):
                await self.reader.stop()
                await self._run(self._close_feed)
        finally:
            await self._writer.stop()

    async def settle(self) -> Path:
        """Return the replica's file, with everything in it that was appended, and indexed."""
        await self._run(self.store.rounds.finish)
        return self._path

    # ---------------------------------------------------------------- owned
    async def take(self, lease: Lease) -> Owner:
        """Become the owner: fence, and read all there is. Raises JournalError."""
        node = self._node
        identifier = node.names.transactional_id(self.number)
        properties = lane_producer_properties(node.cluster, identifier, message_bytes_max=OUTCOME_BYTES_MAX)
        transactions = Transactions(properties, self.number)
        owner = Owner(self.store, self._topics, lease, transactions, commits=node.commits, observer=node.observer)
        time_s = asyncio.get_running_loop().time
        begun_s = time_s()

        def take_over() -> None:
            self._wanted.clear()
            self._close_feed()
            owner.take_over(node.survey, lambda: node.make_feed(self.number), lambda: node.entities_of(self.number))
            self._owner = owner

        try:
            self._wanted.set()
            async with self._changing:
                await self._run(take_over)
        except BaseException:
            self._wanted.clear()
            owner.give_up()
            await self.release(owner)
            raise
        node.observer.taken_over(self.number, time_s() - begun_s)
        return owner

    def listen(self, owner: Owner) -> None:
        """Let an owner hear what its client has to say."""
        self._writer.post(owner.listen)

    async def release(self, owner: Owner) -> None:
        """End an ownership: what was appended is finished first."""

        def close() -> None:
            owner.close()
            self._owner = None

        self._node.observer.given_up(self.number)
        await self._run(close)

    # ---------------------------------------------------------------- followed
    @asynccontextmanager
    async def current(self) -> AsyncIterator[SqliteHistory]:
        """Give what was told before the call, and nothing that is half read. Raises JournalError.

        Where it is owned, the replica is that. Elsewhere it catches up first, and stays as it is until the context ends.
        """
        if self._is_current():
            yield self.history
            return
        while True:
            async with self._changing:
                try:
                    await self._run(self._follow)
                except JournalRewind:  # it is to be owned here
                    continue
                yield self.history
                return

    def _give_way(self) -> None:
        self._go_on()
        if self._wanted.is_set():
            raise JournalRewind("the partition is to be owned here")

    def _go_on(self) -> None:
        if self._closing.is_set():
            raise JournalUnreachable("the journal is being closed")

    def _follow(self) -> None:
        if self._is_current():
            return
        if self._feed is None:
            self._feed = self._node.make_feed(self.number)
        position, clean = self.store.position, False
        try:
            restoring = Restoring(self.store, self._feed, self._node.survey, self._topics, self._give_way)
            restoring.follow(self._node.entities_of(self.number))
            clean = True
        finally:
            if not clean:
                self._close_feed()
            if self._owner is not None and self.store.position != position:
                self._owner.overtaken()

    def _is_current(self) -> bool:
        return self._owner is not None and self._owner.is_current

    # ---------------------------------------------------------------- on the thread
    def _fetch(self, path: Path) -> bool:
        return fetch_copy(path, self._node.copies(self.number), self._go_on, self._progress)

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    def _unfit(self, replica: Replica) -> str:
        """Return why a replica is not one of the topics that are there. Raises JournalLost if they have lost what it has."""
        survey, marks = self._node.survey, replica.marks
        if marks and self._node.names.outcomes not in marks:
            return "it belongs to another deployment"
        if any(not mark.identity.endswith(f"[{self.number}]") for mark in marks.values()):
            return "it is another partition's"
        found = survey.identities(marks)
        if gone := [topic for topic in marks if topic not in found]:
            raise JournalLost(f"the topics {', '.join(gone)} are gone", topics=gone)
        ends = survey.ends(marks, self.number)
        anew = [topic for topic, mark in marks.items() if mark.identity != f"{found[topic]}[{self.number}]"]
        if anew:
            self._refuse_lost(replica, anew, ends)
            return f"topic {anew[0]} is another one now"
        ahead = [topic for topic, mark in marks.items() if mark.next_offset > ends[topic]]
        return f"it is ahead of {', '.join(ahead)}" if ahead else ""

    def _refuse_lost(self, replica: Replica, anew: Sequence[str], ends: Mapping[str, int]) -> None:
        """Raise JournalLost if the replica knows of what was on topics that were made anew, and that cannot be there.

        Of what was finished an empty topic has nothing; what else is missing shows when all is read. What is pending shows nowhere.
        """
        names = self._node.names
        for topic in anew:
            what, entity = "", names.entity_of_events(topic)
            if topic == names.pending and ends[topic] < replica.next_offset(topic) and (pending := replica.pending()):
                what = f"{len(pending)} Commands that were accepted and not finished"
            elif topic == names.outcomes and not ends[topic] and replica.position:
                what = f"{replica.position} Commands that are finished"
            elif entity is not None and not ends[topic] and replica.has_events(entity):
                what = "Events"
            if what:
                raise JournalLost(made_anew(topic, self.number, what, self._path, names.replicas), topic=topic)

    async def _run(self, function: Callable[[], T]) -> T:
        """Call on the replica's thread. A JournalError is the call's, not the replica's: that stays good."""

        def attempt() -> T | JournalError:
            try:
                return function()
            except JournalError as error:
                return error

        result = await self._writer.call(attempt)
        if isinstance(result, JournalError):
            raise result
        return result
