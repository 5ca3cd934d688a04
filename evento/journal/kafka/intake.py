"""What others put on the topics of Commands, for the owner of one partition: read ahead on a thread, within bounds, each topic in
order.

It begins behind what the last commit says is done with. If records before that are gone, it stops and says so. A topic that was
deleted and made anew is another one, whatever its offsets: that is read from its beginning, and said.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from threading import Event, Lock, Thread

from confluent_kafka import Message
from msgspec.structs import replace

from evento.errors import JournalCorrupt, JournalError, JournalLost, JournalRewind, JournalUnreachable
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.found import headers_of
from evento.journal.kafka.holding import Node
from evento.journal.kafka.inputs import Place, read_input
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.records import Done
from evento.journal.kafka.restore import Entity
from evento.model.transition import Input

AHEAD_INPUTS = 5_000  # of all partitions that share the memory of one
BATCH_INPUTS = 500
FILL_S = 0.2
FULL_S = 1.0  # until it is looked again whether there is room, if nobody says so before
SAME_S = 10.0  # until it is asked again whether the topics are still those that were begun with
_TIMES_KEPT = 64
_log = logging.getLogger(__name__)


class Intake:
    """The thread, and what it has read ahead. Begins with the first `read`."""

    def __init__(self, number: int, node: Node, done: Mapping[str, Done], begin: Callable[[Mapping[str, Done]], None]) -> None:
        """`done` is how far each topic is done with; `begin` is told where which topic is begun."""
        self._number = number
        self._node = node
        self._most = AHEAD_INPUTS // node.tuning.shares  # ahead
        self._done = dict(done)
        self._begin = begin
        self._identities: dict[str, str] = {}  # of those that are read, or were to be; "" of one that was not there
        self._ahead: deque[Input] = deque()
        self._lock = Lock()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._stopping = Event()
        self._room = Event()  # half of what may be ahead was taken, or the thread is to end
        self._failure: JournalError | None = None
        self._thread = Thread(target=self._run, name=f"journal-intake-{number}", daemon=True)

    async def read(self, limit: int) -> Sequence[Input]:
        """Return the next records, `limit` at most; waits until there is one. Raises JournalError.

        What cannot be read any more is told once, as JournalCorrupt; then it waits until the topic is another one (JournalRewind).
        """
        if not self._thread.is_alive() and not self._stopping.is_set() and self._failure is None:
            self._thread.start()
        while True:
            self._arrived.clear()
            with self._lock:
                taken = [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]
            if 2 * len(self._ahead) < self._most:
                self._room.set()
            if taken:
                return taken
            if (failure := self._failure) is not None:
                if isinstance(failure, JournalCorrupt):
                    self._failure = None
                raise failure
            await self._arrived.wait()

    async def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._room.set()
        self._fail(JournalError("this partition was given up"))
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        try:
            feed = self._node.make_follower(self._number)
            try:
                self._follow(feed)
            finally:
                feed.close()
        except (JournalCorrupt, JournalLost) as error:  # what is gone is only one of those that anybody may write to
            self._fail(JournalCorrupt(error.message, **error.details))
            self._wait_made_anew()
        except JournalUnreachable as error:
            self._fail(JournalRewind(error.message))
        except JournalError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  a thread that dies in silence would let everybody wait for ever
            _log.exception("unexpected")
            self._fail(JournalError(f"reading Commands failed: {error!r}"))

    def _follow(self, feed: Feed) -> None:
        read: dict[str, Entity] = {}
        same = Patience(SAME_S)
        while not self._stopping.is_set():
            if same.is_over:
                self._check_same()
                same = Patience(SAME_S)
            new = {self._node.names.commands(*entity): entity for entity in self._node.entities_of(self._number)}
            if new.keys() - read.keys():
                feed.add(self._places([topic for topic in new if topic not in read]))
                read = new
            if not read:
                self._stopping.wait(FILL_S)
                continue
            if len(self._ahead) >= self._most:
                self._room.wait(FULL_S)
                self._room.clear()
                continue
            feed.fill(FILL_S)
            for topic, entity in read.items():
                begun, partitions = self._done[topic], self._node.entities[entity].partitions
                # Ids that follow from places are others in a topic that was made anew: so are the records.
                place = Place(f"{topic}\n{begun.identity}" if begun.anew else topic, *entity, self._number, partitions)
                while messages := feed.take(topic, BATCH_INPUTS):
                    self._put([_input(message, place, topic) for message in messages])

    def _places(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Return from where to read topics; of one that was never read, from its beginning. Raises JournalCorrupt."""
        survey = self._node.survey
        found = survey.identities(topics)
        self._identities.update((topic, found.get(topic, "")) for topic in topics)
        ends, beginnings = survey.ends(topics, self._number), survey.beginnings(topics, self._number)
        for topic, identity in found.items():
            known = self._done.get(topic, Done(0))
            if known.identity not in ("", identity):
                _log.warning(
                    "%s[%d] was deleted and made anew: what it has now, offsets %d to %d, is read from its beginning; of the one "
                    "before, which was done with up to %d, what nobody had read is lost",
                    *(topic, self._number, beginnings[topic], ends[topic], known.next_offset),
                )
                self._done[topic] = Done(beginnings[topic], identity, anew=True)
                continue
            self._done[topic] = Done(known.next_offset, identity, known.anew)
            done = known.next_offset
            if done > ends[topic] or done < beginnings[topic]:
                raise JournalCorrupt(
                    f"{topic}[{self._number}] has offsets {beginnings[topic]} to {ends[topic]}, and it is done with up to {done}: "
                    "records that nobody has read were deleted, or the topic was made anew. Nothing is taken from this partition's "
                    "topics of Commands until the topic is made anew, with what is still to be carried out",
                    topic=topic,
                    partition=self._number,
                )
        begun = {topic: self._done[topic] for topic in topics}
        self._begin(begun)
        return {topic: done.next_offset for topic, done in begun.items()}

    def _check_same(self) -> None:
        """Raise JournalRewind if a topic is another one than when it was begun: the next owner begins anew."""
        try:
            found = self._node.survey.identities(list(self._identities))
        except JournalUnreachable:
            return  # that is no news of the topics
        for topic, identity in found.items():
            if identity != self._identities[topic]:
                raise JournalRewind(f"{topic} was deleted and made anew")

    def _wait_made_anew(self) -> None:
        while not self._stopping.wait(SAME_S):
            try:
                self._check_same()
            except JournalError as error:
                self._fail(error)
                return

    def _put(self, inputs: Sequence[Input]) -> None:
        with self._lock:
            self._ahead.extend(inputs)
        self._tell()

    def _fail(self, failure: JournalError) -> None:
        self._failure = self._failure or failure
        self._tell()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrived.set)


def _input(message: Message, place: Place, topic: str) -> Input:
    """Return what a record says."""
    found = read_input(
        place,
        message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
        timestamp_us=_us(message.timestamp()[1]),
    )
    return found if place.source == topic else replace(found, source=topic)


@lru_cache(_TIMES_KEPT)
def _us(timestamp_ms: int) -> int:
    """Return a record's time; many share one, and then have one number in memory."""
    return timestamp_ms * 1000
