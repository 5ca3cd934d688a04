"""What a node on Kafka tells of itself: that it reads its partitions and is not ready, and what its owners do, as metrics."""

import json
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.clients import Sender
from tests.faults.node import Node, eventually
from tests.faults.nodes import Nodes, running
from tests.kafka.client import ANSWER_S, producer
from tests.kafka.fixtures import Running, delete_topics

COMMANDS = 40
AWHILE_S = 180.0
PATIENT = {"EVENTO_KAFKA_SESSION_S": "30"}  # what is slow is not taken for what stood still, and takes nothing over again


@pytest.fixture
def nodes(kafka_broker: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """One node with one partition."""
    prefix = f"t{secrets.token_hex(4)}."
    with running(tmp_path_factory.mktemp("health"), kafka_broker.bootstrap, prefix, count=1, partitions=1, env=PATIENT) as found:
        yield found
    delete_topics(kafka_broker.bootstrap, prefix)


async def send(nodes: Nodes, what: str, count: int = COMMANDS) -> None:
    deposits = [bank.command("ada", "ReceiveDeposit", {"amount": "1.00"}, f"{what}-{number}") for number in range(count)]
    await Sender(nodes.urls[0], History()).send_all(deposits)


def ask(node: Node, path: str) -> tuple[int, str]:
    """Return status and text; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(node.url + path, timeout=ANSWER_S) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metrics(node: Node) -> dict[tuple[str, ...], float]:
    """Return the samples of a node by name and label values."""
    families = text_string_to_metric_families(ask(node, "/metrics")[1])
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def restoring(node: Node) -> list[Json]:
    status, text = ask(node, "/healthz")
    return list(json.loads(text)["restoring"]) if status else []


async def test_a_node_that_reads_its_partitions_lives_and_is_not_ready_and_tells_how_far_it_is(nodes: Nodes) -> None:
    (node,), deployment = nodes.nodes, nodes.deployment
    await send(nodes, "before")
    assert node.stop() == 0
    shutil.rmtree(node.data)
    open_commit = producer(deployment.bootstrap, "stranger")  # until it is ended, nobody can read the outcomes to their end
    open_commit.begin_transaction()
    open_commit.produce(deployment.outcomes, b"never", b"nobody", partition=0)
    assert open_commit.flush(ANSWER_S) == 0
    node.spawn()
    for _ in eventually("it tells how far it is", AWHILE_S):
        if restoring(node):
            break
    (found,) = restoring(node)
    assert (found["partition"], found["done"]) == (0, COMMANDS)
    assert found["total"] > COMMANDS
    assert ask(node, "/livez")[0] == 200
    status, why = ask(node, "/readyz")
    assert (status, why) == (503, f"these partitions are being read: 0 ({COMMANDS} of {found['total']} records)\n")
    told = metrics(node)
    assert told["evento_partition_restore_records", "0"] == found["total"] - COMMANDS
    assert (told["evento_partitions_owned",], told["evento_partitions_ownerless",]) == (0, 1)
    open_commit.abort_transaction(ANSWER_S)
    node.wait_ready()
    assert restoring(node) == []
    told = metrics(node)
    assert told["evento_partition_restore_records", "0"] == 0
    assert (told["evento_partitions_owned",], told["evento_partitions_ownerless",]) == (1, 0)
    assert told["evento_partition_take_over_seconds_count",] == 1


async def test_commits_and_what_ends_an_owner_are_counted(nodes: Nodes) -> None:
    (node,), deployment = nodes.nodes, nodes.deployment
    await send(nodes, "before")
    told = metrics(node)
    assert 1 <= told["evento_journal_commit_seconds_count",] <= COMMANDS + 1
    assert told["evento_journal_commit_records_total",] >= 2 * COMMANDS  # an event and an outcome of each
    assert not [name for name in told if name[0] == "evento_journal_commit_failures_total"]
    producer(deployment.bootstrap, f"{deployment.prefix}evento.0")  # whoever takes the owner's transactional id fences it
    await send(nodes, "after", 1)
    told = metrics(node)
    assert told["evento_journal_commit_failures_total", "journal-rewind"] == 1
    assert told["evento_partition_take_over_seconds_count",] == 2
    assert told["evento_partitions_owned",] == 1
