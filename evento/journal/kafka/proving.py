"""Holding the Events' records against the outcomes: each version once, in order, of the same Command, and nothing else between.

Whatever tears a commit tears the last ones of an owner: the next owner reads those before it serves. So of a long history that a
replica does not have, its last turns are proven; all of it, when the journal is verified: then a record must also be, to the
byte, what is written for its turn. The turns are taken from the replica, where they are when this begins. What does not fit raises
JournalCorrupt, with its place.
"""

from collections.abc import Collection, Iterable, Sequence

from confluent_kafka import Message

from evento.errors import JournalCorrupt
from evento.journal.kafka.found import contradiction, corrupt, event_head_of, is_as_written, is_event
from evento.journal.kafka.reading import Reading, Topics
from evento.journal.kafka.records import Record, event_records, read_event_head
from evento.journal.kafka.replica import Mark, Replica
from evento.model.command import Turn
from evento.model.keys import EntityKey

PROVEN_TURNS = 10_000  # the last ones, that are proven in any case: more than one commit has
SLACK_RECORDS = 100
Entity = tuple[str, str]
Wanted = tuple[str, int, str] | Record  # an event: its instance's id, its version, its Command's id; or all that its record is


class Proving:
    """One proof of what a replica has read."""

    def __init__(self, replica: Replica, reading: Reading, topics: Topics, *, whole: bool) -> None:
        """`whole`: leave no turn and nothing of a record out, however long it takes."""
        self._replica = replica
        self._reading = reading
        self._topics = topics
        self._whole = whole

    def prove(self, entities: Collection[Entity]) -> None:
        """Prove the turns that are not proven yet, and move the marks of the Events' topics. Raises JournalError."""
        first, last = self._replica.proven_position, self._replica.position
        if first == last:
            return
        topics = [self._topics.names.events(*entity) for entity in entities]
        if self._whole or last - first <= PROVEN_TURNS:
            self._reading.add(topics)
            for topic, wanted in self._wanted(first, last):
                self._hold_next(topic, wanted)
            marks = self._reading.marks(topics)
        else:
            begin = last - PROVEN_TURNS
            wanted_by_topic: dict[str, list[Wanted]] = {topic: [] for topic in topics}
            for topic, wanted in self._wanted(begin, last):
                wanted_by_topic[topic] += wanted
            marks = {topic: self._hold_last(topic, wanted, begin) for topic, wanted in wanted_by_topic.items()}
        self._replica.prove(marks)

    def find_surplus(self, entities: Collection[Entity]) -> list[JournalCorrupt]:
        """Return of each Entity the first event that no outcome names, if there is one."""
        topics = [self._topics.names.events(*entity) for entity in entities]
        self._reading.add(topics)
        ends = self._reading.ends(topics)
        return [_without_outcome(message) for topic, end in ends.items() for message in self._reading.next(topic, end, 1)]

    def _wanted(self, after: int, until: int) -> Iterable[tuple[str, list[Wanted]]]:
        """Yield the events that there should be, a good number at a time, with their topic; those of a topic in order."""
        while after < until:
            last = min(until, after + PROVEN_TURNS)
            by_topic: dict[str, list[Wanted]] = {}
            for turn in self._replica.turns(after, last):
                if turn.events:
                    topic = self._topics.names.events(*turn.command.key[:2])
                    by_topic.setdefault(topic, []).extend(_records(topic, turn) if self._whole else _events(turn))
            yield from by_topic.items()
            after = last

    def _hold_next(self, topic: str, wanted: Sequence[Wanted]) -> None:
        """Hold the next records of a topic against the events that there should be."""
        end, place = self._reading.end(topic), 0
        while place < len(wanted):
            messages = self._reading.next(topic, end, len(wanted) - place)
            if not messages:
                raise self._missing(topic, end, wanted[place])
            for event, message in zip(wanted[place:], messages, strict=False):
                _hold(message, event)
            place += len(messages)

    def _hold_last(self, topic: str, wanted: Sequence[Wanted], begin: int) -> Mark:
        """Hold the last records of a topic against events of turns above the position `begin`; return behind which it was."""
        begun, end = self._replica.next_offset(topic), self._reading.end(topic)
        back = 2 * len(wanted) + SLACK_RECORDS  # each may be followed by the marker of its commit
        while True:
            start = max(begun, end - back)
            messages = self._read(topic, start, end)
            place = self._first(messages, wanted, begin)
            if place > 0 or start == begun:
                break
            back *= 4
        if wanted and place < 0:
            raise self._missing(topic, end, wanted[0])
        if start == 0:
            self._check_beginning(topic, messages)
        place = max(0, place)
        if place and not self._is_turn_up_to(begin, messages[place - 1]):
            raise _without_outcome(messages[place - 1])
        for event, message in zip(wanted, messages[place:], strict=False):
            _hold(message, event)
        there = len(messages) - place
        if there < len(wanted):
            raise self._missing(topic, end, wanted[there])
        if there > len(wanted):  # of commits that came later, or of none
            end = messages[place + len(wanted)].offset() or 0
        self._reading.move(topic, end)
        return self._reading.mark(topic, end)

    def _read(self, topic: str, start: int, end: int) -> list[Message]:
        self._reading.move(topic, start)
        messages: list[Message] = []
        while some := self._reading.next(topic, end):
            messages += some
        return messages

    def _first(self, messages: Sequence[Message], wanted: Sequence[Wanted], begin: int) -> int:
        """Return where the events begin that there should be, -1 if nowhere; without any, behind all that were before."""
        if wanted:
            return next((place for place, message in enumerate(messages) if is_event(message, _named(wanted[0]))), -1)
        places = range(len(messages) - 1, -1, -1)
        return next((place + 1 for place in places if self._is_turn_up_to(begin, messages[place])), -1)

    def _is_turn_up_to(self, position: int, message: Message) -> bool:
        """Return whether an event is that of a turn up to a position."""
        head, entity = event_head_of(message), self._topics.names.entity_of_events(str(message.topic()))
        key = EntityKey(*(entity or ("", "")), head.instance_id)
        return 0 < self._replica.position_of(key, head.command_id) <= position

    def _check_beginning(self, topic: str, messages: Sequence[Message]) -> None:
        """Insist that a topic which was made anew has what was on it: it begins with an instance's first event, if there is any."""
        if messages and (head := event_head_of(messages[0])).version > 1:
            raise corrupt(
                messages[0],
                f"the topic begins with event {head.version} of {head.instance_id!r}: those before are gone, and it was made anew",
            )
        entity = self._topics.names.entity_of_events(topic)
        if not messages and entity is not None and self._replica.has_events(entity):
            raise JournalCorrupt(
                f"{topic}[{self._topics.partition}] has no Events, and outcomes tell of some: the topic was made anew",
                topic=topic,
                partition=self._topics.partition,
            )

    def _missing(self, topic: str, end: int, wanted: Wanted) -> JournalCorrupt:
        instance_id, version, command_id = _named(wanted)
        return JournalCorrupt(
            f"{topic}[{self._topics.partition}] ends at offset {end}, without event {version} of {instance_id!r}, of Command "
            f"{command_id}, which its outcome has: a commit was torn",
            topic=topic,
            partition=self._topics.partition,
            offset=end,
        )


