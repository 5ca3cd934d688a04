"""One simulated history: clients, a journal and functions that fail, crashes at any instant; everything follows from the seed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random

import msgspec
from msgspec import Struct

from evento.engine.callers import Caller
from evento.engine.engine import Engine
from evento.engine.unfinished import Limits
from evento.errors import CommandError, EventoError, JournalError, JournalRewind, NotFound
from evento.journal.base import CommandRef, Partition
from evento.journal.memory import MemoryJournal
from evento.model.command import Command, Outcome, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Input, Transition
from evento.registry.catalog import Catalog
from evento.registry.deployment import Registry
from evento.registry.documents import documents_of
from evento.testing.virtual import VirtualClock, run_virtual
from tests.simulation.bank import SimFunction, encode, manifests

ACCOUNTS = 6
CLIENTS = 8
COMMANDS_PER_CLIENT = 12
QUIET_S = 400.0  # after healing everything must be finished within this


class FaultyPartition:
    """A partition whose commits are slow, fail before they are stored, or are cut off by a crash before or after."""

    def __init__(self, inner: Partition, random: Random, world: "World") -> None:
        self._inner = inner
        self._random = random
        self._world = world
        self._order = asyncio.Lock()
        self._dead = False
        self.number = 0
        self.inputs = inner.inputs

    async def wait_revoked(self) -> None:
        """Another node wants the partition now and then, and gives it back at once."""
        if self._world.revoke_s is None or self._world.healed:
            await self._inner.wait_revoked()
        else:
            await asyncio.sleep(self._random.expovariate(1 / self._world.revoke_s))
            self._world.revocations += 1

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        await asyncio.sleep(self._random.expovariate(2000))
        return await self._inner.read_states(keys)

    async def read_turns(self, refs: Sequence[CommandRef]) -> Mapping[CommandRef, Turn]:
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.expovariate(2000))
        return await self._inner.read_turns(refs)

    async def read_pending(self) -> Sequence[Pending]:
        return await self._inner.read_pending()

    async def append(self, transition: Transition) -> Appended | Conflict:
        async with self._order:
            if self._dead:
                raise JournalRewind("an earlier commit failed")
            await asyncio.sleep(self._random.expovariate(300))
            if not self._world.healed and self._random.random() < 0.01:
                self._dead = True
                raise JournalRewind("the disk was busy")
            result = await self._inner.append(transition)
        await asyncio.sleep(self._random.expovariate(1000))
        return result


class FaultyJournal:
    """A MemoryJournal behind FaultyPartitions."""

    def __init__(self, inner: MemoryJournal, random: Random, world: "World") -> None:
        self._inner = inner
        self._random = random
        self._world = world
        self.history = inner.history
        self.partitions = inner.partitions
        self.partition_of = inner.partition_of
        self.check = inner.check
        self.read_catalogs = inner.read_catalogs
        self.append_catalog = inner.append_catalog
        self.provide = inner.provide
        self.read_owners = inner.read_owners

    @asynccontextmanager
    async def own(self, number: int) -> AsyncIterator[Partition]:
        async with self._inner.own(number) as partition:
            yield FaultyPartition(partition, self._random, self._world)


class Sent(Struct):
    """What a client knows of one of its Commands: when it was first sent, accepted, and told as finished; and with what outcome."""

    command: Command
    sent_s: float
    accepted_s: float | None = None
    told_s: float | None = None
    outcome: Outcome | None = None
    conflict: bool = False
    by_record: bool = False


class World:
    """A seed's whole world."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.journal = MemoryJournal()
        self.clock = VirtualClock()
        self.healed = False
        self.sent: list[Sent] = []
        self.problems: list[str] = []
        self.crashes = 0
        self.revocations = 0
        self.to_refuse: list[int] = []  # offsets of records
        self.revoke_s = self.random.choice([None, None, 0.3, 2.0])
        trouble = self.random.choice([0.0, 0.05, 0.2, 0.4])
        poisoned = frozenset(f"a{n}" for n in range(ACCOUNTS) if self.random.random() < 0.15)
        self.function = SimFunction(self.random, trouble=trouble, poisoned=poisoned)
        self._engine: Engine | None = None
        self._catalog: Catalog | None = None

    # ------------------------------------------------------------ the platform
    async def run(self) -> None:
        """Play the history to its end: afterwards everything is finished."""
        await self._deploy()
        crash_s = self.random.choice([0.1, 0.5, 2.0, 1e9])
        platform = asyncio.create_task(self._platform(crash_s))
        try:
            async with asyncio.TaskGroup() as clients:
                for number in range(CLIENTS):
                    clients.create_task(self._client(number))
                clients.create_task(self._heal(self.random.uniform(2, 15)))
                if self.random.random() < 0.3:
                    clients.create_task(self._jump_clock())
            await self._wait_quiet()
        finally:
            platform.cancel()
            await asyncio.wait([platform])
        if not platform.cancelled() and platform.exception() is not None:
            raise platform.exception() or AssertionError

    async def _deploy(self) -> None:
        registry = Registry(self.journal)
        attempts_max = self.random.choice([0, 0, 0, 3])
        plan = registry.plan(documents_of(manifests(attempts_max=attempts_max)))
        self._catalog = await registry.commit(plan)

    async def _platform(self, crash_s: float) -> None:
        """Run the engine, and kill it again and again."""
        while True:
            engine = asyncio.create_task(self._live())
            done, _ = await asyncio.wait([engine], timeout=1e9 if self.healed else self.random.expovariate(1 / crash_s))
            if done:
                engine.result()
            self.crashes += 1
            self._engine = None
            engine.cancel()
            await asyncio.wait([engine])
            await asyncio.sleep(self.random.uniform(0.01, 0.5))

    async def _live(self) -> None:
        journal = FaultyJournal(self.journal, self.random, self)
        limits = Limits(
            inbox_commands=self.random.choice([5, 50, 1000]),
            batch_commands=self.random.choice([1, 7, 100]),
            run_commands=self.random.choice([1, 3, 100]),
            cached_instances=self.random.choice([1, 3, 1000]),
        )
        engine = Engine(journal, self.clock, self.random.random, limits=limits)
        caller = Caller("bank", "sim", self.function, observe=lambda *_: None)
        assert self._catalog is not None
        engine.configure(self._catalog, {("bank", "sim"): caller})
        async with engine.running(drain_s=0):
            await engine.wait_open()
            self._engine = engine
            await asyncio.sleep(1e9)

    async def _heal(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.healed = self.function.healed = True

    async def _jump_clock(self) -> None:
        for _ in range(3):
            await asyncio.sleep(self.random.uniform(0.1, 3))
            self.clock.skew_us += self.random.choice([-1, 1]) * 3_600_000_000
        await asyncio.sleep(1)
        self.clock.skew_us = 0

    # ------------------------------------------------------------ the clients
    async def _client(self, number: int) -> None:
        for step in range(COMMANDS_PER_CLIENT):
            account = f"a{self.random.randrange(ACCOUNTS)}"
            sent = Sent(self._command(f"c{number}-{step}", account), asyncio.get_running_loop().time())
            self.sent.append(sent)
            if self.random.random() < 0.2:
                await self._put(sent)
                continue
            mode = self.random.random()
            wait_s = 0.0 if mode < 0.2 else self.random.choice([0.05, 1.0, 30.0])
            await self._send(sent, wait_s, many=0.2 <= mode < 0.4)
            if self.random.random() < 0.15:
                await self._send(sent, wait_s, many=False)
            if self.random.random() < 0.05:
                await self._contradict(sent.command)
            await self._read(sent)

    async def _put(self, sent: Sent) -> None:
        """Send by a record that nobody answers; sometimes twice, sometimes followed by one that must be refused."""
        sent.by_record, sent.accepted_s = True, asyncio.get_running_loop().time()
        for _ in range(self.random.choice([1, 1, 1, 2])):
            self._record(sent.command)
        if self.random.random() < 0.1:
            other = msgspec.structs.replace(sent.command, payload=encode(sent.command.type, {"amount": 1001}))
            self.to_refuse.append(self._record(other))
        if self.random.random() < 0.1:
            self.to_refuse.append(self._record(msgspec.structs.replace(sent.command, id="bad", payload=b"\xff")))
        await asyncio.sleep(self.random.expovariate(20))

    def _record(self, command: Command) -> int:
        offset = len(self.journal.records)
        self.journal.put(Input("records", offset, command.key, command.id, command))
        return offset

    def _command(self, command_id: str, account: str) -> Command:
        assert self._catalog is not None
        kind = self.random.choice(["Deposit", "Deposit", "Withdraw"])
        spec = self._catalog.command("bank", "Account", kind)
        now_us = self.clock.now_us()
        expected = self.random.randrange(5) if self.random.random() < 0.1 else None
        due_us = now_us - self.clock.skew_us + self.random.randrange(3_000_000) if self.random.random() < 0.05 else None
        payload = encode(kind, {"amount": self.random.randrange(1, 100)})
        return Command(command_id, EntityKey("bank", "Account", account), kind, spec.schema_id, payload, now_us, expected, due_us)

    async def _send(self, sent: Sent, wait_s: float, *, many: bool) -> None:
        """Send until answered, with the same id, as the API tells its clients to."""
        while True:
            try:
                answer = await self._once(sent.command, wait_s, many=many)
            except EventoError as error:
                answer = error
            if isinstance(answer, Outcome):
                self._note(sent, answer)
                return
            if answer.code == "version-conflict":
                sent.conflict = True
                return
            if answer.status != 503:
                self.problems.append(f"{sent.command.id}: {answer.code}: {answer.message}")
                return
            await asyncio.sleep(self.random.uniform(0.01, 0.3))

    async def _once(self, command: Command, wait_s: float, *, many: bool) -> Outcome | EventoError:
        engine = await self._up()
        if many:
            return (await engine.send_many([command], wait_s=wait_s))[0]
        return await engine.send(command, wait_s=wait_s)

    async def _up(self) -> Engine:
        while self._engine is None:  # noqa: ASYNC110 - clients poll a server that is down
            await asyncio.sleep(0.02)
        return self._engine

    def _note(self, sent: Sent, outcome: Outcome) -> None:
        if sent.accepted_s is None:
            sent.accepted_s = asyncio.get_running_loop().time()
        if outcome.turn is None:
            return
        if outcome.turn.command.id != sent.command.id or outcome.turn.command.payload != sent.command.payload:
            self.problems.append(f"{sent.command.id} was told of another Command: {outcome.turn.command.id}")
        if sent.outcome is None:
            sent.outcome, sent.told_s = outcome, asyncio.get_running_loop().time()
        elif sent.outcome.turn is not None and sent.outcome.turn.events != outcome.turn.events:
            self.problems.append(f"{sent.command.id} was told two different ends")

    async def _contradict(self, command: Command) -> None:
        """Send the same id with other content: it must be refused, whatever became of the first."""
        assert self._catalog is not None
        schema_id = self._catalog.command("bank", "Account", "Deposit").schema_id
        other = Command(command.id, command.key, "Deposit", schema_id, encode("Deposit", {"amount": 1000}), self.clock.now_us())
        while True:
            try:
                await (await self._up()).send(other, wait_s=1)
            except CommandError as error:
                if error.code == "id-reused":
                    return
                if error.status != 503:
                    self.problems.append(f"{command.id}: other content under the same id was answered {error.code}")
                    return
                await asyncio.sleep(0.05)
                continue
            self.problems.append(f"{command.id}: other content under the same id was taken")
            return

    async def _read(self, sent: Sent) -> None:
        """A read after a told outcome must see at least its version."""
        if sent.outcome is None or sent.outcome.turn is None:
            return
        engine = self._engine
        if engine is None:
            return
        try:
            states = await engine.read_states([sent.command.key])
        except EventoError:
            return
        version = states[sent.command.key].version if sent.command.key in states else 0
        if version < sent.outcome.turn.version:
            self.problems.append(f"{sent.command.id} was told version {sent.outcome.turn.version}, a read then saw {version}")

    # ------------------------------------------------------------ the end
    async def _wait_quiet(self) -> None:
        deadline_s, pause_s = asyncio.get_running_loop().time() + QUIET_S, 0.2
        while asyncio.get_running_loop().time() < deadline_s:
            await self._resume_parked()
            if not self.journal.waiting and all(self._finished(sent) for sent in self.sent) and self._answered():
                return
            pause_s = min(pause_s * 1.5, 60)
            await asyncio.sleep(pause_s)
        left = [entry.command.id for entry in self.journal.waiting.values()]
        missing = [sent.command.id for sent in self.sent if not self._finished(sent)]
        records = f"records done up to {self.journal.reached} of {len(self.journal.records)}"
        self.problems.append(f"not finished {QUIET_S} s after healing: pending {left}, without an end {missing}, {records}")

    def _answered(self) -> bool:
        """Tell whether every record is done with."""
        return self.journal.reached.get("records", 0) == len(self.journal.records)

    def _finished(self, sent: Sent) -> bool:
        return CommandRef(sent.command.key, sent.command.id) in self.journal.turns

    async def _resume_parked(self) -> None:
        engine = self._engine
        if engine is None:
            return
        for entry in await engine.pending(parked=True):
            try:
                await engine.retry(entry.command.key, entry.command.id)
            except (NotFound, JournalError):
                continue


def told(world: World) -> list[tuple[Sent, Turn]]:
    """Return what was told as finished."""
    return [(sent, sent.outcome.turn) for sent in world.sent if sent.outcome is not None and sent.outcome.turn is not None]


def stream_of(world: World, key: EntityKey) -> list[Turn]:
    """Return the turns of an instance as they stand in the journal."""
    return [turn for log_key, turn, _ in world.journal.log if log_key == key]


def play(seed: int) -> World:
    """Play a seed's history to its end."""
    world = World(seed)
    run_virtual(world.run())
    return world
