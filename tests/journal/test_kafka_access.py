"""A cluster that wants TLS and passwords, and allows only what is allowed: what is missing is told, and what is enough suffices."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from evento.clock import SystemClock
from evento.errors import JournalRefused, JournalUnreachable, SettingsError
from evento.journal.base import EntityPlace
from evento.journal.kafka import clients, copying
from evento.journal.kafka.access import GROUP_RIGHTS, TOPIC_RIGHTS, Role, check_access
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.admin import Admin
from evento.journal.kafka.clients import Times, lane_producer_properties, reader_properties
from evento.journal.kafka.failures import Action, Call, failure_of
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.rights import MissingRight
from evento.journal.kafka.security import read_security
from evento.journal.kafka.topics import Topic, deployment_topics, ensure, entity_topics, topics_of_deployment, topics_of_entity
from evento.testing.journal_samples import appended, keys, run
from tests.kafka import broker
from tests.kafka.fixtures import need_kafka
from tests.kafka.secure import allow, allow_as_the_page_says, secured, set_scram_password

PASSWORDS = {"node": "hush-node", "reader": "hush-reader", "newcomer": "hush-newcomer", "uncopied": "hush-uncopied"}
SCRAM_USER, SCRAM_PASSWORD = "scram", "hush-scram"
GROUP = "acme.evento"
ANSWER_S = 90.0


@dataclass(frozen=True)
class Guarded:
    """A broker whose clients must say who they are. `inside` is where everything is allowed, for tests to give rights."""

    inside: str
    outside: str
    certificate: Path
    folder: Path

    def cluster(
        self, user: str, password: str = "", mechanism: str = "PLAIN", trust: str = "", wait_ms: int = 5000
    ) -> clients.Cluster:
        """Return the cluster as a user sees it, from a file as it would be written."""
        lines = {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": trust or str(self.certificate),
            "sasl.mechanism": mechanism,
            "sasl.username": user,
        }
        file = self.folder / "kafka.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        file.chmod(0o600)
        security = read_security(str(file), {"sasl.password": password or PASSWORDS[user]})
        address = parse_address(f"kafka://{self.outside}?prefix=acme.&partitions=2&replication=1")
        return clients.Cluster(address=address, security=security, client_id="test", times=Times(request_ms=wait_ms))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    need_kafka()
    folder = tmp_path_factory.mktemp("guarded")
    listener = secured(folder, PASSWORDS)
    brokers = {**listener.listener.properties, "auto.create.topics.enable": "true"}  # as it is by default
    with broker.Cluster(folder=folder / "kafka", security=replace(listener.listener, properties=brokers)) as cluster:
        allow_as_the_page_says(cluster.bootstrap, "node")
        yield Guarded(cluster.bootstrap, cluster.secure_bootstrap, listener.certificate, folder)


def all_topics(cluster: clients.Cluster) -> list[Topic]:
    return [*topics_of_deployment(cluster.address), *topics_of_entity(cluster.address, "bank", "Checking", partitions=2)]


async def test_a_node_with_its_rights_makes_its_topics_and_commits(guarded: Guarded) -> None:
    cluster = guarded.cluster("node")
    await ensure(cluster, all_topics(cluster), SystemClock())
    names = entity_topics(cluster.address, "bank", "Checking"), deployment_topics(cluster.address)
    assert list(await check_access(cluster, Role.NODE, names, SystemClock(), group=GROUP)) == []
    assert await asyncio.to_thread(committed_and_read, cluster, names[0].events, "acme.evento.0") == [b"event"]


def test_a_topic_that_is_gone_is_not_made_by_writing_to_it_where_brokers_would_make_it(guarded: Guarded) -> None:
    """As an owner writes who has not written to that topic before."""
    properties = lane_producer_properties(guarded.cluster("node"), "acme.evento.1", message_bytes_max=1000)
    producer = Producer({**properties, "message.timeout.ms": 1000})
    producer.init_transactions(ANSWER_S)
    producer.begin_transaction()
    producer.produce("acme.bank.Gone.events", b"event", partition=0)
    with pytest.raises(KafkaException):
        producer.commit_transaction(ANSWER_S)
    admin = AdminClient(broker.quiet(guarded.inside))
    assert "acme.bank.Gone.events" not in admin.list_topics(timeout=ANSWER_S).topics


def committed_and_read(cluster: clients.Cluster, topic: str, transactional_id: str) -> list[bytes | None]:
    producer = Producer(lane_producer_properties(cluster, transactional_id, message_bytes_max=1000))
    producer.init_transactions(ANSWER_S)
    producer.begin_transaction()
    producer.produce(topic, b"event", partition=0)
    producer.commit_transaction()
    consumer = Consumer(reader_properties(cluster, GROUP))
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        return [message.value() for message in consumer.consume(1, ANSWER_S)]
    finally:
        consumer.close()


async def test_a_user_without_rights_is_told_each_that_is_missing_and_how_to_give_it(guarded: Guarded) -> None:
    cluster = guarded.cluster("newcomer")
    names = entity_topics(cluster.address, "bank", "Checking"), deployment_topics(cluster.address)
    missing = await check_access(cluster, Role.NODE, names, SystemClock(), group=GROUP)
    topics = [*names[0].__struct_fields__, *names[1].__struct_fields__]
    assert len(missing) == sum(len(TOPIC_RIGHTS[Role.NODE][kind]) for kind in topics) + len(GROUP_RIGHTS)
    assert MissingRight("WRITE", "topic", names[0].events, "newcomer", guarded.outside) in missing
    assert str(missing[0]).startswith(f"{missing[0].right} on topic ")
    assert "--allow-principal User:newcomer --operation DescribeConfigs --topic acme." in "".join(map(str, missing))
    assert f"kafka-acls.sh --bootstrap-server {guarded.outside} --add " in str(missing[0])
    with pytest.raises(JournalRefused, match="Describe and DescribeConfigs"):
        await ensure(cluster, all_topics(cluster), SystemClock())


async def test_each_role_needs_exactly_what_the_table_gives_it(guarded: Guarded) -> None:
    node = guarded.cluster("node")
    await ensure(node, all_topics(node), SystemClock())
    names = entity_topics(node.address, "bank", "Checking"), deployment_topics(node.address)
    reader = guarded.cluster("reader")
    before = {(each.right, each.name) for each in await check_access(reader, Role.CONSUMER, names, SystemClock(), group="readers")}
    assert before == {("DESCRIBE", names[0].events), ("READ", names[0].events), ("DESCRIBE", "readers"), ("READ", "readers")}
    rights = [(ResourceType.TOPIC, names[0].events, AclOperation.READ), (ResourceType.GROUP, "readers", AclOperation.READ)]
    await asyncio.to_thread(allow, guarded.inside, "reader", rights)
    assert (
        list(await check_access(reader, Role.CONSUMER, names, SystemClock(), group="readers")) == []
    )  # who may read may describe, too
    assert await check_access(reader, Role.PRODUCER, names, SystemClock(), group="readers")


async def test_a_transactional_id_of_somebody_else_is_refused_with_a_word_about_it(guarded: Guarded) -> None:
    cluster = guarded.cluster("node")
    producer = Producer(lane_producer_properties(cluster, "other.0", message_bytes_max=1000))
    with pytest.raises(KafkaException) as error:
        await asyncio.to_thread(producer.init_transactions, ANSWER_S)
    failure = failure_of(Call.INIT, error.value)
    assert failure.action is Action.REFUSED
    assert "transactional id" in failure.message


async def test_scram_lets_in_too(guarded: Guarded) -> None:
    await asyncio.to_thread(set_scram_password, guarded.inside, SCRAM_USER, SCRAM_PASSWORD)
    cluster = guarded.cluster(SCRAM_USER, SCRAM_PASSWORD, "SCRAM-SHA-256")
    assert await check_access(
        cluster, Role.CONSUMER, [entity_topics(cluster.address, "bank", "Checking")], SystemClock(), group="readers"
    )


@pytest.mark.parametrize(
    ("what", "password", "trust"),
    [
        ("does not accept", "wrong-password", "ours"),
        ("no TLS connection", PASSWORDS["node"], "of somebody else"),
        ("ssl.ca.location", PASSWORDS["node"], "nothing"),
    ],
)
async def test_who_is_not_let_in_is_told_why_without_the_password(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, password: str, trust: str
) -> None:
    caplog.set_level(logging.DEBUG)
    other = await asyncio.to_thread(secured, tmp_path, PASSWORDS)
    file = {"ours": guarded.certificate, "of somebody else": other.certificate, "nothing": Path(__file__)}[trust]
    cluster = guarded.cluster("node", password, trust=str(file), wait_ms=4000)
    with pytest.raises((JournalRefused, SettingsError), match=what) as error:
        await ensure(cluster, all_topics(cluster), SystemClock())
    shown = str(error.value) + repr(error.value) + repr(error.value.details) + caplog.text
    assert not [secret for secret in (*PASSWORDS.values(), "wrong-password") if secret in shown]


async def test_who_speaks_tls_to_a_listener_without_it_is_told(guarded: Guarded) -> None:
    address = parse_address(f"kafka://{guarded.inside}")
    cluster = msgspec.structs.replace(guarded.cluster("node", wait_ms=5000), address=address)
    with Admin(cluster) as admin, pytest.raises(JournalUnreachable, match="a listener that speaks TLS"):
        await asyncio.to_thread(admin.describe_topics, ["any"])


async def test_copies_that_the_cluster_refuses_are_not_tried_again(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rights were given for each transactional id, but not for those of copies."""
    for name, value in {"TURNS_MIN": 1, "LOOK_S": 0.02, "AGAIN_S": 0.02, "REST": 0}.items():
        monkeypatch.setattr(copying, name, value)
    topics = [AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS, AclOperation.CREATE]
    prefix = "uncopied."
    rights = [(ResourceType.TOPIC, prefix, operation) for operation in topics]
    await asyncio.to_thread(allow, guarded.inside, "uncopied", rights, prefixed=True)
    ids = [(ResourceType.TRANSACTIONAL_ID, f"{prefix}evento.{name}", AclOperation.WRITE) for name in ("0", "catalog")]
    await asyncio.to_thread(allow, guarded.inside, "uncopied", [(ResourceType.GROUP, f"{prefix}evento", AclOperation.READ), *ids])
    cluster = guarded.cluster("uncopied")
    cluster = msgspec.structs.replace(cluster, address=msgspec.structs.replace(cluster.address, prefix=prefix, partitions=1))
    async with asyncio.timeout(ANSWER_S), open_kafka(cluster, tmp_path, SystemClock()) as journal:
        await journal.provide([EntityPlace("bank", "Account")])
        async with journal.own(0) as partition:
            await appended(partition, *(run(key, 0, "a") for key in keys(journal, 3)))
            while not (told := [text for text in caplog.messages if "not copied" in text]):  # noqa: ASYNC110  it is a thread
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            await appended(partition, *(run(key, 1, "b") for key in keys(journal, 3)))
    assert told == [text for text in caplog.messages if "not copied" in text]
    assert "not copied any more: WRITE on transactional id uncopied.evento.0.copies is missing: kafka-acls.sh" in told[0]
    assert told[0].endswith(f" --resource-pattern-type prefixed --transactional-id {prefix}evento.")