def _events(turn: Turn) -> list[tuple[str, int, str]]:
    return [(turn.command.key.id, version, turn.command.id) for version in range(turn.before + 1, turn.version + 1)]


def _records(topic: str, turn: Turn) -> list[Record]:
    try:
        return event_records(topic, turn)
    except (OverflowError, ValueError) as error:  # a time that no calendar has
        problem = f"the outcome of Command {turn.command.id} of {turn.command.key} has Events that cannot be written: {error}"
        raise JournalCorrupt(problem) from error


def _named(wanted: Wanted) -> tuple[str, int, str]:
    return read_event_head(wanted.key, wanted.headers)[:3] if isinstance(wanted, Record) else wanted


def _hold(message: Message, wanted: Wanted) -> None:
    if is_as_written(message, wanted) if isinstance(wanted, Record) else is_event(message, wanted):
        return
    head = event_head_of(message)
    instance_id, version, command_id = _named(wanted)
    if head[:3] != (instance_id, version, command_id):
        raise corrupt(
            message,
            f"there should be event {version} of {instance_id!r}, of Command {command_id}, as its outcome says, and there is event "
            f"{head.version} of {head.instance_id!r}, of Command {head.command_id}: a commit was torn",
        )
    if isinstance(wanted, Record):
        raise corrupt(
            message,
            f"event {version} of {instance_id!r}, of Command {command_id}, is not as its outcome says: "
            f"{contradiction(message, wanted)}",
        )


def _without_outcome(message: Message) -> JournalCorrupt:
    head = event_head_of(message)
    return corrupt(
        message, f"event {head.version} of {head.instance_id!r}, of Command {head.command_id}, has no outcome: a commit was torn"
    )
