"""Nodes that share a journal on Kafka, as an operator has them; and clients of theirs, over HTTP by any node, and over Kafka."""

import asyncio
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from confluent_kafka import KafkaError, Message, Producer

from evento.client import Client
from evento.errors import NotReady, Unreachable
from tests.faults import bank
from tests.faults.checker import History
from tests.faults.clients import IN_FLIGHT_MAX, Attempt, Json, Sender
from tests.faults.node import Node
from tests.faults.topics import ANSWER_S, Deployment, fetch
from tests.kafka.broker import quiet

SESSION_S = 3.0
SHUTDOWN_S = 3.0  # streams of clients are open meanwhile
PARTITIONS = 4
WAIT_S = 3  # that a Command's end is waited for; else it is pending
STALL_S = 8.0  # without an answer; then the other node is asked
SECRET = "what these nodes share"  # noqa: S105
_MODULE = "bank.checking"
_CHUNK = 20
_AGAIN_S = 0.2


class Nodes:
    """Nodes of one deployment; the first deploys the bank."""

    def __init__(self, deployment: Deployment, nodes: Sequence[Node], module: Path) -> None:
        self.deployment = deployment
        self.nodes = nodes
        self._module = module

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def replace(self, number: int) -> None:
        """Kill a node, and let one take its place that has nothing of its data."""
        node = self.nodes[number]
        node.kill()
        shutil.rmtree(node.data)
        node.start()

    def revise(self, node: Node) -> None:
        """Deploy the same rules in other words: a new revision of the functions, by which every state is folded anew."""
        new = self._module.with_suffix(".new")
        new.write_text(f"{self._module.read_text()}# again\n")
        new.replace(self._module)
        node.deploy(self._module)

    def end_functions(self) -> None:
        """Kill each node's function; it comes back as its files say by then, or not at all."""
        for node in self.nodes:
            if node.functions():
                node.end_function()

    def logs(self) -> str:
        return "\n".join(node.log() for node in self.nodes)

    def verify(self) -> None:
        """Insist that `evento verify` finds nothing, at any node."""
        for node in self.nodes:
            node.verify()


@contextmanager
def running(
    folder: Path,
    bootstrap: str,
    prefix: str,
    *,
    count: int = 2,
    partitions: int = PARTITIONS,
    replication: int = 1,
    direct: str = "",
    env: Mapping[str, str] | None = None,
    module: Path = bank.MODULE,
) -> Iterator[Nodes]:
    """Run nodes with the bank deployed. They reach Kafka at `bootstrap`, and the tests at `direct`, if that is not the same."""
    min_insync = min(2, replication)
    journal = f"kafka://{bootstrap}?prefix={prefix}&partitions={partitions}&replication={replication}&min_insync={min_insync}"
    settings = {
        "EVENTO_JOURNAL": journal,
        "EVENTO_KAFKA_SESSION_S": str(SESSION_S),
        "EVENTO_CLUSTER_SECRET": SECRET,
        "EVENTO_SHUTDOWN_S": str(SHUTDOWN_S),
        **(env or {}),
    }
    with ExitStack() as opened:
        nodes = [opened.enter_context(Node(folder / f"node{number}", env=settings)) for number in range(count)]
        nodes[0].start()
        nodes[0].deploy(module)
        for node in nodes[1:]:
            node.spawn()
        for node in nodes[1:]:
            node.wait_ready()
        yield Nodes(Deployment(direct or bootstrap, prefix, partitions, nodes[0].url), nodes, module)


class Roaming(Sender):
    """Sends to one node until that is silent or gone, and then to another."""

    def __init__(self, urls: Sequence[str], history: History, *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        super().__init__(urls[0], history, in_flight_max=in_flight_max)
        self._urls = list(urls)

    async def _attempt(self, numbered: Sequence[tuple[int, Json]]) -> list[tuple[int, Json]]:
        attempt = Attempt(numbered, self._history, self._in_flight_max)
        attempt.wait_room = self.wait_room
        attempt.again = (*attempt.again, Unreachable)  # the owner was lost: nobody knows
        try:
            async with Client(self._urls[0]) as client, asyncio.timeout(STALL_S) as stalled:
                loop = asyncio.get_running_loop()
                async for answer in client.send_many(attempt.lines(), wait_s=WAIT_S):
                    attempt.take(answer)
                    self.on_answer()
                    stalled.reschedule(loop.time() + STALL_S)
        except (Unreachable, NotReady, TimeoutError):
            self.cut_off += 1  # nobody knows what became of the rest
            self._urls = [*self._urls[1:], self._urls[0]]
        return attempt.ended


class Outside:
    """A program that writes Commands to Kafka itself."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._topic = deployment.of_entity("commands")
        self._schemas: dict[str, tuple[int, Any]] = {}
        config = {"partitioner": "murmur2_random", "enable.idempotence": True, "message.timeout.ms": 120_000, "linger.ms": 5}
        self._producer = Producer({**quiet(deployment.bootstrap), **config})
        self.failed: list[str] = []
        self.delivered: list[Message] = []

    def learn(self, commands: Iterable[str]) -> None:
        """Ask the registry for the schemas of Commands. It blocks: not while a proxy in this process is what the node needs."""
        for command in commands:
            found = fetch(f"{self._deployment.url}/registry/subjects/{_MODULE}.{command}/versions/latest")
            self._schemas[command] = found["id"], fastavro.parse_schema(msgspec.json.decode(found["schema"]))

    def encode(self, command: str, data: Json) -> bytes:
        """Return a Command in the Confluent wire format, by the latest schema that the registry has of it."""
        if command not in self._schemas:
            self.learn([command])
        schema_id, schema = self._schemas[command]
        return b"\0" + schema_id.to_bytes(4, "big") + avro(schema, data)

    def send(self, command: Json, **changes: Any) -> None:
        """Write one Command; `changes` are what it has otherwise than it should: key, value, headers, partition."""
        record: dict[str, Any] = {
            "key": command["id"].encode(),
            "value": changes["value"] if "value" in changes else self.encode(command["command"], command["data"]),
            "headers": [("ce_id", command["command_id"].encode()), ("ce_type", command["command"].encode())],
        }
        self._producer.produce(self._topic, on_delivery=self._delivered, **{**record, **changes})
        self._producer.poll(0)

    def flush(self) -> None:
        """Return when the broker has everything."""
        assert self._producer.flush(2 * ANSWER_S) == 0
        assert not self.failed, self.failed

    async def send_all(self, commands: Sequence[Json], history: History, pause_s: float) -> None:
        """Write Commands in order, with a pause after some."""
        for start in range(0, len(commands), _CHUNK):
            for command in commands[start : start + _CHUNK]:
                history.invoke(command)
                self.send(command)
            await asyncio.sleep(pause_s)
        await asyncio.to_thread(self.flush)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
        else:
            self.delivered.append(message)


def avro(schema: Any, data: Json) -> bytes:
    """Return data as Avro; numbers in text are decimals."""
    target = io.BytesIO()
    decimals = {
        each["name"] for each in schema["fields"] if isinstance(each["type"], dict) and each["type"].get("logicalType") == "decimal"
    }
    fastavro.schemaless_writer(target, schema, {name: Decimal(each) if name in decimals else each for name, each in data.items()})
    return target.getvalue()


async def until(fact: Callable[[], bool], what: str, within_s: float = 180.0) -> None:
    """Wait until something is so, which may take time to find out. It is asked by a thread."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + within_s
    while not await asyncio.to_thread(fact):
        assert loop.time() < give_up, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(_AGAIN_S)
