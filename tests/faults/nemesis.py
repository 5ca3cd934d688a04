"""What goes wrong, and when: drawn by a seed, due when so many Commands are answered, so that every fault hits work.

A seed prints its faults, and gives the same ones again.
"""

import asyncio
import random
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.node import Node
from tests.faults.nodes import SESSION_S, Nodes, until
from tests.kafka.broker import Cluster
from tests.kafka.client import ANSWER_S
from tests.kafka.proxy import Kind, Proxy, Side

KINDS = (
    "kill",
    "replace",
    "pause",
    "stop",
    "broker",
    "hold commit",
    "hold produce",
    "late request",
    "cut",
    "kill both",
    "function",
    "revision",
)
_OFTEN = ("kill", "pause", "replace")
_HELD = {"hold commit": Kind.END_TXN, "hold produce": Kind.PRODUCE}
# Any request of a commit, sent again at once on another connection, so that the first one comes into some later commit; the one
# that ends it is the most dangerous.
_LATE = (
    Kind.END_TXN,
    Kind.PRODUCE,
    Kind.END_TXN,
    Kind.TXN_OFFSET_COMMIT,
    Kind.ADD_PARTITIONS_TO_TXN,
    Kind.END_TXN,
    Kind.ADD_OFFSETS_TO_TXN,
)
ZOMBIE = "are lost to the group"  # as a node says that it was one
_OWNED = re.compile(r"^evento_partitions_owned ([0-9.]+)$", re.MULTILINE)
_POLL_S = 0.1
_FIRST_PART, _LAST_PART = 0.02, 0.9  # of the answers, between which faults are due: each must hit work


class Fault(NamedTuple):
    """One fault: due when `at` Commands are answered, on which node or broker (as many as there are, counted round), how long."""

    at: int
    kind: str
    number: int
    length_s: float

    def __str__(self) -> str:
        return f"{self.kind} {self.number}, {self.length_s:.2f} s, at answer {self.at}"


def schedule(seed: int, *, faults: int, answers: int, kinds: Sequence[str] = KINDS) -> list[Fault]:
    """Return the faults of a seed, each kind at least once if there are enough."""
    chance = random.Random(seed)
    drawn = [*chance.sample(kinds, min(faults, len(kinds)))]
    drawn += chance.choices([*kinds, *_OFTEN], k=faults - len(drawn))
    first, step = answers * _FIRST_PART, answers * (_LAST_PART - _FIRST_PART) / faults
    places = [int(first + step * (number + chance.random())) for number in range(faults)]
    return [Fault(at, kind, chance.randrange(1, 100), _length_s(kind, chance)) for at, kind in zip(places, drawn, strict=True)]


def _length_s(kind: str, chance: random.Random) -> float:
    if kind == "pause" or kind in _HELD:  # beyond the session, and beyond what a request waits
        return SESSION_S * (1.3 + chance.random())
    return chance.random()


