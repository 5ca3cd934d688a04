"""One partition's transactional producer: a commit whole or not at all, and never a word about it that is not certain.

A producer is used until something ambiguous happened: a request that timed out, or whose connection broke, may still be under way
somewhere, and could land in a later commit of the same producer. Then it is `tainted`, and its successor, who has a later epoch,
makes the request void. Blocks: for one thread.

The request to be feared is the one that ends a commit: it would end the later one in its middle. The client sends it again by
itself within milliseconds, on another connection. A record that comes late is known by its number, and refused; offsets and topics
that are added late do no harm to a commit that adds its own.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec import Struct

from evento.errors import JournalRefused, JournalRewind
from evento.journal.kafka.aside import Aside, LeftBehind
from evento.journal.kafka.clients import logger
from evento.journal.kafka.failures import Action, Call, Failure, error_of, failure_of
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.records import Record
from evento.journal.kafka.rights import refusal_of
from evento.journal.kafka.security import Properties
from evento.journal.kafka.watchdog import ClientCall

CONNECT_S = 2.0
INIT_S = 60.0  # to become the owner, with a predecessor's commit to be ended and a coordinator to be found
COMMIT_S = 30.0  # for everything that is asked again within one commit
ABORT_S = 10.0  # the next producer aborts what this one cannot
OFFSETS_S = 10.0
GRACE_S = 5.0  # so much longer than it was given a call is waited for
FLUSH_S = 20.0  # records fail by themselves before
SLOW_S = 1.0  # coordinators that took longer to end a commit may have been asked twice; how long its records take says nothing
AGAIN_S = 0.05
QUEUE_FULL_S = 0.05
TRIES = 4  # of a commit that was aborted because the group is being balanced
Produce = Callable[..., None]
Delivered = Callable[[KafkaError | None, Message], None]
_DOUBTFUL = frozenset({"_TRANSPORT", "_TIMED_OUT", "_ALL_BROKERS_DOWN", "_RESOLVE"})
_ENDING = "ENDTXN"  # begins the client's line of each answer to the request that ends a commit, or of what came instead
_TIMED_OUT = "REQTMOUT"  # begins its line of requests that had no answer in time, and are sent again
_UNANSWERED = re.compile(r"\breturned _")  # only errors of the client itself begin so
_log = logging.getLogger(__name__)


class _Failed(Exception):
    """A call of the client failed for good."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Lines:
    """The client's own lines. What is for people goes to the log; that a request had no answer in time, or the end of a commit
    none, to whoever asked.

    It is told in no other way: no call fails for it, and no error is reported. The line comes before the answer to what was sent
    again, and is heard by the next poll.
    """

    def __init__(self, unanswered: Callable[[], None]) -> None:
        self._unanswered = unanswered

    def log(self, level: int, template: str, facility: str, client: str, text: str) -> None:
        if level > logging.DEBUG:
            logger.log(level, template, facility, client, text)
        if facility == _TIMED_OUT or (facility == _ENDING and _UNANSWERED.search(text)):
            self._unanswered()


class Done(Struct, frozen=True):
    """A commit that is durable: the offset of its last record on each topic, and how many records it has."""

    reached: Mapping[str, int]
    records: int


