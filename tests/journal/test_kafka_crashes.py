"""Nodes on a real broker that are killed, stopped, continued and replaced: each Command once, in order, nothing told is lost."""

import asyncio
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from evento.clock import SystemClock
from evento.journal.kafka.journal import open_kafka
from tests.journal.kafka_child import ENTITIES, cluster_at
from tests.journal.kafka_nodes import Node, assert_exactly_once
from tests.kafka.fixtures import Kafka

KILLS = 8
CHANGES, CHANGES_MAX = 6, 60  # so many, and more until owners have changed
OWNERS_MIN = 5
LOST_S = 3.0  # longer than a session
COUNT = 6_000
MANY = 20_000


async def assert_sound(address: str, folder: Path) -> None:
    async with open_kafka(cluster_at(address), folder, SystemClock()) as journal:
        await journal.provide(ENTITIES)
        assert list(await journal.check()) == []


def done(node: Node) -> list[set[str]]:
    """Return the Commands that a node has told as done, as it told them together."""
    return [set(line.split()[2:]) for line in list(node.said) if line.startswith("DONE")]


async def killed_after(node: Node, told: set[str], news: int, delay_s: float) -> None:
    """Kill a node that became an owner and has told of things that nobody knew before so many times, and a moment later."""
    try:
        await node.wait(lambda: node.has("OWN") > 0 and sum(not each <= told for each in done(node)) >= news)
        await asyncio.sleep(delay_s)
    finally:
        node.kill()


@pytest.mark.slow
async def test_killing_a_node_again_and_again_carries_out_every_command_once(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=2)
    chance = random.Random(7)
    told: set[str] = set()
    for _ in range(KILLS):
        node = Node(address, tmp_path / "node", COUNT)
        await killed_after(node, told, chance.randrange(6), chance.uniform(0.0, 0.05))
        told |= set[str]().union(*done(node))
    last = Node(address, tmp_path / "node", COUNT)
    try:
        await last.wait_said("END 0")
        await last.wait_said("END 1")
    finally:
        last.kill()
    assert len(told) > 100, "too little was done for the kills to mean anything"
    await asyncio.to_thread(assert_exactly_once, kafka, 2, COUNT)
    await assert_sound(address, tmp_path / "node")


@pytest.mark.slow
async def test_a_node_that_stood_still_is_replaced_and_does_no_harm_when_it_goes_on(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=2)
    first = Node(address, tmp_path / "first", COUNT)
    second = None
    try:
        await first.wait_said("DONE", 6)
        first.process.send_signal(signal.SIGSTOP)
        second = Node(address, tmp_path / "second", COUNT)
        await second.wait(lambda: second.has("OWN 0") > 0 and second.has("OWN 1") > 0)
        first.process.send_signal(signal.SIGCONT)
        await first.wait(lambda: first.has("REWIND") + first.has("GIVEN") >= 1 or first.has("END") == 2)
        for number in (0, 1):
            await second.wait(lambda number=number: second.has(f"END {number}") + first.has(f"END {number}") >= 1)
    finally:
        first.kill()
        if second is not None:
            second.kill()
    await asyncio.to_thread(assert_exactly_once, kafka, 2, COUNT)
    await assert_sound(address, tmp_path / "first")
    await assert_sound(address, tmp_path / "second")


def given(nodes: Sequence[Node]) -> int:
    return sum(node.has("GIVEN") for node in nodes)


def owned(nodes: Sequence[Node]) -> int:
    return sum(node.has("OWN") for node in nodes)


@pytest.mark.slow
async def test_nodes_that_come_and_go_all_the_time_carry_out_every_command_once(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=4)
    chance = random.Random(3)
    nodes = [Node(address, tmp_path / f"node{number}", MANY) for number in range(3)]
    everybody = list(nodes)
    try:
        await nodes[0].wait(lambda: nodes[0].has("OWN") > 0)
        for number in range(CHANGES_MAX):
            if number >= CHANGES and given(everybody) and owned(everybody) > OWNERS_MIN:
                break
            await asyncio.sleep(chance.uniform(0.3, 1.0) * (1 + number / CHANGES))  # a slow machine needs longer to begin
            place = chance.randrange(len(nodes))
            nodes[place].kill()
            if chance.random() < 0.5:
                await asyncio.sleep(LOST_S)  # the others have its partitions, and give some of them to the next one
            nodes[place] = Node(address, tmp_path / f"node{place}", MANY)
            everybody.append(nodes[place])
        for number in range(4):
            await nodes[0].wait(lambda number=number: any(node.has(f"END {number}") for node in nodes))
    finally:
        for node in nodes:
            node.kill()
    assert given(everybody), "no partition was ever handed over"
    assert owned(everybody) > OWNERS_MIN, "owners hardly changed"
    await asyncio.to_thread(assert_exactly_once, kafka, 4, MANY)
    for number in range(3):
        await assert_sound(address, tmp_path / f"node{number}")
