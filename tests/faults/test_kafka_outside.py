"""What nobody here wrote reads the topics of a real node, and writes to them: Confluent's clients, the CloudEvents library, kcat,
and a Java program with Apache Avro. The example programs are run as the how-to pages tell to run them.

What they find is held against what the API tells. On the topic of Events stands a record that was never committed as well.
"""

import asyncio
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from confluent_kafka import Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from evento.client import Client
from tests.docs.walkthrough import blocks, commands
from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.clients import read_stream
from tests.faults.nodes import Nodes, Outside, Roaming, running, until
from tests.faults.topics import Deployment, Reading, lags
from tests.journal.test_kafka_records import Bytes
from tests.kafka.broker import ROOT
from tests.kafka.client import ANSWER_S, producer
from tests.kafka.fixtures import Running, delete_topics

ACCOUNTS = ["ada", "Zoë 1", "grace"]
JAVA = ROOT / "build" / "kafka" / "java"
HOW_TO = ROOT / "docs" / "how-to"
PROGRAM_S = 240.0
_KCAT = re.compile(r"^(.*) \d+ ce_specversion=1\.0,.*,ce_type=bank\.(\w+),ce_subject=\1,.*,ce_sequence=(\d{20}),", re.M)
_JAVA = re.compile(r"^(.*) (\d+) bank\.(\w+) (\{.*\})$", re.M)
_PYTHON = re.compile(
    r"'instance': '(?P<key>.*?)', 'version': (?P<version>\d+), 'type': 'bank\.(?P<type>\w+)', 'rejection': (?P<rejection>\w+),"
)


class Told(NamedTuple):
    """A deployment, and what the API tells of it: the events of each instance in order, and its state."""

    deployment: Deployment
    events: dict[str, list[Json]]
    states: dict[str, Json]

    @property
    def registry(self) -> str:
        return f"{self.deployment.url}/registry"

    @property
    def facts(self) -> set[tuple[str, int, str]]:
        """Instance, version and type of each event."""
        return {(account, each["version"], each["type"]) for account, events in self.events.items() for each in events}


@pytest.fixture(scope="module")
def nodes(kafka_broker: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    prefix = f"t{secrets.token_hex(4)}."
    with running(tmp_path_factory.mktemp("outside"), kafka_broker.bootstrap, prefix, count=1, partitions=3) as found:
        yield found
    delete_topics(kafka_broker.bootstrap, prefix)


@pytest.fixture
async def told(nodes: Nodes) -> Told:
    """Commands that came over HTTP and by Kafka, and what became of them. Sent again for each test, with the same ids."""
    deployment = nodes.deployment
    opened = [
        bank.command(account, "OpenChecking", {"owner": account, "overdraft_limit": "0.00"}, f"open-{account[0]}")
        for account in ACCOUNTS
    ]
    await Roaming(nodes.urls, History()).send_all(
        [*opened, *(bank.command(account, "ReceiveDeposit", {"amount": "200.00"}, "salary") for account in ACCOUNTS)]
    )
    by_kafka = [bank.command(account, "WithdrawCash", {"amount": "30.50"}, "cash") for account in ACCOUNTS]
    by_kafka += [bank.command(account, "WithdrawCash", {"amount": "1000.00"}, "too-much") for account in ACCOUNTS]
    await Outside(deployment).send_all(by_kafka, History(), 0.0)
    await until(lambda: not any(lags(deployment).values()), "all Commands' records are done with")
    never_happened(deployment)
    async with Client(nodes.urls[0]) as client:
        events = {account: await read_stream(client, f"bank/Checking/{account}") for account in ACCOUNTS}
        states = {account: await client.get(f"bank/Checking/{account}") for account in ACCOUNTS}
    return Told(deployment, events, states)


def never_happened(deployment: Deployment) -> None:
    """Write a record into each partition of the Events, and abort: who reads only what is committed does not see it."""
    aborting = producer(deployment.bootstrap, "nobody")
    aborting.begin_transaction()
    for number in range(deployment.partitions):
        aborting.produce(deployment.of_entity("events"), b"never", b"nobody", partition=number)
    aborting.flush(ANSWER_S)
    aborting.abort_transaction(ANSWER_S)


def read(deployment: Deployment, topic: str) -> list[Message]:
    with Reading(deployment.bootstrap) as reading:
        return [message for number in range(deployment.partitions) for message in reading.read(topic, number)]


def plain(data: Mapping[str, Any]) -> Json:
    """Return what a deserializer made as the API's JSON has it."""
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in data.items()}