class Nemesis:
    """Counts answers, and does what is due."""

    def __init__(self, nodes: Nodes, brokers: Cluster, proxy: Proxy, faults: Sequence[Fault]) -> None:
        self._nodes = nodes
        self._brokers = brokers
        self._proxy = proxy
        self._left = list(faults)
        self._due: asyncio.Queue[Fault] = asyncio.Queue(len(faults) + 1)
        self._begun = time.monotonic()
        self._room = asyncio.Event()
        self._room.set()
        self.answers = 0
        self.begun = 0
        self.zombies = 0  # nodes that found out, after a pause, that others have their partitions
        self.done: Counter[str] = Counter()

    def count(self) -> None:
        """Hear of an answer."""
        self.answers += 1
        while self._left and self._left[0].at <= self.answers:
            self._due.put_nowait(self._left.pop(0))
            self._room.clear()

    @property
    def is_idle(self) -> bool:
        """Return whether nothing that was due is still to be done, or under way."""
        return self._due.empty() and self.begun == self.done.total()

    async def wait_room(self) -> None:
        """Wait while a fault is due that has not begun, because of the one before it: so there is work left for each."""
        await self._room.wait()

    async def run(self, faults: int) -> None:
        """Do so many faults, one after another."""
        for _ in range(faults):
            fault = await self._due.get()
            self.begun += 1
            if self._due.empty():
                self._room.set()
            begun = time.monotonic()
            await self._do(fault)
            now = time.monotonic()
            self.done[fault.kind] += 1
            print(f"{now - self._begun:7.1f} s, {self.answers} answers: {fault}; took {now - begun:.1f} s", flush=True)

    async def _do(self, fault: Fault) -> None:
        node = self._nodes.nodes[fault.number % len(self._nodes.nodes)]
        match fault.kind:
            case "kill":
                node.kill()
                await asyncio.sleep(fault.length_s)
                await asyncio.to_thread(node.start)
            case "kill both":
                for each in self._nodes.nodes:
                    each.kill()
                await asyncio.sleep(fault.length_s)
                await asyncio.to_thread(self._start_all)
            case "replace":
                await asyncio.to_thread(self._nodes.replace, fault.number % len(self._nodes.nodes))
            case "pause":
                await self._pause(node, fault.length_s)
            case "stop":
                assert await asyncio.to_thread(node.stop) == 0
                await asyncio.to_thread(node.start)
            case "broker":
                number = fault.number % len(self._brokers.brokers) + 1
                await asyncio.to_thread(self._brokers.kill, number)
                await asyncio.sleep(fault.length_s)
                await asyncio.to_thread(self._brokers.start, number)
            case "two brokers":  # of three: nothing can be made durable
                numbers = [(fault.number + more) % len(self._brokers.brokers) + 1 for more in (0, 1)]
                for number in numbers:
                    await asyncio.to_thread(self._brokers.kill, number)
                await asyncio.sleep(SESSION_S * fault.length_s)
                await asyncio.to_thread(self._start_brokers, numbers)
            case "cut":
                self._proxy.cut()
            case "function":  # in the middle of a call
                await until(lambda: node.kill_function(fault.number), "a node has a function")
            case "revision":
                await asyncio.to_thread(self._nodes.revise, node)
            case "late request":
                side = Side.REQUEST if fault.number % 4 else Side.ANSWER
                await self._hold(_LATE[fault.number % len(_LATE)], side, fault.length_s, cut=True)
            case _:
                await self._hold(_HELD[fault.kind], Side.REQUEST, fault.length_s, cut=False)

    async def _hold(self, kind: Kind, side: Side, length_s: float, *, cut: bool) -> None:
        held = self._proxy.hold(kind, side, containing=self._nodes.deployment.prefix.encode())
        self._room.set()  # there must be something to hold
        await held.caught()
        if not self._due.empty():
            self._room.clear()
        if cut:
            held.cut()
        await asyncio.sleep(length_s)
        await held.release()

    async def _pause(self, node: Node, length_s: float) -> None:
        """Let a node stand still in the middle of a commit, until others have its partitions; it finds out that it is a zombie."""
        before = node.log().count(ZOMBIE)
        lane = f"{self._nodes.deployment.group}.0".encode()  # of all partitions, the number apart; a copy's is longer
        held = self._proxy.hold(Kind.END_TXN, containing=node.url.encode(), also=len(lane).to_bytes(2) + lane[:-1])
        self._room.set()  # there must be a commit
        await held.caught()
        if not self._due.empty():
            self._room.clear()
        node.pause()
        await asyncio.sleep(length_s)
        others = [each for each in self._nodes.nodes if each is not node]
        await until(lambda: sum(map(_owned, others)) == self._nodes.deployment.partitions, "others have a zombie's partitions")
        await held.release()
        node.resume()
        for _ in range(int(10 * SESSION_S / _POLL_S)):
            if node.log().count(ZOMBIE) > before:
                self.zombies += 1
                return
            await asyncio.sleep(_POLL_S)

    def _start_brokers(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._brokers.start(number, wait=False)
        self._brokers.wait_until_ready()

    def _start_all(self) -> None:
        for node in self._nodes.nodes:
            node.spawn()
        for node in self._nodes.nodes:
            node.wait_ready()


def _owned(node: Node) -> int:
    """Return of how many partitions a node says that it has them, and takes Commands."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=ANSWER_S) as answer:  # noqa: S310
        found = _OWNED.search(answer.read().decode())
    return int(float(found[1])) if found else 0
