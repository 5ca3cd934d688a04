"""Topics on a real broker: made with what they need, and every difference of those that exist told at once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from evento.clock import SystemClock
from evento.errors import InvalidName, JournalRefused, JournalUnreachable
from evento.journal.kafka import admin
from evento.journal.kafka.address import KafkaAddress, parse_address
from evento.journal.kafka.clients import Cluster, Times
from evento.journal.kafka.security import Properties
from evento.journal.kafka.topics import (
    NAME_CHARS_MAX,
    Topic,
    deployment_topics,
    ensure,
    entity_topics,
    topics_of_deployment,
    topics_of_entity,
)
from tests.kafka.broker import quiet, run_tool
from tests.kafka.client import make_topic
from tests.kafka.fixtures import Kafka

ANSWER_S = 90.0
ADDRESS = KafkaAddress(bootstrap="one:1", prefix="acme.")


def cluster_at(address: str, **times: int) -> Cluster:
    return Cluster(address=parse_address(address), security=Properties(), client_id="test", times=Times(**times))


def wanted(cluster: Cluster) -> list[Topic]:
    own = topics_of_deployment(cluster.address)
    return [*own, *topics_of_entity(cluster.address, "bank", "Checking", partitions=2)]


def settings_of(bootstrap: str, name: str) -> Mapping[str, str]:
    client = AdminClient(quiet(bootstrap))
    (answer,) = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)]).values()
    return {setting: entry.value for setting, entry in answer.result(ANSWER_S).items()}


def partitions_of(bootstrap: str) -> Mapping[str, int]:
    listed = AdminClient(quiet(bootstrap)).list_topics(timeout=ANSWER_S).topics
    return {name: len(topic.partitions) for name, topic in listed.items()}


def test_topics_have_names_that_tell_what_they_hold() -> None:
    names = entity_topics(ADDRESS, "bank", "Checking")
    assert names.commands == "acme.bank.Checking.commands"
    assert names.events == "acme.bank.Checking.events"
    assert names.state == "acme.bank.Checking.state"
    own = deployment_topics(ADDRESS)
    assert (own.pending, own.outcomes, own.catalog) == ("acme.evento.pending", "acme.evento.outcomes", "acme.evento.catalog")
    assert own.replicas == "acme.evento.replicas"


def test_the_longest_names_that_evento_allows_fit() -> None:
    address = KafkaAddress(bootstrap="one:1", prefix="p" * 59 + ".")
    names = entity_topics(address, "n" * 63, "E" * 63)
    assert max(len(names.commands), len(names.events), len(names.state)) <= NAME_CHARS_MAX


@pytest.mark.parametrize("namespace", ["ba nk", "bänk", "n" * 230])
def test_a_name_that_kafka_does_not_take_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidName, match="249"):
        entity_topics(ADDRESS, namespace, "Checking")


@pytest.mark.parametrize("partitions", [0, 9])
def test_an_entity_has_no_more_partitions_than_its_deployment(partitions: int) -> None:
    with pytest.raises(JournalRefused, match="1 to 8"):
        topics_of_entity(ADDRESS, "bank", "Checking", partitions=partitions)


async def test_what_is_missing_is_made_with_what_it_needs_and_nothing_is_made_twice(kafka: Kafka) -> None:
    cluster = cluster_at(kafka.address(partitions=3))
    names = [topic.name for topic in wanted(cluster)]
    assert list(await ensure(cluster, wanted(cluster), SystemClock())) == names
    assert list(await ensure(cluster, wanted(cluster), SystemClock())) == []
    counts = await asyncio.to_thread(partitions_of, kafka.bootstrap)
    assert {name.removeprefix(kafka.prefix): counts[name] for name in names} == {
        "evento.pending": 3,
        "evento.outcomes": 3,
        "evento.catalog": 1,
        "evento.replicas": 3,
        "bank.Checking.commands": 2,
        "bank.Checking.events": 2,
        "bank.Checking.state": 2,
    }
    for name, expected in {
        "bank.Checking.events": {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
        "bank.Checking.commands": {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": "1048576"},
        "bank.Checking.state": {
            "cleanup.policy": "compact",
            "delete.retention.ms": "604800000",
            "min.cleanable.dirty.ratio": "0.3",
        },
        "evento.pending": {"cleanup.policy": "compact", "min.insync.replicas": "1"},
        "evento.outcomes": {"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": "2097152"},
        "evento.catalog": {"cleanup.policy": "delete", "retention.ms": "-1", "unclean.leader.election.enable": "false"},
    }.items():
        found = await asyncio.to_thread(settings_of, kafka.bootstrap, kafka.prefix + name)
        assert expected.items() <= found.items(), name


async def test_what_an_earlier_attempt_has_made_is_told_as_made(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker may not have heard of it when it was just made: then all is asked again."""
    describe, asked = admin.Admin.describe_settings, list[int]()

    def late(self: admin.Admin, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        asked.append(1)
        return describe(self, names) if len(asked) > 1 else {}

    monkeypatch.setattr(admin.Admin, "describe_settings", late)
    cluster = cluster_at(kafka.address())
    assert list(await ensure(cluster, wanted(cluster), SystemClock())) == [topic.name for topic in wanted(cluster)]


async def test_nodes_that_start_at_once_make_the_topics_together(kafka: Kafka) -> None:
    cluster = cluster_at(kafka.address())
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(ensure(cluster, wanted(cluster), SystemClock()))


async def test_every_difference_is_told_at_once_and_nothing_is_altered(kafka: Kafka) -> None:
    address = kafka.address(partitions=3)
    cluster = cluster_at(address.replace("min_insync=1", "min_insync=2").replace("replication=1", "replication=2"))
    events, pending = f"{kafka.prefix}bank.Checking.events", f"{kafka.prefix}evento.pending"
    wrong = {"retention.ms": "1000", "unclean.leader.election.enable": "true"}
    await asyncio.to_thread(make_topic, kafka.bootstrap, events, partitions=5, config=wrong)
    await asyncio.to_thread(make_topic, kafka.bootstrap, pending, partitions=3, config={"cleanup.policy": "delete"})
    those = [topic for topic in wanted(cluster) if topic.name in (events, pending)]
    with pytest.raises(JournalRefused) as error:
        await ensure(cluster, those, SystemClock())
    found = {(each["topic"], each["setting"]): (each["found"], each["expected"]) for each in error.value.details["differences"]}
    assert found == {
        (events, "partitions"): ("5", "2"),
        (events, "replication"): ("1", "at least 2"),
        (events, "retention.ms"): ("1000", "-1"),
        (events, "unclean.leader.election.enable"): ("true", "false"),
        (events, "min.insync.replicas"): ("1", "at least 2"),
        (pending, "cleanup.policy"): ("delete", "compact"),
        (pending, "delete.retention.ms"): ("86400000", "at least 604800000"),
        (pending, "replication"): ("1", "at least 2"),
        (pending, "min.insync.replicas"): ("1", "at least 2"),
    }
    assert f"--entity-name {events} --alter --add-config retention.ms=-1" in error.value.message
    assert "cannot be changed" in error.value.message
    after = await asyncio.to_thread(settings_of, kafka.bootstrap, events)
    assert wrong.items() <= after.items()
    assert (await asyncio.to_thread(partitions_of, kafka.bootstrap))[events] == 5


async def test_the_command_that_is_told_mends_it(kafka: Kafka) -> None:
    cluster = cluster_at(kafka.address())
    catalog = deployment_topics(cluster.address).catalog
    await asyncio.to_thread(make_topic, kafka.bootstrap, catalog, config={"retention.ms": "1000"})
    with pytest.raises(JournalRefused) as error:
        await ensure(cluster, topics_of_deployment(cluster.address), SystemClock())
    (difference,) = error.value.details["differences"]
    await asyncio.to_thread(run_tool, difference["remedy"].partition(": ")[2])
    await ensure(cluster, topics_of_deployment(cluster.address), SystemClock())


async def test_what_is_more_than_asked_for_is_fine(kafka: Kafka) -> None:
    cluster = cluster_at(kafka.address())
    config = {"cleanup.policy": "compact", "delete.retention.ms": "704800000", "max.message.bytes": "9999999"}
    name = deployment_topics(cluster.address).pending
    await asyncio.to_thread(make_topic, kafka.bootstrap, name, partitions=3, config={**config, "min.cleanable.dirty.ratio": "0.9"})
    await ensure(cluster, topics_of_deployment(cluster.address), SystemClock())


async def test_a_cluster_with_too_few_brokers_is_no_reason_to_make_fewer_copies(kafka: Kafka) -> None:
    cluster = cluster_at(kafka.address().replace("replication=1", "replication=3"))
    with pytest.raises(JournalRefused, match=r"number of brokers is 1\. .*\?replication=1"):
        await ensure(cluster, wanted(cluster), SystemClock())
    assert not [name for name in await asyncio.to_thread(partitions_of, kafka.bootstrap) if name.startswith(kafka.prefix)]


async def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "ATTEMPTS", 1)
    cluster = cluster_at("kafka://127.0.0.1:1?replication=1", request_ms=1000)
    with pytest.raises(JournalUnreachable, match="asking the cluster"):
        await ensure(cluster, wanted(cluster), SystemClock())
