"""A runtime on the tests' engine, and calls to the puppet in its containers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from evento.clock import SystemClock
from evento.functions.base import FunctionClient, InstanceCall, Item, Operation
from evento.functions.container import ContainerRuntime
from evento.functions.leftovers import Belongings
from evento.functions.registries import Registries
from evento.functions.replica import ReplicaObserver
from evento.model.resources import FunctionSpec
from tests.containers.engine import Engine


class Heard(ReplicaObserver):
    """Remembers what a platform would count."""

    def __init__(self) -> None:
        self.ready = 0
        self.most = 0
        self.causes: list[str] = []
        self.end = asyncio.Event()

    def replicas_changed(self, function: str, change: int) -> None:
        self.ready += change
        self.most = max(self.most, self.ready)

    def replica_ended(self, function: str, cause: str) -> None:
        self.causes.append(cause)
        self.end.set()


def contained(image: str, mode: str = "", **fields: Any) -> FunctionSpec:
    """Return a function that is this image, in a mode of the puppet."""
    env = {"MODE": mode} | fields.pop("env", {})
    return FunctionSpec("test", "puppet", image=image, env=env, **{"timeout_s": 30.0, "start_s": 90.0} | fields)


@asynccontextmanager
async def runtime(
    engine: Engine, folder: Path, heard: Heard | None = None, *, registries: Registries | None = None
) -> AsyncIterator[ContainerRuntime]:
    """Give the runtime of a platform whose data and sockets are in this folder."""
    belongings = Belongings(folder, folder)
    made = ContainerRuntime(SystemClock(), belongings, lambda: engine.url, registries=registries, observer=heard)
    async with made.running():
        yield made


@asynccontextmanager
async def serving(
    engine: Engine, folder: Path, function: FunctionSpec, heard: Heard | None = None
) -> AsyncIterator[FunctionClient]:
    """Serve one function as a platform does that has just deployed it."""
    async with runtime(engine, folder, heard) as containers, containers.serve(function) as client:
        yield client


async def do(client: FunctionClient, order: str = "ok", instance: str = "a") -> str:
    """Give the puppet an order, and return what its event says."""
    reply = await client.call(Operation.TURN, "test", "Counter", [call(order, instance)])
    return said(reply.instances[0].results[0][0].payload)


async def ask(client: FunctionClient, order: str) -> Any:
    """Give an order whose answer is JSON."""
    return json.loads(await do(client, order))


def call(order: str, instance: str = "a") -> InstanceCall:
    return InstanceCall(instance, 0, None, [Item("Do", _length(order) + order.encode(), 1, f"c-{instance}")])


def said(payload: bytes) -> str:
    shift = next(place for place, byte in enumerate(payload) if byte < 128) + 1
    return payload[shift:].decode()


def _length(text: str) -> bytes:
    """Return a short string's length as Avro has it."""
    number = 2 * len(text.encode())
    assert number < 128
    return bytes([number])
