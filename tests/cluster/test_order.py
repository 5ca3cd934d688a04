"""Nodes on a virtual clock: partitions that move, commits that fail, connections that break, all by the seed.

Whatever happens, the Commands of an instance in one stream are executed in its order, each once, and each answer is as if nothing
had happened. The engines and the ways between nodes are real; the network between the ends of a lane is played.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from evento.cluster import gateway as gateways
from evento.cluster.gateway import Gateway
from evento.cluster.link import MakeLink
from evento.cluster.reception import Reception
from evento.cluster.wire import SENT_FRAME_BYTES_MAX, STREAMS_PATH, Ask, Frames, Reply
from evento.engine.callers import Caller
from evento.engine.engine import Engine
from evento.engine.stream_order import StreamOrder
from evento.engine.unfinished import Limits
from evento.errors import EventoError, PredecessorRefused, Remedy, Unreachable
from evento.model.command import Command, Outcome
from evento.model.keys import EntityKey
from evento.reads.reader import Reader
from evento.registry.deployment import Registry
from evento.registry.documents import documents_of
from evento.testing.virtual import VirtualClock, run_virtual
from tests.cluster.shared import Shared, SharedJournal
from tests.simulation.bank import SimFunction, encode, manifests

SEEDS = int(os.environ.get("SEEDS", "60"))
FIRST_SEED = int(os.environ.get("FIRST_SEED", "0"))
CHUNKS = 4
PARTITIONS, NODES, STREAMS = 3, 3, 4
TROUBLED_S = 3.0
WAIT_S = 60.0
IMPATIENT_S = 12.0


class _Broken(Exception):
    pass


class PlayedLink:
    """A connection between two nodes that is slow, and breaks."""

    def __init__(self, world: "World", address: str) -> None:
        self.address = address
        self._world = world

    @asynccontextmanager
    async def converse(self, path: str, said: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        world = self._world
        engine, journal = world.nodes[self.address]
        await asyncio.sleep(world.random.expovariate(200))
        if world.troubled and world.random.random() < 0.2:
            raise Unreachable("refused")
        reception = Reception(engine, journal, patient=path == STREAMS_PATH)
        heard: asyncio.Queue[bytes] = asyncio.Queue(1000)
        try:
            async with asyncio.TaskGroup() as tasks:
                carrying = [tasks.create_task(each) for each in (self._carry(said, reception), self._bring(reception, heard))]
                carrying.append(tasks.create_task(self._break()))
                yield self._parts(heard)
                for task in carrying:
                    task.cancel()
        except BaseExceptionGroup as group:
            if group.split(_Broken)[1] is not None:
                raise
            raise Unreachable("broken") from group

    async def ask(self, ask: Ask) -> Reply:
        raise NotImplementedError

    async def _carry(self, said: AsyncIterator[bytes], reception: Reception) -> None:
        frames = Frames(SENT_FRAME_BYTES_MAX)
        async for part in said:
            await asyncio.sleep(self._world.random.expovariate(300))
            for frame in frames.feed(part):
                await reception.take(frame)

    async def _bring(self, reception: Reception, heard: "asyncio.Queue[bytes]") -> None:
        async for part in reception.answers():
            await asyncio.sleep(self._world.random.expovariate(300))
            await heard.put(part)

    async def _break(self) -> None:
        while True:
            await asyncio.sleep(self._world.random.expovariate(self._world.breaks_per_s))
            if self._world.troubled:
                raise _Broken

    async def _parts(self, heard: "asyncio.Queue[bytes]") -> AsyncIterator[bytes]:
        while True:
            yield await heard.get()


class World:
    """A seed's whole world."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.shared = Shared(PARTITIONS)
        self.shared.commit_s = lambda: self.random.expovariate(200)
        self.fail = self.random.choice([0.0, 0.02, 0.1])
        self.shared.fails = lambda: self.troubled and self.random.random() < self.fail
        self.breaks_per_s = self.random.choice([0.01, 1.0, 5.0])
        self.moves_per_s = self.random.choice([1.0, 5.0, 20.0])
        self.clock = VirtualClock()
        self.troubled = True
        self.nodes: dict[str, tuple[Engine, SharedJournal]] = {}
        self.gateways: list[Gateway | Engine] = []
        self.problems: list[str] = []
        self.started = asyncio.Event()

    async def run(self) -> None:
        addresses = [f"http://n{number}:1" for number in range(NODES)]
        journals = [SharedJournal(self.shared, address) for address in addresses]
        registry = Registry(journals[0])
        self.catalog = await registry.commit(registry.plan(documents_of(manifests())))
        for number in range(PARTITIONS):
            self.shared.assign(addresses[number % NODES], number)
        for journal in journals:
            self._make(journal)
        async with asyncio.TaskGroup() as nodes:
            lives = [nodes.create_task(self._live(journal.address)) for journal in journals]
            await self.started.wait()
            async with asyncio.TaskGroup() as clients:
                clients.create_task(self._move(addresses))
                for number in range(STREAMS):
                    clients.create_task(self._stream(number))
            for life in lives:
                life.cancel()
        self._check()

    def _make(self, journal: SharedJournal) -> None:
        limits = Limits(
            inbox_commands=self.random.choice([9, 60, 1000]),
            batch_commands=self.random.choice([1, 7, 100]),
            run_commands=self.random.choice([1, 3, 100]),
        )
        engine = Engine(journal, self.clock, self.random.random, limits=limits)
        function = SimFunction(self.random, trouble=0.0, poisoned=frozenset())
        engine.configure(self.catalog, {("bank", "sim"): Caller("bank", "sim", function, observe=lambda *_: None)})
        self.nodes[journal.address] = engine, journal

    async def _live(self, address: str) -> None:
        engine, journal = self.nodes[address]
        async with engine.running(drain_s=0):
            await engine.wait_open()
            gateway = Gateway(journal, engine, Reader(journal, engine), self.clock, own=address, links=self._links)
            async with gateway.running():
                self.gateways.append(gateway)
                if len(self.gateways) == NODES:
                    self.started.set()
                await asyncio.sleep(1e9)

    @asynccontextmanager
    async def _links(self) -> AsyncIterator[MakeLink]:
        yield lambda address: PlayedLink(self, address)

    async def _move(self, addresses: list[str]) -> None:
        until_s = asyncio.get_running_loop().time() + TROUBLED_S
        while asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(self.random.expovariate(self.moves_per_s))
            self.shared.assign(self.random.choice(addresses), self.random.randrange(PARTITIONS))
        self.troubled = False

    async def _stream(self, number: int) -> None:
        """Send chunks one behind the other, several under way at a time, as a stream over HTTP does."""
        step = 0
        while self.troubled:
            gateway = self.random.choice(self.gateways)
            async with asyncio.TaskGroup() as chunks:
                for _ in range(self.random.randrange(1, 6)):
                    size = self.random.randrange(1, 30)
                    commands = [self._command(number, step + at) for at in range(size)]
                    step += size
                    chunks.create_task(self._send(gateway, commands))
                    await asyncio.sleep(self.random.expovariate(100))

    async def _send(self, gateway: Gateway | Engine, commands: list[Command]) -> None:
        if self.random.random() < 0.1:
            commands.append(commands[0])
        answers = await gateway.send_many(commands, wait_s=WAIT_S)
        for place, (command, answer) in enumerate(zip(commands, answers, strict=True)):
            twice = command in commands[:place]
            if not isinstance(answer, Outcome):
                self.problems.append(f"{command.id}: {answer!r}")
            elif answer.duplicate != twice:
                self.problems.append(f"{command.id} is told as {'a duplicate' if answer.duplicate else 'new'}")

    def _command(self, stream: int, step: int) -> Command:
        spec = self.catalog.command("bank", "Account", "Deposit")
        key = EntityKey("bank", "Account", f"a{stream}-{step % 4}")
        return Command(f"{stream}-{step}", key, "Deposit", spec.schema_id, encode("Deposit", {"amount": 1}), self.clock.now_us())

    def _check(self) -> None:
        seen: dict[EntityKey, list[int]] = {}
        for turn in self.shared.turns():
            seen.setdefault(turn.command.key, []).append(int(turn.command.id.partition("-")[2]))
        for key, steps in seen.items():
            if steps != list(range(steps[0], steps[0] + 4 * len(steps), 4)):
                self.problems.append(f"{key} was told {steps}")
        self.turns = sum(len(steps) for steps in seen.values())


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_streams_keep_their_order_whatever_the_seed_brings(chunk: int) -> None:
    turns = 0
    for seed in range(FIRST_SEED + chunk, FIRST_SEED + SEEDS, CHUNKS):
        world = World(seed)
        run_virtual(world.run())
        assert not world.problems, f"seed {seed}: play it again with SEEDS=1 FIRST_SEED={seed}\n" + "\n".join(world.problems[:20])
        turns += world.turns
    assert SEEDS < CHUNKS or turns > 1000, "nothing happened"


