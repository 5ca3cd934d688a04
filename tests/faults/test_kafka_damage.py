"""Damage that others do on Kafka: offsets reset, records deleted, topics made anew, records put where they do not belong.

What can be gone around is; the rest stops what it concerns, with a sentence that says what to do, and nothing else.
See reliability.md §7, 13 to 16 and 55.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.node import Node
from tests.faults.nodes import PARTITIONS, Nodes, Outside, Roaming, running, until
from tests.faults.shop import Shop
from tests.faults.test_kafka_health import ask, metrics
from tests.faults.test_outage import AWAY, SOUND
from tests.faults.topics import Deployment, Reading, check, lags, murmur2
from tests.kafka.broker import quiet
from tests.kafka.client import ANSWER_S, make_topic
from tests.kafka.fixtures import Kafka

ACCOUNTS = [f"account-{number}" for number in range(12)]


def deposits(what: str, count: int) -> list[Json]:
    rows = [(number, account) for number in range(1, count + 1) for account in ACCOUNTS]
    return [bank.command(account, "ReceiveDeposit", {"amount": f"{n}.00"}, f"{what}-{n}") for n, account in rows]


def home(account: str) -> int:
    return murmur2(account.encode()) % PARTITIONS


class Ward:
    """One node, what was sent to it, and an administrator of the brokers."""

    def __init__(self, nodes: Nodes, shop: Shop) -> None:
        self.nodes = nodes
        self.node: Node = nodes.nodes[0]
        self.deployment: Deployment = nodes.deployment
        self.commands = nodes.deployment.of_entity("commands")
        self.shop = shop
        self.outside = Outside(nodes.deployment)
        self.history = History()
        self.admin = AdminClient(quiet(nodes.deployment.bootstrap))

    async def send(self, commands: list[Json]) -> None:
        await Roaming([self.node.url], self.history).send_all(commands)

    async def put(self, commands: list[Json]) -> None:
        await self.outside.send_all(commands, self.history, 0.0)
        await until(lambda: not any(lags(self.deployment).values()), "all records are done with")

    async def judge(self) -> None:
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in self.history.invoked.items()}
        finding = await asyncio.to_thread(check, self.deployment, sent, bank.fold)
        assert not finding.broken, finding.broken[:20]
        self.node.verify()


@asynccontextmanager
async def ward(kafka: Kafka, folder: Path) -> AsyncIterator[Ward]:
    shop = Shop(folder / "shop")
    starting = running(folder, kafka.bootstrap, kafka.prefix, count=1, module=shop.folder)
    nodes = await asyncio.to_thread(starting.__enter__)
    try:
        yield Ward(nodes, shop)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_the_groups_offsets_may_be_deleted_or_reset_and_nothing_is_read_twice_or_left_out(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with ward(kafka, tmp_path) as patient:
        await patient.put(deposits("first", 3))
        for number, damage in enumerate((to_beginning, to_end, deleted)):
            patient.node.stop()
            if damage is to_end:
                await patient.outside.send_all(deposits("unread", 2), patient.history, 0.0)
            damage(patient)
            patient.node.start()
            await patient.put(deposits(f"after-{number}", 2))
        await patient.judge()


def to_beginning(patient: Ward) -> None:
    reset(patient, lambda number: 0)


def to_end(patient: Ward) -> None:
    reset(patient, lambda number: 10_000)


def reset(patient: Ward, offset: Callable[[int], int]) -> None:
    places = [TopicPartition(patient.commands, number, offset(number)) for number in range(PARTITIONS)]
    for altered in patient.admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(patient.deployment.group, places)]
    ).values():
        altered.result(ANSWER_S)


def deleted(patient: Ward) -> None:
    for gone in patient.admin.delete_consumer_groups([patient.deployment.group]).values():
        gone.result(ANSWER_S)


async def test_records_that_nobody_has_read_and_that_are_gone_stop_the_intake_of_their_partition_alone(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with ward(kafka, tmp_path) as patient:
        await patient.put(deposits("before", 2))
        patient.shop.write(AWAY + SOUND)  # not deployed: what is deployed must be ready first
        await asyncio.to_thread(patient.node.end_function)
        lost = deposits("lost", 2)
        await patient.outside.send_all(lost, History(), 0.0)
        patient.node.stop()
        partition = home(ACCOUNTS[0])
        truncate(patient, partition)
        patient.shop.mend()
        patient.node.spawn()
        await until(lambda: "records that nobody has read were deleted" in patient.node.log(), "it is told")
        patient.node.wait_ready()
        patient.node.deploy(patient.shop.folder)
        for command in lost:
            if home(command["id"]) != partition:
                patient.history.invoke(command)
        await patient.send(deposits("over-http", 2))  # also where the intake stands still
        await asyncio.to_thread(see_stopped, patient, partition)
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in patient.history.invoked.items()}
        finding = await asyncio.to_thread(check, patient.deployment, sent, bank.fold, unfinished=True)
        assert not finding.broken, finding.broken[:20]
        assert finding.outcomes["rejected"] == len(sent)
        await asyncio.to_thread(make_anew, patient)
        await until(lambda: not any(stopped(patient).values()), "the intake goes on")
        await patient.put(deposits("anew", 1))


async def test_a_topic_of_commands_that_was_made_anew_is_read_from_its_beginning_and_nothing_is_done_twice(
    kafka: Kafka, tmp_path: Path
) -> None:
    """It has more records than the one before when the node comes back: offsets alone would say that all but the last are done."""
    async with ward(kafka, tmp_path) as patient:
        await patient.put(before := deposits("before", 2))
        patient.node.stop()
        make_anew(patient)
        await patient.outside.send_all(before + deposits("anew", 3), patient.history, 0.0)
        patient.node.start()
        await until(lambda: not any(lags(patient.deployment).values()), "all records are done with")
        assert patient.node.log().count("was deleted and made anew") == PARTITIONS
        await patient.send(deposits("over-http", 2))
        patient.node.stop()
        patient.node.start()
        await patient.put(deposits("afterwards", 2))
        await patient.judge()
        assert patient.node.log().count("was deleted and made anew") == PARTITIONS


async def test_a_topic_of_commands_that_is_deleted_under_a_running_node_stops_nothing_but_itself(
    kafka: Kafka, tmp_path: Path
) -> None:
    async with ward(kafka, tmp_path) as patient:
        await patient.put(deposits("before", 2))
        for gone in patient.admin.delete_topics([patient.commands]).values():
            gone.result(ANSWER_S)
        await patient.send(deposits("over-http", 2))
        await patient.send(deposits("afterwards", 2))
        assert patient.node.running


async def test_what_is_lost_with_a_topic_is_told_and_caches_are_made_anew(kafka: Kafka, tmp_path: Path) -> None:
    async with ward(kafka, tmp_path) as patient:
        await patient.send(bank.opening(ACCOUNTS) + deposits("before", 1))
        later = ("ReceiveDeposit", "amount=5.00", "--due", "2999-01-01T00:00:00Z", "--wait", "0")
        patient.node.evento("send", f"bank/Checking/{ACCOUNTS[0]}", *later)
        patient.node.stop()
        state, events = (patient.deployment.of_entity(kind) for kind in ("state", "events"))
        delete(patient, state, f"{kafka.prefix}evento.replicas")
        patient.node.start()
        assert f"topic {state} was gone, and is made anew" in patient.node.log()
        await patient.send(deposits("after", 1))
        patient.node.verify()
        delete(patient, events)
        sending = asyncio.create_task(patient.send(deposits("never", 1)))
        await until(lambda: not patient.node.running, "the node ends")
        sending.cancel()
        assert f"{events} are gone" in patient.node.log()
        for topic, held in (
            (events, "every Event of this Entity"),
            (patient.deployment.pending, "every Command that was accepted"),
        ):
            delete(patient, topic)
            patient.node.spawn()
            await until(lambda: not patient.node.running, "the node ends again")
            assert f"topic {topic} was there and is gone, and with it {held}" in " ".join(patient.node.log().split())
        assert "hint: restore what is gone" in patient.node.log()
        there = patient.admin.list_topics(timeout=ANSWER_S).topics
        assert not there.keys() & {events, patient.deployment.pending}


def delete(patient: Ward, *topics: str) -> None:
    for gone in patient.admin.delete_topics(list(topics)).values():
        with suppress(KafkaException):  # it is gone already
            gone.result(ANSWER_S)


def see_stopped(patient: Ward, partition: int) -> None:
    """Insist that the node shows which partition's topics of Commands it does not read any more, and says why."""
    [told] = json.loads(ask(patient.node, "/healthz")[1])["intakes_stopped"]
    assert told["partition"] == partition
    assert told["message"].startswith(f"{patient.commands}[{partition}] has offsets")
    assert stopped(patient) == {str(number): float(number == partition) for number in range(PARTITIONS)}
    assert f"partition {partition} takes no records: {patient.commands}" in patient.node.evento("status")