class Deserializing:
    """Confluent's deserializer, with the node as its registry."""

    def __init__(self, told: Told) -> None:
        self._deserialize = AvroDeserializer(SchemaRegistryClient({"url": told.registry}))

    def __call__(self, message: Message) -> Any:
        context = SerializationContext(message.topic(), MessageField.VALUE, message.headers())
        return self._deserialize(message.value(), context)


def said(message: Message, name: str) -> str:
    return dict(message.headers())[name].decode()


# ---------------------------------------------------------------------- libraries
def test_confluents_deserializer_reads_events_states_and_outcomes(told: Told) -> None:
    deployment, value_of = told.deployment, Deserializing(told)
    events: dict[str, list[Any]] = {}
    for message in read(deployment, deployment.of_entity("events")):
        found = int(said(message, "ce_sequence")), said(message, "ce_type"), plain(value_of(message))
        events.setdefault(message.key().decode(), []).append(found)
    assert events == {
        account: [(each["version"], f"bank.{each['type']}", each["data"]) for each in its] for account, its in told.events.items()
    }
    newest = {message.key().decode(): message for message in read(deployment, deployment.of_entity("state"))}
    assert {account: plain(value_of(message)) for account, message in newest.items()} == {
        account: each["state"] for account, each in told.states.items()
    }
    assert {account: int(said(message, "evento-version")) for account, message in newest.items()} == {
        account: each["version"] for account, each in told.states.items()
    }


def test_confluents_deserializer_reads_an_outcome_for_each_command(told: Told) -> None:
    outcomes = [(message, Deserializing(told)(message)) for message in read(told.deployment, told.deployment.outcomes)]
    for message, each in outcomes:
        assert message.key().decode() == f"{each['namespace']}/{each['entity']}/{each['instance_id']}"
        assert (said(message, "evento-command-id"), said(message, "evento-outcome")) == (each["command_id"], each["outcome"])
    ended = {(each["instance_id"], each["command_id"]): each for _, each in outcomes}
    assert len(ended) == len(outcomes)
    for account, events in told.events.items():
        for event in events:
            turn = ended.pop((account, event["command_id"]))["turn"]
            assert (turn["before"] + 1, [each["type"] for each in turn["events"]]) == (event["version"], [event["type"]])
    assert not ended


def test_the_cloudevents_library_reads_every_event(told: Told) -> None:
    found = set()
    for message in read(told.deployment, told.deployment.of_entity("events")):
        event = from_binary(KafkaMessage(dict(message.headers()), message.key(), message.value()), Bytes())
        place, number = event.get_source(), int(event.get_extension("sequence"))
        subject = event.get_subject()
        assert event.get_id() == f"{place.removeprefix('/')}/{subject}/{number}"
        assert event.get_extension("partitionkey") == subject
        assert event.get_data() == message.value()
        known = told.events[subject][number - 1]
        assert event.get_time() == datetime.fromisoformat(known["time"])
        assert event.get_extension("causationid") == known["command_id"]
        found.add((subject, number, event.get_type().removeprefix("bank.")))
    assert found == told.facts


# ---------------------------------------------------------------------- programs, as the pages show them
def command_of(page: str, program: str, told: Told) -> list[str]:
    """Return the command line with a program's name on a page, with the addresses and names of this deployment."""
    texts = [text for block in blocks(HOW_TO / page) if block.kind == "console" for text, _ in commands(block.text)]
    (found,) = [text for text in texts if program in text.split("|")[0]]
    found = found.replace("localhost:9092", told.deployment.bootstrap).replace("http://localhost:7070", told.deployment.url)
    found = found.replace("bank.Checking.events", told.deployment.of_entity("events"))
    found = found.replace("examples/kafka/java/target", str(JAVA))
    words = shlex.split(found)
    return ["env", f"PREFIX={told.deployment.prefix}", *([sys.executable, *words[1:]] if words[0] == "python" else words)]


