"""The bank that the simulator plays: its manifests, its function in process, and an independent fold for the checker."""

import asyncio
from collections.abc import Sequence
from io import BytesIO
from random import Random
from typing import Any

import fastavro

from evento.errors import FunctionCrashed, FunctionTimeout, FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Item, Operation, Reply
from evento.model.command import Failure

AMOUNT = {"name": "amount", "type": "long"}
BASIS = [{"name": "command_id", "type": "string"}, {"name": "nonce", "type": "long"}, {"name": "basis", "type": "long"}]


def record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "bank", "fields": list(fields)}


SCHEMAS = {
    "Account": record("Account", {"name": "balance", "type": "long"}, {"name": "events", "type": "long"}),
    "Deposit": record("Deposit", AMOUNT),
    "Withdraw": record("Withdraw", AMOUNT),
    "Deposited": record("Deposited", AMOUNT, *BASIS),
    "Withdrawn": record("Withdrawn", AMOUNT, *BASIS),
    "Refused": record("Refused", AMOUNT, *BASIS),
}
PARSED = {name: fastavro.parse_schema(schema) for name, schema in SCHEMAS.items()}


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "evento.dev/v1", "kind": kind, "metadata": {"name": name, "namespace": "bank"}, "spec": spec}


def manifests(*, attempts_max: int = 0) -> list[dict[str, Any]]:
    retry = {"first": "100ms", "factor": 2, "cap": "5s", "maxAttempts": attempts_max}
    commands = {
        "Deposit": {"events": ["Deposited"]},
        "Withdraw": {"events": ["Withdrawn"], "rejections": ["Refused"]},
    }
    return [
        document("Function", "sim", {"url": "http://127.0.0.1:1"}),
        document("Entity", "Account", {"schema": SCHEMAS["Account"], "apply": "sim"}),
        *(
            document("Event", name, {"entity": "Account", "schema": SCHEMAS[name]})
            for name in ("Deposited", "Withdrawn", "Refused")
        ),
        *(
            document("Command", name, {"entity": "Account", "schema": SCHEMAS[name], "handle": "sim", "retry": retry, **ends})
            for name, ends in commands.items()
        ),
    ]


def encode(name: str, value: dict[str, Any]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED[name], value)
    return out.getvalue()


def decode(name: str, payload: bytes) -> dict[str, Any]:
    value = fastavro.schemaless_reader(BytesIO(payload), PARSED[name], None)
    assert isinstance(value, dict)
    return value


def fold(state: dict[str, Any] | None, event_type: str, event: dict[str, Any]) -> dict[str, Any]:
    balance, events = (state["balance"], state["events"]) if state else (0, 0)
    change = {"Deposited": event["amount"], "Withdrawn": -event["amount"], "Refused": 0}[event_type]
    return {"balance": balance + change, "events": events + 1}


class SimFunction:
    """The bank's function: pure where it answers, and as unreliable as the seed says."""

    def __init__(self, random: Random, *, trouble: float, poisoned: frozenset[str], revision: str = "r1") -> None:
        self._random = random
        self.trouble = trouble
        self.poisoned = poisoned
        self.healed = False
        self._revision = revision
        self._nonces = 0
        self.calls = 0

    @property
    def revision(self) -> str:
        return self._revision

    async def ready(self) -> None:
        await asyncio.sleep(self._random.random() * 0.05)
        if not self.healed and self._random.random() < self.trouble:
            raise FunctionUnavailable("not up yet")

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        self.calls += 1
        await asyncio.sleep(self._random.expovariate(200))
        if not self.healed:
            await self._misbehave()
        reply = Reply(self._revision, [self._instance(operation, call) for call in calls])
        await asyncio.sleep(self._random.expovariate(500))
        return reply

    async def _misbehave(self) -> None:
        fate = self._random.random()
        if fate < self.trouble / 4:
            raise FunctionUnavailable("connection refused")
        if fate < self.trouble / 2:
            await asyncio.sleep(2)
            raise FunctionTimeout()
        if fate < self.trouble * 3 / 4:
            raise FunctionCrashed()
        if fate < self.trouble:
            raise InvalidFunctionResult()

    def _instance(self, operation: Operation, call: InstanceCall) -> InstanceReply:
        state = None if call.state is None else decode("Account", call.state)
        assert (state is None) == (call.version == 0)
        results: list[list[FunctionEvent]] = []
        version = call.version
        for item in call.items:
            if operation is Operation.APPLY:
                state = fold(state, item.type, decode(item.type, item.payload))
                results.append([])
                continue
            if not self.healed and (call.id in self.poisoned or self._random.random() < self.trouble / 10):
                done = encode("Account", state) if state and results else None
                return InstanceReply(results, done, Failure("handler-failed", "ValueError: poisoned"))
            kind, event = self._decide(item, state, version)
            if not self.healed and self._random.random() < self.trouble / 20:
                kind = "Nonsense"  # an undeclared event: the platform must refuse it and what is built on it
            results.append([FunctionEvent(kind, encode(kind, event) if kind in PARSED else b"")])
            if kind in PARSED:
                state = fold(state, kind, event)
            version += 1
        return InstanceReply(results, encode("Account", state) if state and results else None)

    def _decide(self, item: Item, state: dict[str, Any] | None, version: int) -> tuple[str, dict[str, Any]]:
        amount = decode(item.type, item.payload)["amount"]
        self._nonces += 1
        event = {"amount": amount, "command_id": item.command_id, "nonce": self._nonces, "basis": version}
        if item.type == "Deposit":
            return "Deposited", event
        enough = state is not None and state["balance"] >= amount
        return ("Withdrawn" if enough else "Refused"), event
