"""A client library that hangs for ever: it is left behind; where that cannot be, the process ends and others take over."""

import asyncio
from pathlib import Path
from threading import Event, Thread

import pytest

from evento.journal.kafka import watchdog
from evento.journal.kafka.watchdog import EXIT_STUCK, ClientCall, watched
from tests.journal.kafka_nodes import Node, assert_exactly_once
from tests.journal.kafka_stuck import TICKS
from tests.kafka.fixtures import Kafka

COUNT, PARTITIONS = 400, 2
WAIT_S = 180.0


async def test_what_the_client_library_does_to_a_commit_ends_an_ownership_and_the_node_goes_on(
    kafka: Kafka, tmp_path: Path
) -> None:
    node = Node(kafka.address(partitions=PARTITIONS), tmp_path, COUNT, module="tests.journal.kafka_left")
    try:
        for number in range(PARTITIONS):
            await node.wait_said(f"END {number}")
    finally:
        node.kill()
    left = [line for line in node.said if "does not come back" in line]
    assert any("adding the input's offsets to a commit" in line for line in left)
    assert any("committing" in line for line in left)
    assert any("the client library failed" in line for line in node.said)
    await asyncio.to_thread(assert_exactly_once, kafka, PARTITIONS, COUNT)


async def test_a_call_that_hangs_ends_the_process_and_another_node_goes_on_with_its_partitions(
    kafka: Kafka, tmp_path: Path
) -> None:
    address = kafka.address(partitions=PARTITIONS)
    stuck = Node(address, tmp_path / "stuck", COUNT, module="tests.journal.kafka_stuck")
    try:
        await stuck.wait_said("DONE", 1)
        assert await asyncio.to_thread(stuck.process.wait, WAIT_S) == EXIT_STUCK
        await asyncio.to_thread(stuck.listening.join, WAIT_S)
    finally:
        stuck.kill()
    [told] = [line for line in stuck.said if "hangs" in line]
    assert "producing to a partition" in told
    assert told.startswith(f"CRITICAL the Kafka client hangs in a call that was given less than {TICKS} s: partition ")
    other = Node(address, tmp_path / "other", COUNT)
    try:
        for number in range(PARTITIONS):
            await other.wait_said(f"END {number}")
    finally:
        other.kill()
    await asyncio.to_thread(assert_exactly_once, kafka, PARTITIONS, COUNT)


def test_calls_that_come_back_are_no_matter_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 0.02)
    monkeypatch.setattr(watchdog, "STUCK_TICKS", 150)  # a busy machine may let a thread wait for long
    left, ended = Event(), Event()

    def leave() -> None:
        left.set()
        ended.wait()  # else the process would end

    def call_and_call() -> None:
        for _ in range(200):
            with ClientCall("a short one"):
                Event().wait(0.02)

    with watched(leave):
        callers = [Thread(target=call_and_call) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert not left.is_set()
        with ClientCall("a long one"):
            assert left.wait(WAIT_S)