class Impatient(World):
    """Its clients wait for less long than partitions may be without an owner, and send again, in order, what is refused for now."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.refused: list[EventoError] = []

    async def _move(self, addresses: list[str]) -> None:
        until_s = asyncio.get_running_loop().time() + IMPATIENT_S
        while asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(self.random.expovariate(1.0))
            number = self.random.randrange(PARTITIONS)
            if self.random.random() < 0.7:
                self.shared.assign("nobody", number)
                await asyncio.sleep(self.random.random() * 2)
            self.shared.assign(self.random.choice(addresses), number)
        self.troubled = False

    async def _stream(self, number: int) -> None:
        step, again = 0, list[Command]()
        order, gateway = StreamOrder(), self.random.choice(self.gateways)
        while self.troubled or again:
            if self.random.random() < 0.5:  # else they come again in the same stream
                order, gateway = StreamOrder(), self.random.choice(self.gateways)
            commands, again = again, []
            count = self.random.randrange(1, 60)
            commands += [self._command(number, step + at) for at in range(count)]
            step += count
            answers = await self._converse(gateway, commands, order)
            for command, answer in zip(commands, answers, strict=True):
                if isinstance(answer, EventoError):
                    assert answer.remedy is Remedy.LATER, answer
                    self.refused.append(answer)
                    again.append(command)

    async def _converse(
        self, gateway: Gateway | Engine, commands: list[Command], order: StreamOrder
    ) -> list[Outcome | EventoError]:
        async with asyncio.TaskGroup() as chunks:
            size = self.random.randrange(1, 15)
            under_way = []
            for at in range(0, len(commands), size):
                sending = gateway.send_many(commands[at : at + size], wait_s=0.3, order=order)
                under_way.append(chunks.create_task(sending))
                await asyncio.sleep(self.random.expovariate(20))
        return [answer for chunk in under_way for answer in chunk.result()]


class Alone(Impatient):
    """One node whose commits fail; its clients speak to its engine itself."""

    async def _live(self, address: str) -> None:
        engine, _ = self.nodes[address]
        if address != "http://n0:1":
            return
        self.fail = 0.1
        for number in range(PARTITIONS):
            self.shared.assign(address, number)
        async with engine.running(drain_s=0):
            await engine.wait_open()
            self.gateways.append(engine)
            self.started.set()
            await asyncio.sleep(1e9)

    async def _move(self, addresses: list[str]) -> None:
        await asyncio.sleep(IMPATIENT_S)
        self.troubled = False


@pytest.mark.parametrize("world_of", [Impatient, Alone])
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_is_refused_for_now_and_sent_again_in_order_keeps_its_order(
    chunk: int, world_of: type[Impatient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "GRACE_S", 0.2)
    refused: list[EventoError] = []
    for seed in range(FIRST_SEED + chunk, FIRST_SEED + SEEDS // 2, CHUNKS):
        world = world_of(seed)
        run_virtual(world.run())
        assert not world.problems, f"seed {seed}: play it again with SEEDS=2 FIRST_SEED={seed}\n" + "\n".join(world.problems[:20])
        refused += world.refused
    if SEEDS >= 2 * CHUNKS:
        kinds = {type(error) for error in refused}
        assert PredecessorRefused in kinds, kinds
        assert len(kinds) > 1, kinds
