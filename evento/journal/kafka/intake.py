"""What others put on the topics of Commands, for the owner of one partition: read ahead on a thread, within bounds, each topic in
order.

It begins behind what the last commit says is done with. If records before that are gone, or a topic is another one, it stops
and says so: it never begins somewhere else by itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Lock, Thread

from confluent_kafka import Message

from evento.errors import JournalCorrupt, JournalError
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.found import headers_of
from evento.journal.kafka.holding import Node
from evento.journal.kafka.inputs import read_input
from evento.journal.kafka.restore import Entity
from evento.model.transition import Input

AHEAD_INPUTS = 5_000
BATCH_INPUTS = 500
FILL_S = 0.1
FULL_S = 0.05  # until it is looked again whether there is room
_log = logging.getLogger(__name__)


class Intake:
    """The thread, and what it has read ahead. Begins with the first `read`."""

    def __init__(self, number: int, node: Node, done: Mapping[str, int]) -> None:
        """`done` is how far each topic is done with."""
        self._number = number
        self._node = node
        self._done = dict(done)
        self._ahead: deque[Input] = deque()
        self._lock = Lock()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._stopping = Event()
        self._failure: JournalError | None = None
        self._thread = Thread(target=self._run, name=f"journal-intake-{number}", daemon=True)

    async def read(self, limit: int) -> Sequence[Input]:
        """Return the next records, `limit` at most; waits until there is one. Raises JournalError."""
        if not self._thread.is_alive() and not self._stopping.is_set() and self._failure is None:
            self._thread.start()
        while True:
            self._arrived.clear()
            with self._lock:
                taken = [self._ahead.popleft() for _ in range(min(limit, len(self._ahead)))]
            if taken:
                return taken
            if self._failure is not None:
                raise self._failure
            await self._arrived.wait()

    async def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._fail(JournalError("this partition was given up"))
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        try:
            feed = self._node.make_feed(self._number)
            try:
                self._follow(feed)
            finally:
                feed.close()
        except JournalError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  a thread that dies in silence would let everybody wait for ever
            _log.exception("unexpected")
            self._fail(JournalError(f"reading Commands failed: {error!r}"))

    def _follow(self, feed: Feed) -> None:
        read: dict[str, Entity] = {}
        while not self._stopping.is_set():
            new = {self._node.names.commands(*entity): entity for entity in self._node.entities_of(self._number)}
            if new.keys() - read.keys():
                feed.add(self._begin([topic for topic in new if topic not in read]))
                read = new
            if not read or len(self._ahead) >= AHEAD_INPUTS:
                self._stopping.wait(FULL_S)
                continue
            feed.fill(FILL_S)
            for topic, entity in read.items():
                while messages := feed.take(topic, BATCH_INPUTS):
                    self._put([_input(message, topic, entity) for message in messages])

    def _begin(self, topics: Sequence[str]) -> Mapping[str, int]:
        """Return from where to read topics; of one that was never read, from its beginning. Raises JournalCorrupt."""
        survey = self._node.survey
        ends, beginnings = survey.ends(topics, self._number), survey.beginnings(topics, self._number)
        for topic in topics:
            done = self._done.get(topic, 0)
            if done > ends[topic] or done < beginnings[topic]:
                raise JournalCorrupt(
                    f"{topic}[{self._number}] has offsets {beginnings[topic]} to {ends[topic]}, and it is done with up to {done}: "
                    "records that nobody has read were deleted, or the topic was made anew. Nothing is taken from this partition's "
                    "topics of Commands until it is put right",
                    topic=topic,
                    partition=self._number,
                )
        return {topic: self._done.get(topic, 0) for topic in topics}

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


def _input(message: Message, topic: str, entity: Entity) -> Input:
    return read_input(
        source=topic,
        offset=message.offset() or 0,
        namespace=entity[0],
        entity=entity[1],
        key=message.key(),
        value=message.value(),
        headers=headers_of(message),
        timestamp_us=message.timestamp()[1] * 1000,
    )
