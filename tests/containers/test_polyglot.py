"""The polyglot bank: a year of a real bank through containers of two languages that are killed on the way, as the platform is.

What is killed when is decided by a seed and counted in answers. `EVENTO_POLYGLOT_ROWS` and `EVENTO_POLYGLOT_KILLS` make it longer:
`make polyglot` takes the whole year.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from evento.client import Client
from evento.registry.manifests import read_manifests
from tests.containers import polyglot
from tests.containers.engine import Engine
from tests.containers.platform import containers
from tests.faults import bank
from tests.faults.checker import Final, History, broken
from tests.faults.clients import Json, Observer, Sender, read_final
from tests.faults.node import ROOT, Node, eventually
from tests.kafka.fixtures import Kafka

ROWS = int(os.environ.get("EVENTO_POLYGLOT_ROWS", "4000"))
KILLS = int(os.environ.get("EVENTO_POLYGLOT_KILLS", "6"))
SEED = int(os.environ.get("EVENTO_POLYGLOT_SEED", "1993"))
WHAT = ("platform", "checking", "savings")
_LAST_PART = 0.1  # of the answers, in which nothing is killed any more: each kill must hit work


class Killer:
    """Counts answers, and at each number that its seed has drawn it kills what is due: the platform, or a function's container."""

    def __init__(self, engine: Engine, node: Node, answers: int) -> None:
        chance = random.Random(SEED)
        places = sorted(chance.sample(range(1, int(answers * (1 - _LAST_PART))), KILLS))
        whats = [WHAT[number % len(WHAT)] for number in range(KILLS)]
        chance.shuffle(whats)
        self._at = dict(zip(places, whats, strict=True))
        self._engine = engine
        self._node = node
        self._answers = 0
        self._due: asyncio.Queue[str] = asyncio.Queue(KILLS)
        self.done: Counter[str] = Counter()

    def count(self) -> None:
        """Hear of an answer."""
        self._answers += 1
        if self._answers in self._at:
            self._due.put_nowait(self._at[self._answers])

    async def run(self) -> None:
        """Kill what is due, until everything is done."""
        for _ in range(KILLS):
            what = await self._due.get()
            await asyncio.to_thread(self._kill, what)
            self.done[what] += 1

    def _kill(self, what: str) -> None:
        """Kill with signal 9. If a function has no container at this moment, the next one is."""
        if what == "platform":
            self._node.restart()
            return
        for _ in eventually(f"there is a container of {what}"):
            found = [name for name in containers(self._engine, self._node) if f"-bank-{what}-" in name]
            if found and self._engine.cli("kill", found[0], insist=False):  # tells its name if it ran
                return


@pytest.fixture(scope="module")
def built(engine: Engine) -> None:
    """Build the images once."""
    polyglot.images(engine)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a path that is short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="evb-"))
    yield made
    shutil.rmtree(made)


def test_the_manifests_declare_the_same_bank() -> None:
    ours, one = (resources(ROOT / "examples" / name) for name in ("bank-containers", "bank"))
    assert ours == one


def resources(folder: Path) -> dict[tuple[str, str, str], Json]:
    """Return all resources but the functions, and without who carries them out."""
    found = {}
    documents = read_manifests([folder / "manifests.yaml"])
    assert documents.problems == ()
    for content in documents.contents:
        spec = {key: value for key, value in content["spec"].items() if key not in ("handle", "apply")}
        if content["kind"] != "Function":
            found[content["kind"], spec.get("entity", ""), content["metadata"]["name"]] = spec
    return found


async def test_killed_at_random_on_sqlite_it_comes_out_as_the_bank_did(engine: Engine, built: None, folder: Path) -> None:
    await killed(engine, folder, {})


async def test_killed_at_random_on_kafka_it_comes_out_as_the_bank_did(
    engine: Engine, built: None, folder: Path, kafka: Kafka
) -> None:
    await killed(engine, folder, {"EVENTO_JOURNAL": kafka.address(), "EVENTO_KAFKA_SESSION_S": "3"})


async def killed(engine: Engine, folder: Path, settings: dict[str, str]) -> None:
    """Carry out the year while everything is killed, and check what came of it."""
    rows, commands = polyglot.year(ROWS)
    history = History()
    env = {"EVENTO_CONTAINER_ENGINE": engine.url, "TMPDIR": str(folder), **settings}
    with Node(folder, env=env) as node:
        node.start()
        node.deploy(polyglot.EXAMPLE)
        killer = Killer(engine, node, len(commands))
        sender = Sender(node.url, history)
        sender.on_answer = killer.count
        async with asyncio.TaskGroup() as tasks:
            observing = tasks.create_task(Observer(node.url, history, commands[:50]).run())
            killing = tasks.create_task(killer.run())
            await sender.send_all(commands)
            await killing
            observing.cancel()
        assert sender.cut_off >= killer.done["platform"] > 0, "a kill that interrupts nothing shows nothing"
        assert set(killer.done) == set(WHAT)
        await check(node, history)
        assert node.stop() == 0
        assert not containers(engine, node)
    print(f"{len(rows)} transactions, killed: {dict(killer.done)}")


async def check(node: Node, history: History) -> None:
    """Hold what there is against what was sent and told, and against the bank's own balances."""
    rows, commands = polyglot.year(ROWS)
    final = await read(node)
    assert history.finished == len(history.invoked) == len(commands)
    assert not broken(history, final, polyglot.fold)
    streams = {account: events for (_, account), events in final.streams.items()}
    assert not list(bank.drifts(rows, streams, polyglot.fold))
    assert sum(map(len, streams.values())) == len(commands)
    assert {entity for entity, _ in final.streams} == {bank.CHECKING, polyglot.SAVINGS}
    assert len(history.seen) > 10
    again = await Sender(node.url, History()).send_all(commands)
    assert all(answer["duplicate"] for answer in again)
    assert await read(node) == final
    node.verify()


async def read(node: Node) -> Final:
    async with Client(node.url) as client:
        return await read_final(client, bank.CHECKING, polyglot.SAVINGS)
