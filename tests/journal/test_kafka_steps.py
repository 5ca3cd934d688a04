"""Nodes that are killed, or stand still, at steps of a commit: each Command once, replicas agree (reliability §7, 1 to 3, 10)."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.faults.node import eventually
from tests.journal.kafka_nodes import WAIT_S, Node, assert_exactly_once
from tests.journal.kafka_steps import STEPS
from tests.journal.test_kafka_crashes import assert_sound
from tests.kafka.client import ends
from tests.kafka.fixtures import Kafka

COUNT = 300
LONG_COUNT = 2_500  # work for as long as others wake up
NODES_AT_ONCE = 3
MODULE = "tests.journal.kafka_steps"


async def kill_at(step: str, kafka: Kafka, folder: Path) -> None:
    """Kill a node at a step, start it again, and hold what there is against what there was to do."""
    address = kafka.address(partitions=1)
    killed = Node(address, folder, COUNT, "kill", step, module=MODULE)
    try:
        assert await asyncio.to_thread(killed.process.wait, WAIT_S) == -signal.SIGKILL, killed.said[-20:]
        await asyncio.to_thread(killed.listening.join, WAIT_S)
    finally:
        killed.kill()
    assert killed.said[-1] == f"STEP {step}"
    assert killed.has("DONE") >= 1
    assert killed.has("END") == 0
    again = Node(address, folder, COUNT, module=MODULE)
    try:
        await again.wait_said("END 0")
    finally:
        again.kill()
    await asyncio.to_thread(assert_exactly_once, kafka, 1, COUNT)
    await assert_sound(address, folder)


@pytest.mark.slow
async def test_a_node_killed_at_any_step_of_a_commit_carries_out_every_command_once(kafka: Kafka, tmp_path: Path) -> None:
    room = asyncio.Semaphore(NODES_AT_ONCE)

    async def kill(number: int, step: str) -> None:
        async with room:
            mine = Kafka(kafka.bootstrap, f"{kafka.prefix}{number}.")
            try:
                await kill_at(step, mine, tmp_path / str(number))
            except BaseException as error:
                error.add_note(f"killed {step}")
                raise

    async with asyncio.TaskGroup() as tasks:
        for number, step in enumerate(STEPS):
            tasks.create_task(kill(number, step))


@pytest.mark.parametrize("step", ["before commit_transaction", "after commit_transaction"])
async def test_a_zombie_that_hears_of_the_group_late_does_not_fence_the_lawful_owner(
    step: str, kafka: Kafka, tmp_path: Path
) -> None:
    """Its commit fails first, or came to its end but took long. Then it still believes that the partition is its own, and wants to
    own it anew, or to put a new producer in place of one that is in doubt."""
    address = kafka.address(partitions=1)
    zombie = Node(address, tmp_path / "zombie", LONG_COUNT, "late", step, module=MODULE)
    lawful = None
    try:
        await zombie.wait_said("STEP")
        fenced = zombie.has("FENCE")
        lawful = Node(address, tmp_path / "lawful", LONG_COUNT, module=MODULE)
        await lawful.wait_said("DONE", 1)
        zombie.process.send_signal(signal.SIGCONT)
        await zombie.wait_said("REWIND")
        await zombie.wait_said("WARNING this node stood still")  # so long it believed that
        zombie.kill()  # when the other has ended, it would be the owner again
        await lawful.wait_said("END 0")
    finally:
        zombie.kill()
        if lawful is not None:
            lawful.kill()
    assert (zombie.has("FENCE"), zombie.has("OWN"), zombie.has("END")) == (fenced, 1, 0), zombie.said[-20:]
    assert (lawful.has("OWN"), lawful.has("REWIND")) == (1, 0), lawful.said[-20:]
    await asyncio.to_thread(assert_exactly_once, kafka, 1, LONG_COUNT)
    for name in ("zombie", "lawful"):
        await assert_sound(address, tmp_path / name)


@pytest.mark.parametrize("replaced", [False, True], ids=["alone", "replaced"])
async def test_who_stood_still_in_a_commit_until_the_brokers_aborted_it_stores_nothing_twice(
    replaced: bool, kafka: Kafka, tmp_path: Path
) -> None:
    address, count = kafka.address(partitions=1), LONG_COUNT if replaced else COUNT
    slow = Node(address, tmp_path / "slow", count, "stop", "before commit_transaction", module=MODULE)
    nodes = [slow]
    try:
        await slow.wait_said("STEP")
        assert await asyncio.to_thread(is_undecided, kafka), "no commit is open"
        await asyncio.to_thread(wait_decided, kafka)
        done = slow.has("DONE")
        if replaced:
            nodes.append(Node(address, tmp_path / "other", count, module=MODULE))
            await nodes[1].wait_said("DONE", 1)
        slow.process.send_signal(signal.SIGCONT)
        await slow.wait(lambda: slow.has("REWIND") + slow.has("DONE") > done)
        assert slow.has("DONE") == done, "it told of a commit that the brokers had aborted"
        await nodes[-1].wait_said("END 0")
    finally:
        for node in nodes:
            node.kill()
    await asyncio.to_thread(assert_exactly_once, kafka, 1, count)
    for name in ("slow", "other")[: len(nodes)]:
        await assert_sound(address, tmp_path / name)


def is_undecided(kafka: Kafka) -> bool:
    """Return whether a commit is open that has records on the Events' topic."""
    place = (f"{kafka.prefix}bank.Account.events", 0)
    decided, all_there_is = (ends(kafka.bootstrap, [place], committed=committed)[place] for committed in (True, False))
    return decided < all_there_is


def wait_decided(kafka: Kafka) -> None:
    """Wait until the brokers have aborted what is open."""
    for _ in eventually("the brokers abort a commit that lasts too long"):
        if not is_undecided(kafka):
            return
