"""The topics of a deployment: their names, their settings, and that they are there and as they must be.

What is missing is made, unless it was there before and held what nothing else does (`gone.py`); what exists is never altered. Every
difference is told at once, with what a person can do about it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from confluent_kafka.admin import NewTopic
from msgspec import Struct

from evento.clock import Clock
from evento.errors import InvalidName, JournalLost, JournalRefused, JournalUnreachable
from evento.journal.kafka.address import KafkaAddress
from evento.journal.kafka.admin import HIDDEN, Admin, TopicState, asked
from evento.journal.kafka.clients import RECORD_BYTES_MAX, Cluster
from evento.journal.kafka.failures import Action
from evento.journal.kafka.gone import Loss, Losses, gone_topics

NAME_CHARS_MAX = 249
OUTCOME_BYTES_MAX = 2 * RECORD_BYTES_MAX  # it holds all Events of its Command
TOMBSTONE_MS = 7 * 24 * 3600 * 1000  # who reads on after a longer break begins anew
_NAME = re.compile(r"[A-Za-z0-9._-]+")

_KEPT = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_LATEST = {"cleanup.policy": "compact", "delete.retention.ms": str(TOMBSTONE_MS), "min.cleanable.dirty.ratio": "0.3"}
_COPIES = {**_LATEST, "segment.bytes": str(64 * 1024 * 1024)}  # what was replaced is removed when its segment is full
# An existing topic must have exactly these settings, at least those, and may have the others as it likes.
_EXACTLY = ("cleanup.policy", "retention.ms", "retention.bytes", "unclean.leader.election.enable")
_AT_LEAST = ("delete.retention.ms", "max.message.bytes", "min.insync.replicas")


class EntityTopics(Struct, frozen=True):
    """The names of one Entity's topics."""

    commands: str
    events: str
    state: str


class DeploymentTopics(Struct, frozen=True):
    """The names of the topics that a deployment has once."""

    pending: str
    outcomes: str
    catalog: str
    replicas: str


class Topic(Struct, frozen=True):
    """A topic as it must be. `settings` are those that it is made with; `loss` is what is gone with it, None of a cache, or of one
    that cannot have been there."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]
    loss: Loss | None = None

    def new(self) -> NewTopic:
        """Return what the client is told to make it."""
        return NewTopic(self.name, num_partitions=self.partitions, replication_factor=self.replication, config=dict(self.settings))


class Difference(Struct, frozen=True):
    """What is wrong with a topic, and what can be done."""

    topic: str
    setting: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, and must be {self.expected}. {self.remedy}"


def entity_topics(address: KafkaAddress, namespace: str, entity: str) -> EntityTopics:
    """Return the names of an Entity's topics. Raises InvalidName if Kafka does not take them."""
    return EntityTopics(*(_name(f"{address.prefix}{namespace}.{entity}.{kind}") for kind in EntityTopics.__struct_fields__))


def deployment_topics(address: KafkaAddress) -> DeploymentTopics:
    """Return the names of a deployment's own topics."""
    return DeploymentTopics(*(_name(f"{address.prefix}evento.{kind}") for kind in DeploymentTopics.__struct_fields__))


def topics_of_entity(
    address: KafkaAddress, namespace: str, entity: str, *, partitions: int, deployed: bool = False
) -> Sequence[Topic]:
    """Return an Entity's topics as they must be; with its loss each that was made before the Entity was `deployed`.

    Raises InvalidName, JournalRefused if it has too many partitions.
    """
    names = entity_topics(address, namespace, entity)
    if not 1 <= partitions <= address.partitions:
        allowed = f"must be 1 to {address.partitions}, the deployment's own count (?partitions= in the journal's address)"
        raise JournalRefused(
            f"{namespace}/{entity}: partitions is {partitions}, and {allowed}", entity=entity, partitions=partitions
        )
    return (
        _topic(address, names.commands, partitions, _KEPT, loss=Losses.COMMANDS if deployed else None),
        _topic(address, names.events, partitions, _KEPT, loss=Losses.EVENTS if deployed else None),
        _topic(address, names.state, partitions, _LATEST),  # a cache: states are folded again
    )


def topics_of_deployment(address: KafkaAddress) -> Sequence[Topic]:
    """Return the deployment's own topics as they must be.

    One that a later version adds can have no loss: a deployment that is used would be taken for one that has lost it.
    """
    names = deployment_topics(address)
    return (
        _topic(address, names.pending, address.partitions, _LATEST, loss=Losses.PENDING),
        _topic(address, names.outcomes, address.partitions, _KEPT, record_bytes_max=OUTCOME_BYTES_MAX, loss=Losses.OUTCOMES),
        _topic(address, names.catalog, 1, _KEPT, loss=Losses.CATALOG),
        _topic(address, names.replicas, address.partitions, _COPIES),
    )


async def ensure(cluster: Cluster, topics: Sequence[Topic], clock: Clock, *, used: bool = False) -> Sequence[str]:
    """Make those topics that are missing and check all others. Several nodes may do so at once.

    Nothing is made where one with a loss is missing, and they are `used`: a record on any of them tells so, too, for all are made
    before the first is written.

    Returns the names of those made, when all are there. Raises JournalLost if topics are gone, JournalRefused with every
    difference, JournalUnreachable if the cluster does not answer, SettingsError.
    """
    made = set[str]()  # by this or an earlier attempt: what was made may be seen by the next one only
    await asked(partial(_ensure, address=cluster.address, topics=topics, used=used, made=made), cluster, clock)
    return [topic.name for topic in topics if topic.name in made]


