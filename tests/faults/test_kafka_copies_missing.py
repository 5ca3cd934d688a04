"""Fewer copies than a commit needs, as clients over HTTP see it (reliability §7, 9): told to come again, and nothing is lost."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.clients import Sender
from tests.faults.node import eventually
from tests.faults.nodes import Nodes, running
from tests.faults.topics import check, standing
from tests.kafka.broker import Cluster, quiet
from tests.kafka.client import ANSWER_S

PREFIX = "copies."
WAIT_S = 1


def deposits(what: str, count: int) -> list[Json]:
    return [bank.command("ada", "ReceiveDeposit", {"amount": "1.00"}, f"{what}-{number}") for number in range(count)]


def post(nodes: Nodes, command: Json) -> tuple[int, int, Json]:
    """Send a Command; return the status, after how many seconds to come again, and what was said."""
    request = urllib.request.Request(  # noqa: S310
        f"{nodes.urls[0]}/v1/{command['entity']}/{command['id']}/{command['command']}",
        json.dumps(command["data"]).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": command["command_id"], "Prefer": f"wait={WAIT_S}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return answer.status, 0, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, int(error.headers.get("Retry-After") or 0), json.load(error)


@pytest.fixture
def nodes(kafka_cluster: Cluster, tmp_path: Path) -> Iterator[Nodes]:
    """One node on topics with two copies each, both of which a commit needs."""
    with running(tmp_path, kafka_cluster.bootstrap, PREFIX, count=1, partitions=1, replication=2) as found:
        yield found


def copies(cluster: Cluster, topic: str) -> tuple[list[int], list[int]]:
    """Return the brokers that have copies of a topic's first partition, its leader first, and those that are in step."""
    place = AdminClient(quiet(cluster.bootstrap)).list_topics(topic, timeout=ANSWER_S).topics[topic].partitions[0]
    return sorted(place.replicas, key=lambda number: number != place.leader), list(place.isrs)


async def refused(nodes: Nodes, history: History, commands: Sequence[Json]) -> None:
    """Send Commands, and see that each is told to come again, as nothing that is told can be durable."""
    for command in commands:
        history.invoke(command)
    for status, again_s, said in await asyncio.gather(*(asyncio.to_thread(post, nodes, command) for command in commands)):
        assert status == 503, said
        assert again_s > 0, said


@pytest.mark.slow
async def test_with_fewer_copies_than_a_commit_needs_clients_are_told_to_come_again_and_nothing_is_lost(
    nodes: Nodes, kafka_cluster: Cluster
) -> None:
    history, deployment = History(), nodes.deployment
    sender = Sender(nodes.urls[0], history)
    opened = bank.command("ada", "OpenChecking", {"owner": "ada", "overdraft_limit": "0.00"}, "open")
    await sender.send_all([opened, *deposits("before", 5)])
    (leader, other), _ = await asyncio.to_thread(copies, kafka_cluster, deployment.outcomes)
    await asyncio.to_thread(kafka_cluster.kill, other)
    for _ in eventually("the copy is no longer counted"):
        if (await asyncio.to_thread(copies, kafka_cluster, deployment.outcomes))[1] == [leader]:
            break
    await refused(nodes, history, missing := deposits("missing", 5))
    await asyncio.to_thread(kafka_cluster.mend)
    answers = await sender.send_all(missing)
    assert [answer["outcome"] for answer in answers] == ["succeeded"] * len(answers)
    sent = {(account, command_id): each["command"] for ((_, account), command_id), each in history.invoked.items()}
    finding = await asyncio.to_thread(check, deployment, sent, bank.fold)
    assert not finding.broken, finding.broken[:20]
    assert not await asyncio.to_thread(standing, deployment)
    await asyncio.to_thread(nodes.verify)
