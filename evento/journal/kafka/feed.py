"""Reading the topics of one partition side by side, each at the pace at which it is wanted. Knows no record.

A topic that runs ahead is paused, so memory is bounded. Where a topic ends is told by the client: at the last record that is
decided, behind what was aborted and behind the markers of commits.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from evento.errors import JournalCorrupt
from evento.journal.kafka.clients import AHEAD_RECORDS
from evento.journal.kafka.failures import Action, Call, error_of, failure_of
from evento.journal.kafka.security import Properties
from evento.journal.kafka.watchdog import ClientCall

BATCH_RECORDS = 10_000
AHEAD_BYTES = 8 * 1024 * 1024  # of one topic, taken from the client and not yet wanted; of records there are AHEAD_RECORDS
METADATA_S = 5.0


class Feed:
    """One consumer that is assigned what it reads, and commits nothing. For one thread."""

    def __init__(self, properties: Properties, partition: int, shares: int = 1) -> None:
        """`shares`: so many feeds share what a single one would have ahead."""
        self._consumer = Consumer(properties)
        self._properties = properties
        self._partition = partition
        self._what = f"partition {partition}, {Call.CONSUME}"
        self._batch, self._records_max, self._bytes_max = (each // shares for each in (BATCH_RECORDS, AHEAD_RECORDS, AHEAD_BYTES))
        self._ahead: dict[str, deque[Message]] = {}
        self._bytes: dict[str, int] = {}
        self._reached: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._paused: set[str] = set()

    @property
    def topics(self) -> Collection[str]:
        """Return what is read."""
        return self._reached.keys()

    def add(self, places: Mapping[str, int]) -> None:
        """Read these topics too, from these offsets. Raises JournalError."""
        new = {topic: offset for topic, offset in places.items() if topic not in self._reached}
        try:
            for topic in new:  # a topic that the client knows is read at once, another after a second
                with ClientCall(self._what):
                    self._consumer.list_topics(topic, METADATA_S)
            with ClientCall(self._what):
                self._consumer.incremental_assign([self._place(topic, offset) for topic, offset in new.items()])
        except KafkaException as error:
            raise error_of(failure_of(Call.CONSUME, error, told=self._properties)) from error
        self._reached.update(new)

    def move(self, topic: str, offset: int) -> None:
        """Read a topic from this offset, whatever was read of it before. Raises JournalError."""
        if topic not in self._reached:
            self.add({topic: offset})
            return
        try:
            self._consumer.incremental_unassign([self._place(topic)])
            self._consumer.incremental_assign([self._place(topic, offset)])
        except KafkaException as error:
            raise error_of(failure_of(Call.CONSUME, error, told=self._properties)) from error
        for kept in (self._ahead, self._bytes, self._ends):
            kept.pop(topic, None)
        self._paused.discard(topic)
        self._reached[topic] = offset

    def fill(self, timeout_s: float) -> bool:
        """Take what the client has, and wait for it if it has nothing. Returns whether there was something. Raises JournalError."""
        self._hold_back()  # only what was not taken meanwhile: to go on after a pause takes the client up to a second
        try:
            with ClientCall(self._what):
                first = self._consumer.poll(timeout_s)
                if first is None:
                    return False
                messages = (first, *self._consumer.consume(self._batch, 0))
        except KafkaException as error:
            raise error_of(failure_of(Call.CONSUME, error, told=self._properties)) from error
        for topic, group in groupby(messages, Message.topic):
            records = list(group)
            if any(map(Message.error, records)):
                for message in records:
                    if (problem := message.error()) is not None:
                        self._hear(message, problem)
                records = [message for message in records if message.error() is None]
            self._ahead.setdefault(str(topic), deque()).extend(records)
            self._bytes[str(topic)] = self._bytes.get(str(topic), 0) + sum(map(len, records))
        return True

    def take(self, topic: str, limit: int) -> Sequence[Message]:
        """Return the next records of a topic, as far as they are here."""
        ahead = self._ahead.get(topic)
        if not ahead:
            return ()
        taken = [ahead.popleft() for _ in range(min(limit, len(ahead)))]
        self._bytes[topic] -= sum(map(len, taken))
        offset = taken[-1].offset()
        self._reached[topic] = max(self._reached[topic], 0 if offset is None else offset + 1)
        if topic in self._paused and not self._is_ahead(topic):
            self._consumer.resume([self._place(topic)])
            self._paused.discard(topic)
        return taken

    def give_back(self, topic: str, messages: Sequence[Message]) -> None:
        """Let the last records that were taken of a topic be taken again."""
        self._ahead[topic].extendleft(reversed(messages))
        self._bytes[topic] += sum(map(len, messages))
        self._reached[topic] = messages[0].offset() or 0

    def reached(self, topic: str) -> int:
        """Return from where the topic goes on: behind everything that was taken, and behind what nobody will ever see."""
        return self._reached[topic] if self._ahead.get(topic) else max(self._reached[topic], self._ends.get(topic, 0))

    def next_offset(self, topic: str) -> int:
        """Return where what is taken next begins: it may be beyond `reached`, behind what nobody will ever see."""
        ahead = self._ahead.get(topic)
        return (ahead[0].offset() or 0) if ahead else self.reached(topic)

    def is_taken(self, topic: str) -> bool:
        """Return whether everything of a topic that is here was taken."""
        return not self._ahead.get(topic)

    def has_ended(self, topic: str) -> bool:
        """Return whether everything of a topic was taken that was decided when the client came to its end."""
        return self.is_taken(topic) and self._ends.get(topic, -1) >= self._reached[topic]

    def close(self) -> None:
        """End the consumer."""
        with ClientCall(self._what):
            self._consumer.close()

    def _hear(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[str(message.topic())] = message.offset() or 0
            return
        failure = failure_of(Call.CONSUME, error, told=self._properties)
        if failure.action is Action.QUARANTINE:
            place = f"{message.topic()}[{message.partition()}]"
            raise JournalCorrupt(
                f"{place} cannot be read from offset {self._reached.get(str(message.topic()))}: {failure.message}. Records that "
                "are needed were deleted, or the topic was made anew: restore the topic",
                topic=str(message.topic()),
                partition=self._partition,
            )
        if failure.action is not Action.RETRY:
            raise error_of(failure)

    def _hold_back(self) -> None:
        for topic in self._ahead:
            if topic not in self._paused and self._is_ahead(topic):
                self._consumer.pause([self._place(topic)])
                self._paused.add(topic)

    def _is_ahead(self, topic: str) -> bool:
        return len(self._ahead[topic]) > self._records_max or self._bytes[topic] > self._bytes_max

    def _place(self, topic: str, offset: int = 0) -> TopicPartition:
        return TopicPartition(topic, self._partition, offset)
