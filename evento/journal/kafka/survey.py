"""What is asked of the cluster itself: how far topics reach, which topics they are, who is a member of the group.

Blocks: for threads.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription
from msgspec import Struct

from evento.errors import JournalLost, JournalUnreachable
from evento.journal.kafka.clients import Cluster, admin_properties, offsets_properties
from evento.journal.kafka.failures import Action, Call, error_of, failure_of
from evento.journal.kafka.groups import ask_group
from evento.journal.kafka.offsets import Which, told_offsets
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.shared import Shared

ASK_S = 30.0  # for an answer, however often the cluster says "not yet"
ANSWER_S = 3.0  # for one
REQUEST_S = 2.5  # after which the client gives one up
AGAIN_S = 0.1
ABSENT_S = 3.0  # a topic that is missing for so long is gone; a broker may not have heard yet of what another has just made
_MISSING = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID")
T = TypeVar("T")
C = TypeVar("C")


class Member(Struct, frozen=True):
    """A member of the group, with the partitions of the group's topic that it is assigned."""

    member_id: str
    client_id: str
    partitions: frozenset[int]


class Survey:
    """Clients who only ask. Any thread may call. Raises JournalError when the cluster does not answer, or refuses to."""

    def __init__(self, cluster: Cluster) -> None:
        self._told = admin_properties(cluster)  # in them is every secret
        self._admin = Shared(lambda: AdminClient(dict(self._told)), lambda client: client.__exit__(None, None, None))
        self._all = Shared(lambda: Consumer(offsets_properties(cluster, "read_uncommitted")), Consumer.close)
        self._committed = Shared(lambda: Consumer(offsets_properties(cluster, "read_committed")), Consumer.close)
        self._known: dict[str, str] = {}
        self._closed = False

    def close(self) -> None:
        """End the clients, as soon as they are not used any more. Who waits for an answer is told that there will be none."""
        self._closed = True
        for shared in (self._admin, self._all, self._committed):
            shared.close()

    def go_on(self) -> None:
        """Raise JournalUnreachable once this is closed. For threads that the end of the process would wait for."""
        if self._closed:
            raise JournalUnreachable("the journal is closed")

    def identity(self, topic: str) -> str:
        """Return the id of a topic as it was when first asked for. Raises JournalLost if it does not exist."""
        patience = Patience(ABSENT_S)
        while (known := self._known.get(topic) or self.identities([topic]).get(topic)) is None:
            if patience.is_over:
                raise JournalLost(f"topic {topic} is gone", topic=topic)
            patience.pause(AGAIN_S)
        return known

    def identities(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic that exists."""
        ids = {topic: str(described.topic_id) for topic, described in self._described(topics).items()}
        self._known.update((topic, made) for topic, made in ids.items() if topic not in self._known)
        return ids

    def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return how far one partition of each topic reaches, with what is not committed yet.

        Raises JournalLost if one is missing.
        """
        return self._offsets(topics, partition, Which.NEXT, self._all)

    def decided(self, topic: str, partition: int) -> int:
        """Return how far one partition of a topic reaches for who reads what is committed. Raises JournalLost, as `ends`."""
        return self._offsets([topic], partition, Which.NEXT, self._committed)[topic]

    def beginnings(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return the first offset that one partition of each topic still has. Raises JournalLost, as `ends`."""
        return self._offsets(topics, partition, Which.FIRST, self._all)

    def members(self, group: str, topic: str) -> list[Member]:
        """Return the group's members, if its partitions are assigned just now; nothing in the middle of a rebalance."""
        described = self._asked(self._admin, lambda admin: ask_group(admin, group).result(ANSWER_S))
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

    def _described(self, topics: Collection[str]) -> dict[str, TopicDescription]:
        if not topics:
            return {}
        asked = TopicCollection(list(topics))
        return self._asked(self._admin, lambda admin: _results(admin.describe_topics(asked, request_timeout=REQUEST_S)))

    def _offsets(self, topics: Iterable[str], partition: int, which: Which, shared: Shared[Consumer]) -> dict[str, int]:
        places = [(topic, partition) for topic in topics]
        patience = Patience(ABSENT_S)

        def ask(consumer: Consumer) -> dict[str, int]:
            found = told_offsets(consumer, places, which, REQUEST_S)
            unknown = [topic for topic, _ in places if (topic, partition) not in found]
            described = self._described(unknown)
            missing = [topic for topic in unknown if topic not in described or partition >= len(described[topic].partitions)]
            if missing and patience.is_over:
                raise JournalLost(f"the topics {', '.join(missing)} are gone, or lack partition {partition}", topics=missing)
            if unknown:
                raise TimeoutError("there is no leader of a partition, or the client has not heard of it yet")
            return {topic: offset for (topic, _), offset in found.items()}

        return self._asked(shared, ask) if places else {}

    def _asked(self, shared: Shared[C], ask: Callable[[C], T]) -> T:
        patience = Patience(ASK_S)
        while True:
            self.go_on()
            with shared.used() as client:
                try:
                    return ask(client)
                except KafkaException as error:
                    failure = failure_of(Call.ADMIN, error, told=self._told)
                    if failure.action in (Action.REFUSED, Action.QUARANTINE) or patience.is_over:  # to ask again never harms
                        raise error_of(failure) from error
                except TimeoutError as error:
                    if patience.is_over:
                        raise JournalUnreachable("the Kafka cluster does not answer") from error
                # A client that lost its connection may stay without an answer for ever; another one does not.
                shared.replace(client)
            patience.pause(AGAIN_S)


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
