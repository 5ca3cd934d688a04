"""What is asked of the cluster itself: how far topics reach, which topics they are, who is a member of the group.

Blocks: for threads.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec
from msgspec import Struct

from evento.errors import JournalLost, JournalUnreachable
from evento.journal.kafka.failures import Action, Call, error_of, failure_of
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.security import Properties

ASK_S = 30.0  # for an answer, however often the cluster says "not yet"
ANSWER_S = 3.0  # for one
REQUEST_S = 2.5  # after which the client gives one up
AGAIN_S = 0.1
_NOBODY = "_NOENT"  # no partition has a leader just now, or there are no such partitions
_MISSING = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID")
T = TypeVar("T")
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


class Member(Struct, frozen=True):
    """A member of the group, with the partitions of the group's topic that it is assigned."""

    member_id: str
    client_id: str
    partitions: frozenset[int]


class Survey:
    """An administrator who only asks. Any thread may call. Raises JournalError when the cluster does not answer, or refuses to."""

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self._admin = AdminClient(dict(properties))
        self._known: dict[str, str] = {}

    def identity(self, topic: str) -> str:
        """Return the id of a topic as it was when first asked for. Raises JournalLost if it does not exist."""
        known = self._known.get(topic) or self.identities([topic]).get(topic)
        if known is None:
            raise JournalLost(f"topic {topic} is gone", topic=topic)
        return known

    def identities(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic that exists."""
        if not topics:
            return {}
        asked = TopicCollection(list(topics))
        found = self._asked(lambda: _results(self._admin.describe_topics(asked, request_timeout=REQUEST_S)))
        ids = {topic: str(described.topic_id) for topic, described in found.items()}
        self._known.update((topic, made) for topic, made in ids.items() if topic not in self._known)
        return ids

    def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return how far one partition of each topic reaches, with what is not committed yet.

        Raises JournalLost if one is missing.
        """
        return self._offsets(topics, partition, _LATEST)

    def decided(self, topic: str, partition: int) -> int:
        """Return how far one partition of a topic reaches for who reads what is committed. Raises JournalLost, as `ends`."""
        return self._offsets([topic], partition, _LATEST, IsolationLevel.READ_COMMITTED)[topic]

    def beginnings(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return the first offset that one partition of each topic still has."""
        return self._offsets(topics, partition, _EARLIEST)

    def members(self, group: str, topic: str) -> list[Member]:
        """Return the group's members, if its partitions are assigned just now; nothing in the middle of a rebalance."""
        described = self._asked(
            lambda: self._admin.describe_consumer_groups([group], request_timeout=REQUEST_S)[group].result(ANSWER_S)
        )
        if described.state.name != "STABLE":
            return []
        return [
            Member(
                member_id=member.member_id,
                client_id=member.client_id,
                partitions=frozenset(each.partition for each in member.assignment.topic_partitions if each.topic == topic),
            )
            for member in described.members
        ]

    def _offsets(
        self,
        topics: Iterable[str],
        partition: int,
        which: OffsetSpec,
        level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[str, int]:
        asked = {TopicPartition(topic, partition): which for topic in topics}
        if not asked:
            return {}
        found = self._asked(lambda: self._list(asked, level))
        missing = [each.topic for each in asked if each not in found]
        if missing:
            raise JournalLost(f"the topics {', '.join(missing)} are gone, or lack partition {partition}", topics=missing)
        return {place.topic: result.offset for place, result in found.items()}

    def _list(self, asked: Mapping[TopicPartition, OffsetSpec], level: IsolationLevel) -> dict[Any, Any]:
        try:
            found = _results(self._admin.list_offsets(dict(asked), isolation_level=level, request_timeout=REQUEST_S))
        except KafkaException as error:
            if error.args[0].name() != _NOBODY or len(self.identities([each.topic for each in asked])) == len(asked):
                raise
            return {}
        check_told(found.values())
        return found

    def _asked(self, ask: Callable[[], T]) -> T:
        patience = Patience(ASK_S)
        while True:
            try:
                return ask()
            except KafkaException as error:
                failure = failure_of(Call.ADMIN, error, told=self._properties)
                if failure.action in (Action.REFUSED, Action.QUARANTINE) or patience.is_over:  # to ask again never harms
                    raise error_of(failure) from error
            except TimeoutError as error:
                if patience.is_over:
                    raise JournalUnreachable("the Kafka cluster does not answer") from error
            # A client that lost its connection may stay without an answer for ever; another one does not.
            self._admin = AdminClient(dict(self._properties))
            patience.pause(AGAIN_S)


def check_told(results: Iterable[ListOffsetsResultInfo]) -> None:
    """Raise TimeoutError if one has no offset: so the client answers, without an error, for a partition that has no leader yet."""
    if any(result.offset < 0 for result in results):
        raise TimeoutError("the cluster does not say how far a partition reaches")


def _results(futures: Mapping[Any, Future[Any]]) -> dict[Any, Any]:
    """Return the answers; what does not exist is left out."""
    found = {}
    for asked, future in futures.items():
        try:
            found[asked] = future.result(ANSWER_S)
        except KafkaException as error:
            if error.args[0].name() not in _MISSING:
                raise
    return found
