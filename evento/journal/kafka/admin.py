"""What a cluster is asked about its topics and rights, and asked to make. Errors of the client are Evento's when they leave here.

An administrator blocks: `asked` puts it to work in a thread, and asks again while the cluster does not answer.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from enum import Enum
from types import TracebackType
from typing import Self, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic, TopicDescription
from msgspec import Struct

from evento.clock import Clock
from evento.errors import JournalUnreachable, SettingsError
from evento.journal.kafka.clients import Cluster, admin_properties, offsets_properties
from evento.journal.kafka.failures import Action, Call, Failure, error_of, failure_of
from evento.journal.kafka.groups import ask_group
from evento.journal.kafka.offsets import Which, told_offsets
from evento.journal.kafka.rights import MissingRight, missing_right
from evento.journal.kafka.security import Properties

Answer = TypeVar("Answer")

ATTEMPTS = 5
PAUSE_S = 1.0
_BROKEN_OFF = "_TRANSPORT"  # a connection: the client's words guess why
ANSWER_S = 30.0  # a request times out before that, by `Times.request_ms`


class TopicState(Struct, frozen=True):
    """A topic as it is: its partitions, copies of each (of the one with the fewest), and what this user may do with it."""

    partitions: int
    replication: int
    rights: frozenset[str]


HIDDEN = TopicState(0, 0, frozenset())


async def asked(work: Callable[["Admin"], Answer], cluster: Cluster, clock: Clock) -> Answer:
    """Return what `work` returns, which is given an administrator, in a thread. It may be called several times.

    Raises what it raises: JournalUnreachable only if the cluster does not answer after ATTEMPTS.
    """

    def once() -> Answer:
        with Admin(cluster) as admin:
            return work(admin)

    for attempt in range(ATTEMPTS):
        if attempt:
            await clock.sleep(PAUSE_S)
        try:
            return await asyncio.to_thread(once)
        except JournalUnreachable as error:
            unreachable = error
    raise unreachable


class Admin:
    """The administrator of one cluster, for the time of a context. Raises SettingsError if its properties are wrong."""

    def __init__(self, cluster: Cluster) -> None:
        self._told = admin_properties(cluster)
        self._told_offsets = offsets_properties(cluster, "read_uncommitted")
        self._connecting: KafkaError | None = None  # why no connection was made, the last time that one was refused
        try:
            self._client = AdminClient(Properties({**self._told, "error_cb": self._note}))
        except (KafkaException, ValueError, TypeError) as error:
            said = self._told.scrubbed(error.args[0].str() if isinstance(error, KafkaException) else str(error))
            raise SettingsError(f"Kafka's client: {said}", setting="kafka_config") from None  # the original may show a secret

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.__exit__(kind, error, trace)  # joins its threads, so it is not left to whoever drops the last reference

    def count_brokers(self) -> int:
        """Return how many brokers there are now. Raises JournalError."""
        with self._translated():
            return len(self._client.list_topics(timeout=ANSWER_S).brokers)

    def describe_topics(self, names: Sequence[str]) -> dict[str, TopicState]:
        """Return those topics that there are. One that this user may not see is HIDDEN. Raises JournalError."""
        answers = self._client.describe_topics(TopicCollection(list(names)), include_authorized_operations=True) if names else {}
        found = {name: self._topic(answer) for name, answer in answers.items()}
        return {name: state for name, state in found.items() if state is not None}

    def describe_settings(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Return the settings of topics; those whose settings this user may not see are left out. Raises JournalError."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        answers = self._client.describe_configs(resources) if resources else {}
        found = {resource.name: self._settings(answer) for resource, answer in answers.items()}
        return {name: settings for name, settings in found.items() if settings is not None}

    def holds_records(self, topics: Mapping[str, TopicState]) -> bool:
        """Return whether any record was ever written to these topics, as far as this user may see them. Raises JournalError."""
        places = [(name, number) for name, topic in topics.items() for number in range(topic.partitions)]
        if not places:
            return False
        with self._translated(), closing(Consumer(self._told_offsets)) as consumer:
            found = told_offsets(consumer, places, Which.NEXT, ANSWER_S)
        if len(found) < len(places):
            raise JournalUnreachable("the cluster does not say yet how far each of its topics reaches")
        return any(found.values())

    def unmade(self, topics: Sequence[NewTopic]) -> set[str]:
        """Return the names of those that the cluster would make, or would not let this user make: it asks who makes them, who knows
        best what there is. Raises JournalError."""
        answers = self._client.create_topics(list(topics), validate_only=True)
        return {name for name, answer in answers.items() if not self._exists(answer)}

    def create_topics(self, topics: Sequence[NewTopic]) -> dict[str, KafkaError]:
        """Ask for topics, and return the cluster's objections, by topic. That one exists already is none."""
        answers = self._client.create_topics(list(topics)) if topics else {}
        objections = {name: self._objection(answer) for name, answer in answers.items()}
        return {
            name: error
            for name, error in objections.items()
            if error is not None and error.code() != KafkaError.TOPIC_ALREADY_EXISTS
        }

    def rights_on_group(self, group: str) -> frozenset[str]:
        """Return what this user may do with a consumer group, whether there is one or not. Raises JournalError."""
        answer = ask_group(self._client, group, rights=True)
        with self._translated():
            try:
                return _names(answer.result(ANSWER_S).authorized_operations)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    return frozenset()
                raise

    def missing(self, right: str, resource: str, name: str) -> MissingRight:
        """Return that this user lacks a right."""
        return missing_right(self._told, right, resource, name)

    def explain(self, error: KafkaError) -> Failure:
        """Return what an objection means."""
        return failure_of(Call.ADMIN, error, told=self._told)

    def _exists(self, answer: Future[None]) -> bool:
        objection = self._objection(answer)
        if objection is not None and self.explain(objection).action is Action.RETRY:
            raise error_of(self.explain(objection))
        return objection is not None and objection.code() == KafkaError.TOPIC_ALREADY_EXISTS

    def _objection(self, answer: Future[None]) -> KafkaError | None:
        with self._translated():
            try:
                answer.result(ANSWER_S)
            except KafkaException as error:
                return cast("KafkaError", error.args[0])
        return None

    def _topic(self, answer: Future[TopicDescription]) -> TopicState | None:
        with self._translated():
            try:
                topic = answer.result(ANSWER_S)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    return HIDDEN
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise
        copies = min((len(each.replicas) for each in topic.partitions), default=0)
        return TopicState(len(topic.partitions), copies, _names(topic.authorized_operations))

    def _settings(self, answer: Future[dict[str, ConfigEntry]]) -> Mapping[str, str] | None:
        with self._translated():
            try:
                return {name: entry.value or "" for name, entry in answer.result(ANSWER_S).items()}
            except KafkaException as error:
                if error.args[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART):
                    return None
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise error_of(self._why(error)) from None  # the original may show a secret
        except TimeoutError as error:
            raise JournalUnreachable(f"{Call.ADMIN}: no answer within {ANSWER_S:.0f} s") from error

    def _why(self, error: KafkaException) -> Failure:
        """Return what failed. When no connection is made, an answer's error says no more than that; the client tells why aside."""
        failure = self.explain(error.args[0])
        if failure.action is Action.RETRY:
            self._client.poll(0)
            if self._connecting is not None:
                return self.explain(self._connecting)
        return failure

    def _note(self, error: KafkaError) -> None:
        if self.explain(error).action is Action.REFUSED or (self._connecting is None and error.name() == _BROKEN_OFF):
            self._connecting = error


def _names(rights: Sequence[Enum] | None) -> frozenset[str]:
    return frozenset(right.name for right in rights or ())
