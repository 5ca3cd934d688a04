"""Bringing a replica up to its topics: outcomes, held against the Events' records; then states; then, for an owner, what is
pending.

It reads up to where the topics reached when it was asked for, with what was not decided then: so an owner, who has fenced the
one before it, misses nothing that was ever told. What contradicts itself on the topics stops here (JournalCorrupt), and names
the place.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from confluent_kafka import Message
from msgspec import Struct

from evento.errors import JournalCorrupt, JournalUnreachable
from evento.journal.kafka.feed import BATCH_RECORDS, Feed
from evento.journal.kafka.found import corrupt, event_head_of, is_event, outcome_of, pending_of, state_of
from evento.journal.kafka.names import Names
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.records import Done
from evento.journal.kafka.replica import Mark, Replica
from evento.journal.kafka.survey import Survey
from evento.model.command import Pending, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Conflict, Run, Transition

FILL_S = 0.2
STALLED_S = 60.0  # without anything new; an open transaction that nobody ends is ended by the brokers before
REPORT_S = 2.0
PENDING_TRUSTED_S = 24 * 3600.0  # well below delete.retention.ms, for which a topic says that an entry is gone
Entity = tuple[str, str]
_log = logging.getLogger(__name__)


class Topics(Struct, frozen=True):
    """One partition's topics, and how to learn which topic of a name it is."""

    names: Names
    partition: int
    identity: Callable[[str], str]


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
    ) -> None:
        """`progress` is told how many records are read, of how many at most."""
        self._replica = replica
        self._feed = feed
        self._survey = survey
        self._topics = topics
        self._names = topics.names
        self._watch = watch
        self._progress = progress
        self._stalled = Patience(STALLED_S)
        self._report = Patience(REPORT_S)
        self._done = self._total = 0

    def follow(self, entities: Collection[Entity]) -> list[JournalCorrupt]:
        """Bring the replica up to what is committed, if nobody of this process owns the partition. Raises JournalError.

        Returns what would be wrong if no commit were under way: states that are newer than the outcomes that can be seen. If there
        is any, the feed must not be used again.
        """
        known = self._known(entities)
        states = self._survey.ends(map(self._state_topic, known), self._topics.partition)
        found = self._read_outcomes(known)
        return self._read_states(found, states)

    def take_over(self, entities: Collection[Entity]) -> int:
        """Bring the replica up to all there is; whoever owned the partition before has been fenced. Raises JournalError.

        Returns how many records there were that the replica did not have.
        """
        known = self._known(entities)
        states = self._survey.ends([self._names.pending, *map(self._state_topic, known)], self._topics.partition)
        found = self._read_outcomes(known)
        for problem in self.find_surplus(found):
            raise problem
        for problem in self._read_states(found, states):
            raise problem
        self.read_pending(states[self._names.pending])
        if self._done:
            _log.info("partition %d: read %d records that the replica did not have", self._topics.partition, self._done)
        return self._done

    def _known(self, entities: Collection[Entity]) -> set[Entity]:
        marked = {entity for topic in self._replica.marks if (entity := self._names.entity_of_events(topic)) is not None}
        return marked | set(entities)

    # ---------------------------------------------------------------- outcomes and events
    def _read_outcomes(self, known: set[Entity]) -> set[Entity]:
        topic, found = self._names.outcomes, set(known)
        end = self._survey.ends([topic], self._topics.partition)[topic]
        self._total += max(0, end - self._replica.next_offset(topic))
        self._add([topic, *map(self._event_topic, known)])
        while messages := self._next(topic, end):
            found |= self._apply_outcomes(messages)
            self._count(len(messages))
        return found

    def _apply_outcomes(self, messages: Sequence[Message]) -> set[Entity]:
        turns: list[Turn] = []
        by_entity: dict[Entity, list[Turn]] = {}
        for message in messages:
            told = outcome_of(message)
            if isinstance(told, Turn):
                turns.append(told)
                if told.events:
                    by_entity.setdefault(told.command.key[:2], []).append(told)
        self._add([self._event_topic(entity) for entity in by_entity])
        for entity, with_events in by_entity.items():
            self._hold_against_events(self._event_topic(entity), with_events)
        transition = Transition(runs=tuple(Run(turn.command.key, turn.before, (turn,), None) for turn in turns))
        group, [result] = self._replica.plan([transition])
        if isinstance(result, Conflict):
            raise corrupt(
                messages[-1],
                f"a turn of {result.key} begins at version {result.before}, but the one before ended at {result.actual}",
            )
        if isinstance(result, Exception):
            raise corrupt(messages[-1], f"a turn cannot be kept: {result}") from result
        self._replica.advance(group, self._marks([self._names.outcomes, *map(self._event_topic, by_entity)]))
        self._replica.rounds.keep_up()
        return set(by_entity)

    def _hold_against_events(self, topic: str, turns: Sequence[Turn]) -> None:
        """Take the turns' events from their topic: each version once, in order, of the same Command, and nothing else between."""
        wanted = [
            (turn.command.key.id, version, turn.command.id)
            for turn in turns
            for version in range(turn.before + 1, turn.version + 1)
        ]
        messages = self._events(topic, len(wanted), wanted)
        for (instance_id, version, command_id), message in zip(wanted, messages, strict=True):
            if is_event(message, (instance_id, version, command_id)):
                continue
            head = event_head_of(message)
            if (head.instance_id, head.version, head.command_id) != (instance_id, version, command_id):
                raise corrupt(
                    message,
                    f"there should be event {version} of {instance_id!r}, of Command {command_id}, as its outcome says, and there "
                    f"is event {head.version} of {head.instance_id!r}, of Command {head.command_id}: a commit was torn",
                )

    def _events(self, topic: str, count: int, wanted: Sequence[tuple[str, int, str]]) -> Iterator[Message]:
        end = -1
        while count:
            messages = self._feed.take(topic, count)
            yield from messages
            count -= len(messages)
            if count and not messages:
                if end < 0:
                    end = self._survey.ends([topic], self._topics.partition)[topic]
                if self._feed.reached(topic) >= end and self._feed.is_taken(topic):
                    instance_id, version, command_id = wanted[-count]
                    raise JournalCorrupt(
                        f"{topic}[{self._topics.partition}] ends at offset {end}, without event {version} of {instance_id!r}, of "
                        f"Command {command_id}, which its outcome has: a commit was torn",
                        topic=topic,
                        partition=self._topics.partition,
                        offset=end,
                    )
                self._fill()

    def find_surplus(self, entities: Collection[Entity]) -> list[JournalCorrupt]:
        """Return what would be wrong if no commit were under way: of each Entity the first event that no outcome names.

        If there is any, the feed must not be used again. Raises JournalError.
        """
        topics = list(map(self._event_topic, self._known(entities)))
        self._add(topics)
        ends = self._survey.ends(topics, self._topics.partition)
        return [_without_outcome(message) for topic, end in ends.items() for message in self._next(topic, end, 1)]

    # ---------------------------------------------------------------- states
    def _read_states(self, entities: Collection[Entity], ends: Mapping[str, int]) -> list[JournalCorrupt]:
        new = [topic for topic in map(self._state_topic, entities) if topic not in ends]
        ends = {**ends, **self._survey.ends(new, self._topics.partition)}
        self._add(map(self._state_topic, entities))
        self._replica.rounds.finish()
        problems: list[JournalCorrupt] = []
        for entity in sorted(entities):
            topic = self._state_topic(entity)
            self._total += max(0, ends[topic] - self._feed.reached(topic))
            while messages := self._next(topic, ends[topic]):
                early = self._apply_states(entity, messages)
                self._count(len(messages))
                if early is not None:
                    problems.append(corrupt(early, "this state is newer than all outcomes of its instance: a commit was torn"))
                    break
        return problems

    def _apply_states(self, entity: Entity, messages: Sequence[Message]) -> Message | None:
        """Put states into the replica; return the first that is newer than what the replica knows, and where it stops."""
        latest = list({message.key(): message for message in messages}.values())
        for chosen in (latest, messages):  # which of an instance's states is the first that is too new matters seldom
            keys = [EntityKey(*entity, (message.key() or b"").decode()) for message in chosen]
            states = [state_of(message) for message in chosen]
            places = self._replica.places(keys)
            early = next((at for at, key in enumerate(keys) if states[at].version > places.get(key, (0, 0))[1]), None)
            if early is None:
                break
        topic = self._state_topic(entity)
        mark = self._marks([topic]) if early is None else {topic: self._mark(topic, messages[early].offset() or 0)}
        self._replica.put_states(dict(zip(keys[:early], states[:early], strict=True)), places, mark)
        return None if early is None else messages[early]

    # ---------------------------------------------------------------- pending
    def read_pending(self, end: int | None = None) -> None:
        """Read what is pending, up to an offset; if none is given, up to all there is. Raises JournalError."""
        topic = self._names.pending
        if end is None:
            end = self._survey.ends([topic], self._topics.partition)[topic]
        if self._replica.pending_age_s > PENDING_TRUSTED_S:  # what says that an entry is gone may be gone itself
            self._replica.forget_pending(topic)
        self._add([topic])
        self._total += max(0, end - self._feed.reached(topic))
        while messages := self._next(topic, end):
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
            self._replica.advance(group, self._marks([topic]), inputs)
            self._count(len(messages))
        self._replica.touch_pending()

    # ---------------------------------------------------------------- reading
    def _next(self, topic: str, end: int, limit: int = BATCH_RECORDS) -> Sequence[Message]:
        """Return the next records of a topic; none once it is read up to `end`."""
        while not (messages := self._feed.take(topic, limit)):
            if self._feed.reached(topic) >= end:
                break
            self._fill()
        return messages

    def _fill(self) -> None:
        self._watch()
        if self._feed.fill(FILL_S):
            self._stalled = Patience(STALLED_S)
        elif self._stalled.is_over:
            raise JournalUnreachable(f"partition {self._topics.partition}: nothing came from the Kafka cluster for {STALLED_S:g} s")

    def _add(self, topics: Iterable[str]) -> None:
        self._feed.add({topic: self._replica.next_offset(topic) for topic in topics if topic not in self._feed.topics})

    def _marks(self, topics: Collection[str]) -> dict[str, Mark]:
        return {topic: self._mark(topic, self._feed.reached(topic)) for topic in topics}

    def _mark(self, topic: str, offset: int) -> Mark:
        return Mark(self._topics.identity(topic), offset)

    def _count(self, records: int) -> None:
        self._done += records
        self._progress(self._done, self._total)
        if self._report.is_over:
            self._report = Patience(REPORT_S)
            _log.info("partition %d: %d of %d records are restored", self._topics.partition, self._done, self._total)

    def _event_topic(self, entity: Entity) -> str:
        return self._names.events(*entity)

    def _state_topic(self, entity: Entity) -> str:
        return self._names.state(*entity)


def _without_outcome(message: Message) -> JournalCorrupt:
    head = event_head_of(message)
    return corrupt(
        message, f"event {head.version} of {head.instance_id!r}, of Command {head.command_id}, has no outcome: a commit was torn"
    )
