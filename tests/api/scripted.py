"""A platform in plain dicts that does to Commands what the ids of their instances say; for tests of the HTTP face alone.

`alice` and most others: deposits succeed, withdrawals beyond the balance are rejected. `poison`: pending for ever. `parked`:
parked. `full`: overloaded. `slow`: waits until `release` is set. `broken`: a bug.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import aiohttp

from evento.api.app import create_app
from evento.api.platform import Deployed, Platform, Waits
from evento.api.server import listening
from evento.clock import SystemClock
from evento.engine.base import Status, Verdict
from evento.engine.stream_order import StreamOrder
from evento.engine.ticket import Waiter
from evento.errors import DeploymentRefused, EventoError, IdReused, NotFound, Overloaded, VersionConflict
from evento.journal.base import InstanceEntry
from evento.journal.memory import MemoryJournal
from evento.model.command import Command, Event, Failure, Outcome, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.registry.deployment import Registry
from evento.registry.documents import Documents, documents_of
from evento.telemetry import Metrics

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}


def record(name: str, **fields: object) -> dict[str, object]:
    listed = [{"name": field, "type": type} for field, type in fields.items()]
    return {"type": "record", "name": name, "namespace": "bank", "fields": listed}


def resource(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": "evento.dev/v1", "kind": kind, "metadata": {"name": name, "namespace": "bank"}, "spec": spec}


NOTE = ["null", "string"]
BANK = [
    resource("Entity", "Checking", schema=record("Checking", balance=MONEY), apply="functions"),
    resource("Event", "MoneyReceived", entity="Checking", schema=record("MoneyReceived", amount=MONEY)),
    resource("Event", "CashWithdrawn", entity="Checking", schema=record("CashWithdrawn", amount=MONEY)),
    resource("Event", "WithdrawalRejected", entity="Checking", schema=record("WithdrawalRejected", reason="string")),
    resource(
        "Command",
        "ReceiveDeposit",
        entity="Checking",
        schema=record("ReceiveDeposit", amount=MONEY, note=NOTE),
        events=["MoneyReceived"],
        handle="functions",
    ),
    resource(
        "Command",
        "WithdrawCash",
        entity="Checking",
        schema=record("WithdrawCash", amount=MONEY),
        events=["CashWithdrawn"],
        rejections=["WithdrawalRejected"],
        handle="functions",
    ),
    resource("Function", "functions", url="http://127.0.0.1:1"),
]


class Scripted:
    """Commands, Reads and Operations in one."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.streams: dict[EntityKey, list[Turn]] = {}
        self.turns: dict[tuple[EntityKey, str], Turn] = {}
        self.waiting: dict[tuple[EntityKey, str], Pending] = {}
        self.release = asyncio.Event()
        self.received: list[Command] = []
        self.sending: set[asyncio.Task[Outcome]] = set()
        self.under_way = 0
        self.under_way_max = 0
        self.waits: list[float] = []
        self.ready = True
        self.differences: list[str] = []
        self.stale = 0

    # ------------------------------------------------------------ Commands
    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        self.received.append(command)
        self.waits.append(wait_s)
        if command.key.id == "full":
            raise Overloaded
        if command.key.id == "broken":
            raise RuntimeError("a bug, with a secret in it")
        if command.key.id == "slow":
            await self.release.wait()
        if command.key.id in ("poison", "parked"):
            return self._unfinished(command, parked=command.key.id == "parked")
        return self._finished(command)

    def submit(self, command: Command, waiter: Waiter, *, wait_s: float) -> None:
        if command.key.id == "full":
            raise Overloaded
        if command.key.id == "broken":
            raise RuntimeError("a bug, with a secret in it")
        sending = asyncio.get_running_loop().create_task(self.send(command, wait_s=wait_s))
        self.sending.add(sending)
        sending.add_done_callback(lambda done: self._tell(done, waiter))

    def _tell(self, done: asyncio.Task[Outcome], waiter: Waiter) -> None:
        self.sending.discard(done)
        if not done.cancelled():
            error = done.exception()
            waiter.tell(0, error if isinstance(error, EventoError) else done.result())

    async def send_many(
        self, commands: Sequence[Command], *, wait_s: float, order: StreamOrder | None = None
    ) -> Sequence[Outcome | EventoError]:
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        answers: list[Outcome | EventoError] = []
        for command in commands:
            try:
                answers.append(await self.send(command, wait_s=wait_s))
            except EventoError as error:
                answers.append(error)
        self.under_way -= 1
        return answers

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        found = [each for each in self.waiting.values() if each.number > after and parked in (None, each.parked)]
        return found[:limit]

    async def retry(self, key: EntityKey, command_id: str) -> None:
        self._finished(self._take(key, command_id).command)

    async def discard(self, key: EntityKey, command_id: str) -> None:
        command = self._take(key, command_id).command
        self.turns[key, command_id] = Turn(command, OutcomeKind.DISCARDED, self._version(key), (), command.accepted_us)

    def _take(self, key: EntityKey, command_id: str) -> Pending:
        if (key, command_id) not in self.waiting:
            raise NotFound(f"{command_id} of {key} is not pending")
        return self.waiting.pop((key, command_id))

    def _unfinished(self, command: Command, *, parked: bool) -> Outcome:
        failure = Failure("function-failed", "division by zero", "bank/functions")
        due = None if parked else command.accepted_us + 1_000_000
        pending = Pending(len(self.waiting) + 1, command, attempts=3, due_us=due, parked=parked, failure=failure)
        self.waiting[command.key, command.id] = pending
        return Outcome(OutcomeKind.PARKED if parked else OutcomeKind.PENDING, pending=pending)

    def _finished(self, command: Command) -> Outcome:
        first = self.turns.get((command.key, command.id))
        if first is not None:
            if first.command.payload != command.payload:
                raise IdReused
            return Outcome(first.kind, first, duplicate=True)
        version = self._version(command.key)
        if command.expected not in (None, version):
            raise VersionConflict(expected=command.expected, version=version)
        event = self._decide(command)
        kind = OutcomeKind.REJECTED if event.rejection else OutcomeKind.SUCCEEDED
        turn = Turn(command, kind, version, (event,), command.accepted_us, revision="r1")
        self.turns[command.key, command.id] = turn
        self.streams.setdefault(command.key, []).append(turn)
        return Outcome(kind, turn)

    def _decide(self, command: Command) -> Event:
        amount = self._amount(command.schema_id, command.payload)
        if command.type == "ReceiveDeposit":
            return self._event("MoneyReceived", {"amount": str(amount)})
        if self._balance(command.key) < amount:
            return self._event("WithdrawalRejected", {"reason": "insufficient funds"}, rejection=True)
        return self._event("CashWithdrawn", {"amount": str(amount)})

    def _event(self, name: str, data: dict[str, str], *, rejection: bool = False) -> Event:
        schema_id = self.registry.catalog.event("bank", "Checking", name).schema_id
        return Event(name, schema_id, self.registry.catalog.schema(schema_id).from_json(data), rejection)

    def _amount(self, schema_id: int, payload: bytes) -> Decimal:
        data = self.registry.catalog.schema(schema_id).to_json(payload)
        assert isinstance(data, dict)
        return Decimal(data["amount"])

    def _version(self, key: EntityKey) -> int:
        stream = self.streams.get(key)
        return stream[-1].version if stream else 0

    def _balance(self, key: EntityKey, version: int | None = None) -> Decimal:
        balance = Decimal("0.00")
        for turn in self.streams.get(key, ()):
            if version is not None and turn.version > version:
                break
            signs = {"MoneyReceived": 1, "CashWithdrawn": -1}
            for event in turn.events:
                if event.type in signs:
                    balance += signs[event.type] * self._amount(event.schema_id, event.payload)
        return balance

    # ------------------------------------------------------------ Reads
    async def state(self, key: EntityKey, *, version: int | None = None, at_us: int | None = None) -> State:
        stream = [turn for turn in self.streams.get(key, ()) if at_us is None or turn.time_us <= at_us]
        if not stream or (version or 0) > stream[-1].version:
            raise NotFound(f"{key} does not exist")
        version = version or stream[-1].version
        schema_id = self.registry.catalog.entity("bank", "Checking").schema_id
        payload = self.registry.catalog.schema(schema_id).from_json({"balance": str(self._balance(key, version))})
        return State(version, payload, schema_id, "r1")

    async def stream(self, key: EntityKey, *, after: int = 0, limit: int = 100) -> Sequence[Turn]:
        if key not in self.streams:
            raise NotFound(f"{key} does not exist")
        return [turn for turn in self.streams[key] if turn.version > after][:limit]

    async def outcome(self, key: EntityKey, command_id: str) -> Outcome:
        if (key, command_id) in self.turns:
            turn = self.turns[key, command_id]
            return Outcome(turn.kind, turn)
        if (key, command_id) in self.waiting:
            pending = self.waiting[key, command_id]
            return Outcome(OutcomeKind.PARKED if pending.parked else OutcomeKind.PENDING, pending=pending)
        raise NotFound(f"there is no Command {command_id} of {key}")

    async def instances(self, namespace: str, entity: str, *, after: str = "", limit: int = 100) -> Sequence[InstanceEntry]:
        keys = sorted(key for key in self.streams if key.id > after)
        return [InstanceEntry(key, await self.state(key)) for key in keys[:limit]]

    # ------------------------------------------------------------ Operations
    def status(self) -> Status:
        reason = "" if self.ready else "states are being folded again"
        return Status(self.ready, reason, "memory", self.registry.catalog.version)

    async def verify(self) -> Verdict:
        return Verdict(self.differences, self.stale)

    async def deploy(self, documents: Sequence[object], *, dry_run: bool, prune: bool) -> Deployed:
        plan = self.registry.plan(documents_of(documents), prune=prune)
        if plan.problems:
            raise DeploymentRefused(problems=plan.problems)
        catalog = self.registry.catalog if dry_run else await self.registry.commit(plan)
        return Deployed(catalog.version, plan.changed and not dry_run, plan.changes)


class Server:
    """The scripted platform behind real HTTP, and a client's session to it."""

    def __init__(self, scripted: Scripted, platform: Platform, port: int, session: aiohttp.ClientSession) -> None:
        self.scripted = scripted
        self.platform = platform
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.session = session


@asynccontextmanager
async def serving(documents: Documents | None = None) -> AsyncIterator[Server]:
    registry = Registry(MemoryJournal())
    await registry.commit(registry.plan(documents or documents_of(BANK)))
    scripted = Scripted(registry)
    platform = Platform(
        catalog=lambda: registry.catalog,
        commands=scripted,
        reads=scripted,
        operations=scripted,
        deploy=scripted.deploy,
        metrics=Metrics(),
        clock=SystemClock(),
        waits=Waits(),
    )
    async with (
        listening(create_app(platform), host="127.0.0.1", port=0, shutdown_s=1) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield Server(scripted, platform, port, session)