def stopped(patient: Ward) -> dict[str, float]:
    found = {name: value for name, value in metrics(patient.node).items() if name[0] == "evento_partition_intake_stopped"}
    return {partition: value for (_, partition), value in found.items()}


def truncate(patient: Ward, partition: int) -> None:
    end = lags(patient.deployment)[partition]
    done = {place.partition: place.offset for place in committed(patient)}
    for gone in patient.admin.delete_records([TopicPartition(patient.commands, partition, done[partition] + end - 1)]).values():
        gone.result(ANSWER_S)


def committed(patient: Ward) -> list[TopicPartition]:
    [found] = patient.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(patient.deployment.group)]).values()
    return [place for place in found.result(ANSWER_S).topic_partitions if place.topic == patient.commands]


def make_anew(patient: Ward) -> None:
    settings = {"min.insync.replicas": "1", "max.message.bytes": "1048576", "unclean.leader.election.enable": "false"}
    for gone in patient.admin.delete_topics([patient.commands]).values():
        gone.result(ANSWER_S)
    give_up = time.monotonic() + ANSWER_S
    while True:
        try:
            make_topic(
                patient.deployment.bootstrap,
                patient.commands,
                partitions=PARTITIONS,
                config={**settings, "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
            )
            return
        except KafkaException:  # the old one is not gone yet
            assert time.monotonic() < give_up
            time.sleep(0.2)


def forged_event(patient: Ward, account: str) -> None:
    """Put an event on the topic that no Command ended in."""
    put(patient, "events", account, ce_type="bank.CashWithdrawn", version=4)


def forged_state(patient: Ward, account: str) -> None:
    """Put a state on the topic that is newer than everything."""
    put(patient, "state", account, ce_type="", version=77)


def put(patient: Ward, kind: str, account: str, *, ce_type: str, version: int) -> None:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"bank/Checking/{account}/{version}",
        "ce_source": "/bank/Checking",
        "ce_type": ce_type,
        "ce_subject": account,
        "ce_time": "2026-01-01T00:00:00.000000Z",
        "ce_sequence": f"{version:020}",
        "ce_partitionkey": account,
        "ce_correlationid": "forged",
        "ce_causationid": "forged",
        "content-type": "application/avro",
        "evento-revision": "forged",
        "evento-version": str(version),
    }
    value = patient.outside.encode("WithdrawCash", {"amount": "1000000.00"})
    topic = patient.deployment.of_entity(kind)
    write(patient, topic, home(account), (value, account.encode(), [(name, text.encode()) for name, text in headers.items()]))


