"""Bringing a replica up to its topics: outcomes, as they came; their Events' records held against them; then states; then, for an
owner, what is pending.

It reads up to where the topics reached when it was asked for, with what was not decided then: so an owner, who has fenced the
one before it, misses nothing that was ever told. What contradicts itself on the topics stops here (JournalCorrupt), and names
the place.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from threading import BoundedSemaphore

from confluent_kafka import Message

from evento.errors import JournalCorrupt
from evento.journal.kafka.feed import Feed
from evento.journal.kafka.found import corrupt, hold_outcome, hold_state, outlines_of, pending_of, states_of
from evento.journal.kafka.proving import Entity, Proving
from evento.journal.kafka.reading import FILL_S, Reading, Topics
from evento.journal.kafka.records import Done
from evento.journal.kafka.replica import Replica
from evento.journal.kafka.survey import Survey
from evento.model.command import Pending
from evento.model.transition import Transition

FAR_RECORDS = 50_000
_far = BoundedSemaphore(2)  # more partitions at once only take the interpreter's lock from each other, and each is there later
PENDING_TRUSTED_S = 24 * 3600.0  # well below delete.retention.ms, for which a topic says that an entry is gone
__all__ = ["Entity", "Restoring", "Topics"]
_log = logging.getLogger(__name__)


class Restoring:
    """One catching-up of one replica. `watch` is called again and again: it raises when the rest is not wanted any more."""

    def __init__(
        self,
        replica: Replica,
        feed: Feed,
        survey: Survey,
        topics: Topics,
        watch: Callable[[], None],
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        whole: bool = False,
    ) -> None:
        """`progress` is told how many records are read, of how many at most. `whole`: hold all that there is of all records against
        what is written, and let an instance have no state whose newest record is of an older version."""
        self._replica = replica
        self._whole = whole
        self._topics = topics
        self._names = topics.names
        self._watch = watch
        self._reading = Reading(replica, feed, survey, topics, watch=watch, progress=progress)
        self._proving = Proving(replica, self._reading, topics, whole=whole)

    def follow(self, entities: Collection[Entity]) -> list[JournalCorrupt]:
        """Bring the replica up to what is committed, if nobody of this process owns the partition. Raises JournalError.

        Returns what would be wrong if no commit were under way: states that are newer than the outcomes that can be seen. They are
        left for the next time.
        """
        try:
            self._read_outcomes(entities)
            # How far the states reach is asked for only now: so there is one for each outcome that was read.
            return self._read_states(self._known(entities), {})
        finally:
            self._replica.rest()

    def take_over(self, entities: Collection[Entity]) -> int:
        """Bring the replica up to all there is; whoever owned the partition before has been fenced. Raises JournalError.

        Returns how many records there were that the replica did not have.
        """
        with self._in_turn():
            return self._take_over(entities)

    def _take_over(self, entities: Collection[Entity]) -> int:
        try:
            ends = self._reading.ends([self._names.pending, *map(self._state_topic, self._known(entities))])
            self._read_outcomes(entities)
            for problem in self.find_surplus(entities):
                raise problem
            for problem in self._read_states(self._known(entities), ends):
                raise problem
            self.read_pending(ends[self._names.pending])
        finally:
            self._replica.rest()
        if self._reading.done:
            _log.info("partition %d: read %d records that the replica did not have", self._topics.partition, self._reading.done)
        return self._reading.done

    def find_surplus(self, entities: Collection[Entity]) -> list[JournalCorrupt]:
        """Return what would be wrong if no commit were under way: of each Entity the first event that no outcome names.

        If there is any, the feed must not be used again. Raises JournalError.
        """
        return self._proving.find_surplus(self._known(entities))

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Wait until it is this partition's turn, if there is much to be read."""
        topic = self._names.outcomes
        if self._reading.end(topic) - self._replica.next_offset(topic) < FAR_RECORDS:
            yield
            return
        while not _far.acquire(timeout=FILL_S):
            self._watch()
        try:
            yield
        finally:
            _far.release()

    def _known(self, entities: Collection[Entity]) -> set[Entity]:
        return {*self._replica.entities(), *entities}

    # ---------------------------------------------------------------- outcomes
    def _read_outcomes(self, entities: Collection[Entity]) -> None:
        topic = self._names.outcomes
        end = self._reading.end(topic)
        self._reading.add([topic])
        self._reading.expect(topic, end)
        while messages := self._reading.next(topic, end):
            self._load(messages)
            self._reading.count(len(messages))
        self._proving.prove(self._known(entities))

    def _load(self, messages: Sequence[Message]) -> None:
        if self._whole:
            for message in messages:
                hold_outcome(message)
        marks = self._reading.marks([self._names.outcomes])
        outlines = outlines_of(messages)
        turns = [outline for outline in outlines if outline is not None]
        if len(turns) < len(outlines):  # a refusal is for whoever wrote the record
            messages = [message for message, outline in zip(messages, outlines, strict=True) if outline is not None]
        skipped = self._replica.load(turns, [message.value() or b"" for message in messages], marks)
        if skipped is not None:
            name, _, before, _ = turns[skipped.place]
            raise corrupt(
                messages[skipped.place],
                f"a turn of {name.decode()} begins at version {before}, but the one before ended at {skipped.version}",
            )

    # ---------------------------------------------------------------- states
    def _read_states(self, entities: Collection[Entity], ends: Mapping[str, int]) -> list[JournalCorrupt]:
        new = [topic for topic in map(self._state_topic, entities) if topic not in ends]
        ends = {**ends, **self._reading.ends(new)}
        problems: list[JournalCorrupt] = []
        for entity in sorted(entities):
            topic = self._state_topic(entity)
            self._reading.add([topic])
            self._reading.expect(topic, ends[topic])
            while messages := self._reading.next(topic, ends[topic]):
                early = self._apply_states(entity, messages)
                self._reading.count(len(messages))
                if early is not None:
                    problems.append(corrupt(early, "this state is newer than all outcomes of its instance: a commit was torn"))
                    break
        return problems

    def _apply_states(self, entity: Entity, messages: Sequence[Message]) -> Message | None:
        """Put states into the replica; return the first that is newer than what the replica knows, and where it stops."""
        begin = f"{entity[0]}/{entity[1]}/".encode()
        topic = self._state_topic(entity)
        latest = list({message.key(): message for message in messages}.values())
        if self._whole:
            for message in latest:
                hold_state(message, *entity)
        put = partial(self._replica.put_states, newest=self._whole)
        if put(states_of(begin, latest), self._reading.marks([topic])) is None:
            return None
        states = states_of(begin, messages)
        early = put(states, self._reading.marks([topic]))
        if early is None:
            return None
        self._reading.give_back(topic, messages[early:])
        put(states[:early], self._reading.marks([topic]))
        return messages[early]

    # ---------------------------------------------------------------- pending
    def read_pending(self, end: int | None = None) -> None:
        """Read what is pending, up to an offset; if none is given, up to all there is. Raises JournalError."""
        topic = self._names.pending
        if end is None:
            end = self._reading.end(topic)
        if self._replica.pending_age_s > PENDING_TRUSTED_S:  # what says that an entry is gone may be gone itself
            self._replica.forget_pending(topic)
        self._reading.add([topic])
        self._reading.expect(topic, end)
        while messages := self._reading.next(topic, end):
            entries: dict[int, Pending | None] = {}
            inputs: dict[str, Done] = {}
            for message in messages:
                found = pending_of(message)
                if isinstance(found, Pending):
                    entries[found.number] = found
                elif isinstance(found, int):
                    entries[found] = None
                else:
                    inputs = dict(found)
            transition = Transition(
                pending=tuple(entry for entry in entries.values() if entry is not None),
                resolved=tuple(number for number, entry in entries.items() if entry is None),
            )
            group, _ = self._replica.plan([transition])
            self._replica.advance(group, self._reading.marks([topic]), inputs)
            self._reading.count(len(messages))
        self._replica.touch_pending()

    def _state_topic(self, entity: Entity) -> str:
        return self._names.state(*entity)
