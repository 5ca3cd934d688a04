"""Who waits is made eager in time, and nothing is kept of those who were answered."""

import asyncio
from typing import cast

import pytest

from evento.engine.ticket import Answer, Ticket, Waiter
from evento.engine.waiting import Patience, Waiting
from evento.engine.worker import Worker
from evento.errors import NotReady
from evento.testing.virtual import run_virtual

TICKET = cast(Ticket, object())


class Hurried:
    """Notes when a worker was asked to hurry, as its waiter too."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.told: list[Answer] = []

    def hurry(self, ticket: Ticket, waiter: Waiter) -> None:
        self.at_s.append(asyncio.get_running_loop().time())

    def tell(self, place: int, answer: Answer) -> None:
        self.told.append(answer)


def begin(patience: Patience, hurried: Hurried, wait_s: float) -> Waiting:
    waiting = Waiting(hurried, lambda answer: answer)
    patience.limit(waiting, cast(Worker, hurried), TICKET, wait_s=wait_s)
    return waiting


@pytest.mark.parametrize(("wait_s", "latest_s"), [(0.0, 0.0), (0.001, 0.001), (0.25, 0.25), (1.0, 1.1), (1.23, 1.33), (60.0, 60.1)])
def test_a_waiter_is_patient_for_as_long_as_it_said_and_a_tenth_of_a_second_longer_at_most(wait_s: float, latest_s: float) -> None:
    async def work() -> None:
        await asyncio.sleep(0.033)
        hurried, patience = Hurried(), Patience()
        begin(patience, hurried, wait_s)
        begin(patience, hurried, wait_s)
        await asyncio.sleep(wait_s + 1)
        assert len(hurried.at_s) == 2
        assert all(wait_s - 1e-9 <= at_s - 0.033 <= latest_s + 1e-9 for at_s in hurried.at_s)

    run_virtual(work())


@pytest.mark.parametrize("wait_s", [0.5, 10.0])
def test_nothing_is_kept_of_an_answered_waiter_and_it_is_not_made_eager(wait_s: float) -> None:
    async def work() -> None:
        hurried, patience = Hurried(), Patience()
        waitings = [begin(patience, hurried, wait_s) for _ in range(100)]
        for waiting in waitings[:99]:
            waiting.tell(0, NotReady())
        assert sum(len(shared) for shared in patience._shared.values()) == (1 if wait_s >= 1 else 0)
        waitings[99].stop()
        assert not any(patience._shared.values())
        assert len(hurried.told) == 99
        await asyncio.sleep(wait_s + 1)
        assert not hurried.at_s
        assert not patience._shared

    run_virtual(work())
