"""How fast a function is, as its caller learns: what came as records is called in batches of a tenth of a second."""

import asyncio
from collections.abc import Sequence

from evento.engine.callers import Caller
from evento.functions.base import InstanceCall, Item, Operation, Reply
from evento.testing.virtual import run_virtual

ITEM_S = 0.001


class Teller:
    """A function that takes its time."""

    revision = "r1"

    async def ready(self) -> None:
        pass

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        await asyncio.sleep(ITEM_S * sum(len(call.items) for call in calls))
        return Reply("r1", ())


def calls(items: int) -> list[InstanceCall]:
    return [InstanceCall("a", 0, None, [Item("Deposit", b"", 0, "c")] * items)]


def test_a_caller_knows_the_pace_of_its_function() -> None:
    async def play() -> None:
        caller = Caller("bank", "tellers", Teller(), observe=lambda *_: None)
        assert caller.pace == 0
        for items in (10, 500):
            await caller.call(Operation.TURN, "bank", "Account", calls(items))
            assert round(caller.pace) == round(1 / ITEM_S)

    run_virtual(play())