def _ensure(admin: Admin, *, address: KafkaAddress, topics: Sequence[Topic], used: bool, made: set[str]) -> None:
    there = admin.describe_topics([topic.name for topic in topics])
    missing = [topic for topic in topics if topic.name not in there]
    if any(topic.loss for topic in missing) and (used or admin.holds_records(there)):
        _refuse_gone(admin, address, [topic for topic in missing if topic.loss])
    made.update(topic.name for topic in missing)
    _make(admin, missing)
    names = [topic.name for topic in topics]
    there, settings = admin.describe_topics(names), admin.describe_settings(names)
    hidden = {name for name, state in there.items() if state == HIDDEN or settings.get(name) is None}
    late = ", ".join(topic.name for topic in missing if topic.name not in there or topic.name in hidden)
    if late:  # a broker that has not heard of a new topic may answer as if it were hidden
        raise JournalUnreachable(f"the cluster has not made {late} yet")
    found = [
        difference for topic in topics for difference in _differences(address, topic, there[topic.name], settings.get(topic.name))
    ]
    if found:
        raise JournalRefused(
            "; ".join(map(str, found)),
            differences=[{name: getattr(each, name) for name in each.__struct_fields__} for each in found],
        )


def _refuse_gone(admin: Admin, address: KafkaAddress, missing: Sequence[Topic]) -> None:
    """Raise JournalLost if who makes topics does not have them either: a broker may not have heard yet of what was just made."""
    unmade = admin.unmade([topic.new() for topic in missing])
    if gone := [topic for topic in missing if topic.name in unmade]:
        raise JournalLost(
            gone_topics(
                {topic.name: topic.loss for topic in gone if topic.loss},
                partial(_creation, address, gone),
                deployment_topics(address).replicas,
            ),
            topics=[topic.name for topic in gone],
        )


def _make(admin: Admin, missing: Sequence[Topic]) -> None:
    objections = admin.create_topics([topic.new() for topic in missing])
    sentences = []
    for name, error in objections.items():
        failure = admin.explain(error)
        if failure.action is Action.RETRY:
            raise JournalUnreachable(failure.message)
        if failure.code == "INVALID_REPLICATION_FACTOR":
            sentences.append(_too_few_brokers(name, missing[0].replication, admin.count_brokers()))
        elif failure.code == "TOPIC_AUTHORIZATION_FAILED":
            sentences.append(f"topic {name} cannot be made: {admin.missing('CREATE', 'topic', name)}")
        else:
            sentences.append(f"topic {name} cannot be made: {failure.message}")
    if sentences:
        raise JournalRefused("; ".join(sentences))


def _too_few_brokers(name: str, replication: int, brokers: int) -> str:
    return (
        f"topic {name} cannot be made with {replication} copies: the number of brokers is {brokers}. Start more, "
        f"or, where a lost disk may cost everything, say ?replication={brokers} in the journal's address"
    )


def _differences(
    address: KafkaAddress, topic: Topic, there: TopicState, settings: Mapping[str, str] | None
) -> Iterator[Difference]:
    if there == HIDDEN or settings is None:
        rights = "Describe and DescribeConfigs"
        yield Difference(topic.name, "its description", "hidden from this user", "seen", f"Give the user {rights} on the topic.")
        return
    if there.partitions != topic.partitions:
        remedy = "It cannot be changed, for it says where each instance is: set partitions to it, or take another prefix."
        yield Difference(topic.name, "partitions", str(there.partitions), str(topic.partitions), remedy)
    if there.replication < topic.replication:
        remedy = "Add copies with kafka-reassign-partitions.sh, or set ?replication= in the journal's address."
        yield Difference(topic.name, "replication", str(there.replication), f"at least {topic.replication}", remedy)
    for name, expected in topic.settings.items():
        found = settings.get(name, "")
        at_least = name in _AT_LEAST
        if (at_least and int(found or 0) < int(expected)) or (name in _EXACTLY and found != expected):
            remedy = f"To change it: {_command(address, topic.name, f'{name}={expected}')}"
            yield Difference(topic.name, name, found or "not set", f"at least {expected}" if at_least else expected, remedy)


def _command(address: KafkaAddress, topic: str, setting: str) -> str:
    where = f"--bootstrap-server {address.bootstrap} --entity-type topics --entity-name {topic}"
    return f"kafka-configs.sh {where} --alter --add-config {setting}"


def _creation(address: KafkaAddress, topics: Sequence[Topic], name: str) -> str:
    topic = next(each for each in topics if each.name == name)
    where = f"--bootstrap-server {address.bootstrap} --create --topic {name}"
    settings = " ".join(f"--config {setting}={value}" for setting, value in topic.settings.items())
    return f"kafka-topics.sh {where} --partitions {topic.partitions} --replication-factor {topic.replication} {settings}"


def _topic(
    address: KafkaAddress,
    name: str,
    partitions: int,
    settings: Mapping[str, str],
    *,
    record_bytes_max: int = RECORD_BYTES_MAX,
    loss: Loss | None = None,
) -> Topic:
    common = {
        "min.insync.replicas": str(address.min_insync),
        "max.message.bytes": str(record_bytes_max),
        "compression.type": "producer",
        "unclean.leader.election.enable": "false",  # a broker that missed records never becomes their leader
    }
    return Topic(name, partitions, address.replication, {**settings, **common}, loss)


def _name(name: str) -> str:
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        rule = f"at most {NAME_CHARS_MAX} letters, digits and . _ -"
        raise InvalidName(f"topic {name[:NAME_CHARS_MAX]!r}: must be {rule}", field="topic", rule=rule, value=name[:NAME_CHARS_MAX])
    return name