class Transactions:
    """The producer of one transactional id."""

    def __init__(self, properties: Properties, partition: int, *, commit_s: float | None = None) -> None:
        self._properties = properties
        self._partition = partition
        self._commit_s = COMMIT_S if commit_s is None else commit_s
        self._producer: Producer | None = None
        self._aside = Aside("")
        self._doubtful = False
        self._committing = False

    @property
    def is_tainted(self) -> bool:
        """Return whether the producer must not be used for another commit."""
        return self._producer is None or self._doubtful

    def fence(self, watch: Callable[[], None]) -> None:
        """Make a producer; whoever had the transactional id before is fenced, and its open commit ended. Raises JournalError."""
        self.close()
        producer = Producer({**self._properties, "error_cb": self._hear, "logger": _Lines(self._doubt)})
        patience = Patience(INIT_S)
        # Once connected it finds its coordinator at once, else often after half a second.
        with suppress(KafkaException), self._calling(Call.INIT):
            producer.list_topics(timeout=CONNECT_S)
        try:
            while True:
                watch()
                try:
                    with self._calling(Call.INIT):
                        producer.poll(0)  # what it has to say stays in memory until then
                        producer.init_transactions(min(5.0, patience.left_s))
                    break
                except KafkaException as error:
                    failure = failure_of(Call.INIT, error, told=self._properties)
                    if failure.action is not Action.RETRY or patience.is_over:
                        raise refusal_of(failure, self._properties) from error
                    patience.pause(AGAIN_S)
        except BaseException:
            with self._calling(Call.INIT):
                producer.purge()
                del producer  # it ends here, where that is watched, not with whoever forgets the error
            raise
        self._producer, self._doubtful = producer, False
        self._aside = Aside(f"journal-calls-{self._partition}")

    def close(self) -> None:
        """Drop the producer. What it has not committed never happened."""
        if self._producer is not None:
            self._aside.end()
            with self._calling(Call.ABORT):
                self._producer.purge()
                self._producer = None

    def listen(self) -> None:
        """Hear all that the client has to say. Until then it keeps it in memory: who commits nothing hears it now and then."""
        if self._producer is not None:
            with self._calling(Call.PRODUCE):
                self._producer.poll(0)

    def commit(self, records: Iterable[Record], offsets: Callable[[], Sequence[TopicPartition]], proof: Callable[[], Any]) -> Done:
        """Commit records and the input's offsets. The records are asked for again if the commit must be made again.

        Raises JournalRewind: it did not happen, or nobody knows, and only who owns the partition anew can tell. Raises another
        JournalError if this process can never do it.
        """
        patience = Patience(self._commit_s)
        for _ in range(TRIES):
            metadata = proof()
            if metadata is None:
                raise JournalRewind("the partition is no longer this node's; nothing was stored")
            try:
                done = self._attempt(records, offsets(), metadata, patience)
                self.listen()
            except _Failed as failed:
                self._end(failed.failure)
                last = failed.failure
            else:
                return done
            finally:
                self._committing = False
            if self.is_tainted:
                break
            patience.pause(AGAIN_S * 2)  # the membership's next proof is there by then
        raise JournalRewind(f"the commit was given up: {last.message}")

    def _attempt(self, records: Iterable[Record], offsets: Sequence[TopicPartition], metadata: Any, patience: Patience) -> Done:
        producer = self._producer
        if producer is None:
            raise JournalRewind("the partition has no producer; nothing was stored")
        self.listen()  # what broke before is no doubt about this commit
        self._committing = True
        self._call(Call.PRODUCE, producer.begin_transaction, patience)
        reached: dict[str, int] = {}
        count = self._produce(producer, records, reached, patience)
        # Offsets are sent behind the records; else each waits for the other.
        self._call(Call.PRODUCE, lambda: producer.flush(min(FLUSH_S, patience.left_s)), patience)
        begun = Patience(SLOW_S)
        send = partial(producer.send_offsets_to_transaction, list(offsets), metadata)
        self._call(Call.SEND_OFFSETS, lambda: self._limited(send, OFFSETS_S), patience)
        # Given up, it is unknown, and the producer is dropped. No single call is so long that it would be taken for one that hangs.
        commit = producer.commit_transaction
        self._call(Call.COMMIT, lambda: self._limited(commit, max(1.0, min(COMMIT_S, patience.left_s))), patience)
        self._doubtful |= begun.is_over
        return Done(reached, count)

    def _produce(self, producer: Producer, records: Iterable[Record], reached: dict[str, int], patience: Patience) -> int:
        """Hand records over, and return how many; where the last one on each topic is, `reached` is told later."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:  # a failed one makes the commit fail
                reached[str(message.topic())] = message.offset() or 0

        last: dict[str, Record] = {}
        # All arguments by place: names would be looked up anew for each record.
        partition, produce, count = self._partition, cast("Produce", producer.produce), 0

        def put(record: Record, told: Delivered | None = None) -> None:
            while True:
                try:
                    produce(record.topic, record.value, record.key, partition, told, None, 0, record.headers)
                    return
                except BufferError as error:
                    if patience.is_over:
                        raise _Failed(failure_of(Call.PRODUCE, error)) from error
                    self._call(Call.PRODUCE, lambda: producer.poll(QUEUE_FULL_S), patience)
                except KafkaException as error:
                    raise _Failed(failure_of(Call.PRODUCE, error, told=self._properties)) from error

        for record in records:
            count += 1
            topic = record.topic
            before = last.get(topic)
            last[topic] = record
            if before is not None:
                try:  # nearly always it is taken at once
                    produce(topic, before.value, before.key, partition, None, None, 0, before.headers)
                except (BufferError, KafkaException):
                    put(before)
        for record in last.values():
            put(record, delivered)
        return count

    def _call(self, call: Call, function: Callable[[], object], patience: Patience) -> None:
        """Call, again and again with the same arguments while that may help."""
        while True:
            try:
                with self._calling(call):
                    function()
                return
            except LeftBehind as error:
                self._producer = None  # it is still in that call
                raise _Failed(
                    Failure(Action.LOST, call, "_LEFT_BEHIND", f"{call}: the client library does not come back")
                ) from error
            except KafkaException as error:
                failure = failure_of(call, error, told=self._properties)
                if failure.action is not Action.RETRY or patience.is_over:
                    raise _Failed(failure) from error
                self._doubtful = True
                _log.info("partition %d: again: %s", self._partition, failure.message)
                patience.pause(AGAIN_S)

    def _end(self, failure: Failure) -> None:
        """Abort what failed, or drop the producer where that cannot be, or is not certain to help.

        Raises what ends the partition.
        """
        unknown = failure.call is Call.COMMIT and failure.action is Action.RETRY
        if unknown or failure.action in (Action.FENCED, Action.FATAL, Action.LOST):
            self.close()
            return
        self._doubtful |= failure.call is Call.COMMIT  # its end may have been asked for
        try:
            self._call(Call.ABORT, self._abort, Patience(ABORT_S))
        except _Failed as failed:
            _log.warning("partition %d: %s", self._partition, failed.failure.message)
            self.close()
        if failure.action is Action.REFUSED:
            raise error_of(failure)
        if failure.action is Action.TOO_LARGE:
            raise JournalRefused(f"{failure.message}: raise the topic's max.message.bytes to what Evento makes topics with")

    def _abort(self) -> None:
        if self._producer is not None:
            self._limited(self._producer.abort_transaction, ABORT_S)
            self.listen()

    def _limited(self, function: Callable[[float], object], limit_s: float) -> None:
        """Give a call so much time, and wait not much longer for it."""
        self._aside.call(lambda: function(limit_s), limit_s + GRACE_S)

    def _calling(self, call: Call) -> ClientCall:
        return ClientCall(f"partition {self._partition}, {call}")

    def _hear(self, error: KafkaError) -> None:
        if error.name() in _DOUBTFUL:
            self._doubt()

    def _doubt(self) -> None:
        self._doubtful |= self._committing