def run(command: Sequence[str]) -> bytes:
    """Return what a program that ends by itself prints."""
    ended = subprocess.run(command, capture_output=True, check=False, timeout=PROGRAM_S, cwd=ROOT)
    assert ended.returncode == 0, f"{command}\n{ended.stdout.decode()}{ended.stderr.decode()}"
    return ended.stdout


@contextmanager
def printing(command: Sequence[str]) -> Iterator[Iterator[str]]:
    """Give the lines that a program prints, until it is told Ctrl-C. One that goes on tells what it is at."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    ) as began:
        assert began.stdout is not None
        try:
            yield iter(began.stdout)
        finally:
            began.send_signal(signal.SIGINT)
            try:
                assert began.wait(PROGRAM_S) == 0
            except subprocess.TimeoutExpired:
                began.send_signal(signal.SIGABRT)
                began.wait(PROGRAM_S)
                raise
            finally:
                began.kill()


def need(fact: bool, what: str) -> None:
    """Skip the test if something is not here; in CI that is a failure."""
    if not fact:
        reason = f"{what} is not here: scripts/kafka-broker gets it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def test_kcat_shows_keys_headers_and_bytes(told: Told) -> None:
    need(shutil.which("kcat") is not None, "kcat")
    shown = run(command_of("consume-events.md", "kcat", told)).decode()
    assert {(key, int(version), kind) for key, kind, version in _KCAT.findall(shown)} == told.facts
    assert shown.count("\n") == len(told.facts)
    message = read(told.deployment, told.deployment.of_entity("events"))[0]
    place = ["-t", str(message.topic()), "-p", str(message.partition()), "-o", str(message.offset()), "-c", "1"]
    assert run(["kcat", "-C", "-b", told.deployment.bootstrap, *place, "-f", "%s"]) == message.value()


def test_the_python_example_prints_every_event_once(told: Told) -> None:
    with printing(command_of("consume-events.md", "read_events.py", told)) as lines:
        found = [_PYTHON.search(next(lines)) for _ in told.facts]
    assert {(each["key"], int(each["version"]), each["type"]) for each in found if each} == told.facts
    assert all((each["rejection"] == "True") == each["type"].endswith("Rejected") for each in found if each)


async def test_the_python_example_sends_a_command_and_shows_its_outcome(told: Told) -> None:
    shown = await asyncio.to_thread(run, command_of("produce-commands.md", "send_command.py", told))
    assert "'command_id': 'order-17', 'outcome': 'succeeded'" in shown.decode()
    await executed(told, "order-17")


def test_the_java_example_prints_every_event_once(told: Told) -> None:
    need(JAVA.is_dir(), "the example in Java")
    shown = run([*command_of("consume-events.md", "ReadEvents", told), str(len(told.facts))]).decode()
    found = {(key, int(version), kind): json.loads(data) for key, version, kind, data in _JAVA.findall(shown)}
    assert found.keys() == told.facts
    for (account, version, _), data in found.items():
        known = told.events[account][version - 1]["data"]
        assert {name: Decimal(str(value)) if name != "owner" else value for name, value in data.items() if name != "reason"} == {
            name: Decimal(value) if name != "owner" else value for name, value in known.items() if name != "reason"
        }
        assert data.get("reason") == known.get("reason")


async def test_the_java_example_sends_a_command(told: Told) -> None:
    need(JAVA.is_dir(), "the example in Java")
    command = [word.replace("order-17", "order-java") for word in command_of("produce-commands.md", "SendCommand", told)]
    assert await asyncio.to_thread(run, command) == b"order-java\n"
    await executed(told, "order-java")


async def executed(told: Told, command_id: str) -> None:
    """Wait until ada's account has the Command that a page shows, and see what it did."""
    await until(lambda: not any(lags(told.deployment).values()), "all Commands' records are done with")
    async with Client(told.deployment.url) as client:
        outcome = await client.outcome("bank/Checking/ada", command_id)
    (event,) = outcome["events"]
    assert (outcome["outcome"], event["type"], event["data"]) == ("succeeded", "CashWithdrawn", {"amount": "40.00"})
