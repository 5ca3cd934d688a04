"""What a caller tells of its function's condition."""

import asyncio
from collections.abc import Sequence

import pytest

from evento.engine.callers import Caller
from evento.errors import FunctionCrashed, FunctionUnavailable
from evento.functions.base import InstanceCall, Operation, Reply
from evento.functions.breaker import PROBE_FIRST_S
from evento.testing.virtual import run_virtual

START_S = 2.0


class Slow:
    """A function that takes its time to start, and then does as it is told."""

    revision = "r1"

    def __init__(self) -> None:
        self.starts = True
        self.works = True

    async def ready(self) -> None:
        await asyncio.sleep(START_S)
        if not self.starts:
            raise FunctionUnavailable("it does not start")

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        if not self.works:
            raise FunctionCrashed("it crashed")
        return Reply("r1", ())


def test_a_function_is_stopped_starting_ready_or_failing() -> None:
    async def play() -> None:
        function = Slow()
        caller = Caller("bank", "tellers", function, observe=lambda *_: None)

        def condition() -> str:
            return caller.status().condition

        assert condition() == "stopped"
        starting = asyncio.create_task(caller.ready())
        await asyncio.sleep(START_S / 2)
        assert condition() == "starting"
        await starting
        assert condition() == "ready"

        function.works = function.starts = False
        with pytest.raises(FunctionCrashed):
            await caller.call(Operation.TURN, "bank", "Account", ())
        assert condition() == "stopped"
        with pytest.raises(FunctionUnavailable):
            await caller.ready()
        assert condition() == "failing"

        function.starts = True
        await asyncio.sleep(PROBE_FIRST_S)
        await caller.ready()
        assert condition() == "ready"

    run_virtual(play())
