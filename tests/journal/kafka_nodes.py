"""Nodes in processes of their own, and a checker that knows the topics only."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.journal.kafka_child import commands
from tests.kafka.fixtures import Kafka

WAIT_S = 180.0
READ_S = 90.0


class Node:
    """A child process, and what it has said."""

    def __init__(self, address: str, folder: Path, count: int, *more: str, module: str = "tests.journal.kafka_child") -> None:
        command = [sys.executable, "-m", module, address, str(folder), str(count), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.listening = Thread(target=self._listen, daemon=True)
        self.listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.said += []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))

    def has(self, beginning: str) -> int:
        """Return how often it has said something that begins so."""
        return sum(line.startswith(beginning) for line in list(self.said))

    async def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            if self.process.poll() is not None:
                await asyncio.to_thread(self.listening.join, WAIT_S)  # the last that it said may still be on its way
                assert condition(), (self.process.returncode, self.said[-20:])
                return
            assert time.monotonic() < end, self.said[-20:]
            await asyncio.sleep(0.01)

    async def wait_said(self, beginning: str, times: int = 1) -> None:
        await self.wait(lambda: self.has(beginning) >= times)

    def kill(self) -> None:
        """End it. It may have ended before, but not by a signal of its own, as what crashes in C does."""
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        assert ended is None or ended >= 0 or ended == -signal.SIGKILL, (ended, self.said[-20:])


def read_committed(kafka: Kafka, topic: str, partition: int) -> list[Message]:
    """Return what anybody sees of one partition of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"{kafka.prefix}check",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    found: list[Message] = []
    end = time.monotonic() + READ_S
    try:
        while time.monotonic() < end:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                return found
        raise AssertionError(f"{topic}[{partition}] has no end")
    finally:
        consumer.close()


def assert_exactly_once(kafka: Kafka, partitions: int, count: int) -> None:
    """Each Command has one Event, in the order sent per instance, versions have no gaps, the latest state is the last version."""
    seen: dict[str, list[str]] = {}
    for partition in range(partitions):
        versions: dict[bytes, int] = {}
        for message in read_committed(kafka, f"{kafka.prefix}bank.Account.events", partition):
            headers = dict(message.headers() or ())
            key = message.key()
            assert int(headers["ce_sequence"]) == versions.get(key, 0) + 1, (key, headers, message.offset())
            versions[key] = int(headers["ce_sequence"])
            seen.setdefault(key.decode(), []).append(headers["ce_causationid"].decode())
        latest = {
            message.key(): int(dict(message.headers() or ())["evento-version"])
            for message in read_committed(kafka, f"{kafka.prefix}bank.Account.state", partition)
        }
        assert latest == versions
        outcomes = read_committed(kafka, f"{kafka.prefix}evento.outcomes", partition)
        assert len(outcomes) == sum(versions.values())
    expected: dict[str, list[str]] = {}
    for ref in dict.fromkeys(commands(count)):
        expected.setdefault(ref.key.id, []).append(ref.command_id)
    assert seen == expected
