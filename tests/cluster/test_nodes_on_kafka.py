"""Two real nodes on a real broker: any of them does for any Command, and one that is killed costs its clients time alone."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cluster.members import SECRET, SOURCE
from tests.faults.node import Node, eventually
from tests.kafka.fixtures import Kafka

PARTITIONS = 4
LINES = 24_000  # some seconds
NAMES = [f"c{number}" for number in range(24)]


@contextmanager
def two_nodes(folder: Path, kafka: Kafka) -> Iterator[tuple[Node, Node]]:
    env = {"EVENTO_JOURNAL": kafka.address(partitions=PARTITIONS), "EVENTO_CLUSTER_SECRET": SECRET}
    with Node(folder / "first", env=env) as first, Node(folder / "second", env=env) as second:
        first.start()
        first.deploy(SOURCE)
        second.start()
        wait_spread(first, second)
        yield first, second


def wait_spread(*nodes: Node) -> None:
    """Wait until every node knows of every partition, and each has some."""
    for _ in eventually("the partitions are spread", 120):
        told = [json.load(urllib.request.urlopen(node.url + "/healthz")) for node in nodes]  # noqa: S310
        places = [{part["number"]: part["node"] for part in status["partitions"]} for status in told]
        if all(place == places[0] for place in places) and set(places[0].values()) == {node.url for node in nodes}:
            return


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as running:
        yield running


@pytest.fixture
def nodes(tmp_path: Path, kafka: Kafka) -> Iterator[tuple[Node, Node]]:
    with two_nodes(tmp_path, kafka) as running:
        yield running


async def count(session: aiohttp.ClientSession, node: Node, name: str, **headers: str) -> tuple[int, Any]:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    async with session.post(f"{node.url}/v1/tests/Counter/{name}/Count", json={"by": 1}, headers=named) as response:
        return response.status, await response.json()


async def get(session: aiohttp.ClientSession, node: Node, path: str) -> Any:
    async with session.get(node.url + path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_any_of_two_nodes_does(nodes: tuple[Node, Node], session: aiohttp.ClientSession) -> None:
    for name in NAMES:
        for version, node in enumerate(nodes, 1):
            status, told = await count(session, node, name, idempotency_key=f"k{version}")
            assert (status, told["version"], told["duplicate"]) == (200, version, False)
            assert [(await get(session, each, f"/v1/tests/Counter/{name}"))["version"] for each in nodes] == [version] * 2
        status, told = await count(session, nodes[0], name, idempotency_key="k2")
        assert (status, told["version"], told["duplicate"]) == (200, 2, True)
    for node in nodes:
        listed = await get(session, node, "/v1/tests/Counter?limit=1000")
        assert [each["id"] for each in listed["instances"]] == sorted(NAMES)


@pytest.mark.slow
async def test_a_node_that_is_killed_costs_time_and_nothing_else(nodes: tuple[Node, Node], session: aiohttp.ClientSession) -> None:
    first, second = nodes
    lines = [
        {
            "entity": "tests/Counter",
            "id": NAMES[at % len(NAMES)],
            "command": "Count",
            "data": {"by": at + 1},
            "command_id": f"s{at}",
        }
        for at in range(LINES)
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    headers = {"prefer": "wait=60", "content-type": "application/x-ndjson"}

    async def stream() -> list[Any]:
        async with session.post(f"{first.url}/v1/commands", data=body, headers=headers, timeout=None) as response:
            return [json.loads(line) for line in (await response.read()).splitlines()]

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stream())
        await asyncio.sleep(0.5)
        assert not sending.done(), "too fast to be in the middle of it"
        await asyncio.to_thread(second.kill)
        for at, told in enumerate(await sending):
            assert (told.get("outcome"), told["duplicate"]) == ("succeeded", False), told
            assert told["events"][0]["data"]["after"] == max(0, at + 1 - len(NAMES)), told
    await asyncio.to_thread(second.start)
    await asyncio.to_thread(wait_spread, first, second)
    versions = [(await get(session, second, f"/v1/tests/Counter/{name}"))["version"] for name in NAMES]
    assert versions == [len(lines) // len(NAMES)] * len(NAMES)
