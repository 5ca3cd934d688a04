"""Reading one partition's topics on for a replica: from its marks up to offsets that were asked for, patient with a cluster that is
slow. Knows what no record says.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from confluent_kafka import Message
from msgspec import Struct

from evento.errors import JournalUnreachable
from evento.journal.kafka.feed import BATCH_RECORDS, Feed
from evento.journal.kafka.names import Names
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.replica import Mark, Replica
from evento.journal.kafka.survey import Survey

FILL_S = 0.2
STALLED_S = 60.0  # without anything new; an open transaction that nobody ends is ended by the brokers before
REPORT_S = 2.0
_log = logging.getLogger(__name__)


class Topics(Struct, frozen=True):
    """One partition's topics, and how to learn which topic of a name it is."""

    names: Names
    partition: int
    identity: Callable[[str], str]


class Reading:
    """One catching-up of one replica, as far as topics and offsets go.

    `watch` is called again and again: it raises when the rest is not wanted any more. `progress` is told how many records are read,
    of how many at most.
    """

    def __init__(
        self,
        replica: Replica,
        feed: Feed,
        survey: Survey,
        topics: Topics,
        *,
        watch: Callable[[], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._replica = replica
        self._feed = feed
        self._survey = survey
        self._topics = topics
        self._watch = watch
        self._progress = progress
        self._stalled = Patience(STALLED_S)
        self._report = Patience(REPORT_S)
        self._total = 0
        self.done = 0

    def ends(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how far topics reach, with what is not decided yet. Raises JournalError."""
        return self._survey.ends(topics, self._topics.partition)

    def end(self, topic: str) -> int:
        """Return how far one topic reaches. Raises JournalError."""
        return self.ends([topic])[topic]

    def add(self, topics: Iterable[str]) -> None:
        """Read these topics too, from the replica's marks; what an owner has put into it meanwhile is not read again.

        Raises JournalError.
        """
        new: dict[str, int] = {}
        for topic in topics:
            begin = self._replica.next_offset(topic)
            if topic not in self._feed.topics:
                new[topic] = begin
            elif self._feed.next_offset(topic) < begin:
                self._feed.move(topic, begin)
        self._feed.add(new)

    def move(self, topic: str, offset: int) -> None:
        """Read a topic from this offset. Raises JournalError."""
        self._feed.move(topic, offset)

    def next(self, topic: str, end: int, limit: int = BATCH_RECORDS) -> Sequence[Message]:
        """Return the next records of a topic; none once it is read up to `end`. Raises JournalError."""
        while not (messages := self._feed.take(topic, limit)):
            if self._feed.reached(topic) >= end:
                break
            self._fill()
        return messages

    def give_back(self, topic: str, messages: Sequence[Message]) -> None:
        """Let the last records that were returned of a topic be returned again."""
        self._feed.give_back(topic, messages)

    def marks(self, topics: Collection[str]) -> dict[str, Mark]:
        """Return how far topics are read now."""
        return {topic: self.mark(topic, self._feed.reached(topic)) for topic in topics}

    def mark(self, topic: str, offset: int) -> Mark:
        """Return a mark of a topic. Raises JournalError."""
        return Mark(self._topics.identity(topic), offset)

    def expect(self, topic: str, end: int) -> None:
        """Count what is to be read of a topic."""
        self._total += max(0, end - self._feed.reached(topic))

    def count(self, records: int) -> None:
        """Count what was read."""
        self.done += records
        self._progress(self.done, self._total)
        if self._report.is_over:
            self._report = Patience(REPORT_S)
            _log.info("partition %d: %d of %d records are restored", self._topics.partition, self.done, self._total)

    def _fill(self) -> None:
        self._watch()
        if self._feed.fill(FILL_S):
            self._stalled = Patience(STALLED_S)
        elif self._stalled.is_over:
            raise JournalUnreachable(f"partition {self._topics.partition}: nothing came from the Kafka cluster for {STALLED_S:g} s")
