"""Owning one partition: fence, catch up, commit. On the thread of the partition's replica.

    append ─► checked against the replica ─► one Kafka transaction for all that wait ─► replica ─► told

After any failure this owner commits nothing more: what waited was judged by what is not there. The next one reads before it begins.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from functools import partial
from threading import Event, Semaphore

from confluent_kafka import TopicPartition

from evento.errors import JournalCorrupt, JournalError, JournalFenced, JournalLost, JournalRewind, JournalUnreachable
from evento.journal.kafka.batch import Batch
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.gone import GUIDE
from evento.journal.kafka.membership import Lease
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.records import Done
from evento.journal.kafka.replica import Mark, Replica
from evento.journal.kafka.restore import Entity, Restoring, Topics
from evento.journal.kafka.survey import Survey
from evento.journal.kafka.transactions import Transactions
from evento.journal.observer import JournalObserver
from evento.model.transition import Appended, Conflict, Transition

CONFIRM_S = 0.05  # until the group is asked again whether it has settled
COMMITS_AT_ONCE = 4  # of one node: they are the scarce thing, and those that wait grow
Outcome = Appended | Conflict | Exception
_OVERTAKEN = "somebody else has owned the partition meanwhile"
_log = logging.getLogger(__name__)


class Owner:
    """One ownership of one partition. Made and used on the replica's thread; `lease` may end at any time."""

    def __init__(
        self,
        replica: Replica,
        topics: Topics,
        lease: Lease,
        transactions: Transactions,
        *,
        commits: Semaphore,
        observer: JournalObserver,
    ) -> None:
        self._replica = replica
        self._topics = topics
        self._lease = lease
        self._transactions = transactions
        self._commits = commits
        self._observer = observer
        self._failure: JournalError | None = None
        self._given_up = False
        self._begun: Mapping[str, Done] = {}
        self._turn: Patience | None = None  # while this makes one of the commits at once: since when it has waited for that
        self._restore: Callable[[], int] = lambda: 0

    @property
    def is_current(self) -> bool:
        """Return whether what the replica has is all there is: nobody else can have committed anything."""
        return self._failure is None and not self._transactions.is_tainted and self._lease.is_current

    def take_over(self, survey: Survey, make_feed: Callable[[], Feed], entities: Callable[[], Collection[Entity]]) -> None:
        """Fence whoever was the owner, and bring the replica up to all there is. Raises JournalError.

        That the group means this node was asked before. Whenever this is done once more, it is asked again: the node may have stood
        still, and would fence whoever owns the partition now. So may it have in the middle of reading: then what is newer than what
        it had read looks like a torn commit, and all is read once more before that is said.
        """

        def restore() -> int:
            self._transactions.fence(self._watch)
            with closing(make_feed()) as feed:
                restoring = Restoring(self._replica, feed, survey, self._topics, self._watch, progress=self._progress)
                return restoring.take_over(entities())

        def restore_if_meant() -> int:
            names = self._topics.names
            while not self._lease.is_meant_by(survey.members(names.group, names.pending)):
                self._watch()
                Event().wait(CONFIRM_S)
            return restore()

        def proven(read: Callable[[], int]) -> int:
            try:
                return read()
            except JournalCorrupt as error:
                _log.warning("partition %d: is this so, or has somebody else owned it meanwhile? %s", self._topics.partition, error)
                return 1 + restore_if_meant()  # what was read at first was new, too

        self._restore = partial(proven, restore_if_meant)
        proven(restore)

    def await_turn(self) -> None:
        """Return when this may be one of the commits that a node makes at once. Who has to read first waits after that."""
        if self._failure is None and not self._transactions.is_tainted:
            self._take_turn()

    def commit(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        """Make transitions durable by one commit, and say of each what became of it: the same error of all, if it failed."""
        if self._failure is None:
            try:
                self._renew()
                return self._commit(transitions)
            except JournalCorrupt:
                raise  # the replica must not be used any more
            except JournalError as error:
                self._failure = _as_the_engine_hears(error)
                self._observer.commit_failed(error.code)
                _log.warning("partition %d is given up: %s", self._topics.partition, self._failure)
            finally:
                self._end_turn()
        return [self._failure] * len(transitions)

    def begin(self, inputs: Mapping[str, Done]) -> None:
        """Note which topics of Commands are read from now on, and from where: the next commit says it. Any thread may call."""
        self._begun = {**self._begun, **inputs}

    def give_up(self) -> None:
        """Let what is being read come to an end. Any thread may call."""
        self._given_up = True

    def overtaken(self) -> None:
        """Commit nothing more: the replica has what somebody else wrote, so nothing new will be found when this is asked next."""
        self._failure = self._failure or JournalRewind(_OVERTAKEN)

    def listen(self) -> None:
        """Hear what the producer's client has to say, which it keeps in memory until then."""
        self._transactions.listen()

    def close(self) -> None:
        """Drop the producer."""
        self._failure = self._failure or JournalError("this partition was given up; nothing was stored")
        self._transactions.close()

    def _progress(self, done: int, total: int) -> None:
        self._observer.restoring(self._topics.partition, done, total)

    def _watch(self) -> None:
        if self._given_up or not self._lease.is_valid or self._lease.is_revoked:
            raise JournalRewind("the partition is no longer this node's")

    def _renew(self) -> None:
        """Put a new producer in place of one that is in doubt. If anybody wrote meanwhile, what is known here is old."""
        if self._transactions.is_tainted:
            self._end_turn()
            if self._restore():
                raise JournalRewind(_OVERTAKEN)

    def _commit(self, transitions: Sequence[Transition]) -> Sequence[Outcome]:
        group, outcomes = self._replica.plan(transitions)
        batch = Batch(self._topics.names, self._replica.inputs, self._begun)
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if isinstance(outcome, Appended):
                batch.add(transition, group.version)
        if batch:
            begun = self._take_turn()
            done = self._transactions.commit(batch, lambda: self._offsets(batch.inputs), self._lease.proof)
            self._end_turn()
            self._check_same(done.reached)
            marks = {topic: Mark(self._topics.identity(topic), offset + 1) for topic, offset in done.reached.items()}
            self._replica.advance(group, marks, batch.inputs)
            self._observer.committed(begun.over_s, done.records)
        return outcomes

    def _take_turn(self) -> Patience:
        """Return since when this has waited for the turn that it has now."""
        if self._turn is None:
            begun = Patience(0.0)
            self._commits.acquire()
            self._turn = begun
        return self._turn

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn = None
            self._commits.release()

    def _check_same(self, reached: Mapping[str, int]) -> None:
        """Raise JournalLost if a topic was made anew under this owner: the client writes to whatever topic has the name."""
        for topic, offset in reached.items():
            if offset < self._replica.next_offset(topic):
                raise JournalLost(
                    f"topic {topic} was deleted and made anew: partition {self._topics.partition} had records up to offset "
                    f"{self._replica.next_offset(topic)}, and the last one is at {offset} now ({GUIDE})",
                    topic=topic,
                )

    def _offsets(self, inputs: Mapping[str, Done]) -> Sequence[TopicPartition]:
        """Return the offsets that a commit always brings, for with them the group checks that its member is one still."""
        number, pending = self._topics.partition, self._topics.names.pending
        before = {source: done.next_offset for source, done in self._replica.inputs.items()}
        moved = {source: done.next_offset for source, done in inputs.items() if before.get(source, 0) != done.next_offset}
        if not moved:  # those of a topic that somebody has deleted would be refused, and the commit with them
            return [TopicPartition(pending, number, self._replica.next_offset(pending))]
        return [TopicPartition(source, number, offset) for source, offset in moved.items()]


def _as_the_engine_hears(error: JournalError) -> JournalError:
    """Return an error of a commit as what it means for the engine: where the next owner reads what became of it, a rewind."""
    if not isinstance(error, JournalFenced | JournalUnreachable):
        return error
    rewind = JournalRewind(error.message, **error.details)
    rewind.__cause__ = error
    return rewind