def repeated_event(patient: Ward, account: str) -> None:
    """Put the first event of the partition on the topic once more."""
    repeat(patient, patient.deployment.of_entity("events"), home(account))


def repeated_outcome(patient: Ward, account: str) -> None:
    """Put the first outcome of the partition on the topic once more."""
    repeat(patient, patient.deployment.outcomes, home(account))


def repeat(patient: Ward, topic: str, partition: int) -> None:
    with Reading(patient.deployment.bootstrap) as reading:
        first = reading.read(topic, partition)[0]
    write(patient, topic, partition, (first.value(), first.key(), first.headers()))


def write(patient: Ward, topic: str, partition: int, record: tuple[Any, Any, Any]) -> None:
    value, key, headers = record
    producer = Producer(quiet(patient.deployment.bootstrap))
    producer.produce(topic, value, key, partition, headers=headers)
    assert producer.flush(ANSWER_S) == 0


async def test_a_node_that_ends_at_what_contradicts_itself_says_how_it_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    async with ward(kafka, tmp_path) as patient:
        await patient.send(bank.opening(ACCOUNTS))
        await asyncio.to_thread(forged_event, patient, ACCOUNTS[0])
        patient.node.stop()
        patient.node.spawn()
        await until(lambda: not patient.node.running, "the node ends")
        assert "has no outcome: a commit was torn" in patient.node.log()
        assert "hint: put right what is named" in patient.node.log()


async def test_records_that_somebody_else_put_among_the_platforms_own_are_found_by_verify(kafka: Kafka, tmp_path: Path) -> None:
    """One in each partition. And they are found by the checker of these tests, which would show nothing if it did not."""
    homes = {home(account): account for account in ACCOUNTS}
    assert len(homes) == PARTITIONS
    async with ward(kafka, tmp_path) as patient:
        await patient.send(bank.opening(ACCOUNTS) + deposits("fine", 2))
        await patient.judge()
        forges = (forged_event, forged_state, repeated_event, repeated_outcome)
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in patient.history.invoked.items()}
        known = 0
        for forge, account in zip(forges, homes.values(), strict=True):
            await asyncio.to_thread(forge, patient, account)
            broken = (await asyncio.to_thread(check, patient.deployment, sent, bank.fold)).broken
            assert len(broken) > known, forge
            known = len(broken)
        found = await asyncio.to_thread(patient.node.evento, "verify", status=1)
        assert all(f"[{partition}]" in found for partition in homes), found
