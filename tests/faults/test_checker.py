"""The checker finds what it is there to find: a history that keeps every promise, and one that breaks each."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import bank
from tests.faults.checker import Final, History, Seen, Told, broken

Json = dict[str, Any]
PLACE = (bank.CHECKING, "anna")


class World:
    """Three Commands of one account, told one after another, and seen once."""

    def __init__(self) -> None:
        self.history = History()
        self.stream: list[Json] = []
        self.pending: list[Json] = []
        self.version: int | None = None
        for number, (name, kind, data) in enumerate(
            (
                ("OpenChecking", "CheckingOpened", {"owner": "Anna", "overdraft_limit": "5.00"}),
                ("ReceiveDeposit", "MoneyReceived", {"amount": "10.00"}),
                ("WithdrawCash", "CashWithdrawn", {"amount": "3.00"}),
            ),
            1,
        ):
            event = {"id": f"bank/Checking/anna/{number}", "type": kind, "version": number, "data": data}
            command = bank.command("anna", name, data, f"c{number}")
            self.history.invoke(command)
            answer = {"command_id": f"c{number}", "outcome": "succeeded", "version": number, "events": [event], "duplicate": False}
            self.history.tell(command, answer, float(10 * number), float(10 * number + 5))
            self.stream.append({**event, "command_id": f"c{number}", "revision": "r1"})
        self.history.see(Seen(PLACE, 2, self.fold(2), 26.0, 27.0))

    def fold(self, version: int) -> Json:
        state = None
        for event in self.stream[:version]:
            state = bank.fold(state, event)
        assert state is not None
        return state

    def told(self, number: int, **changed: Any) -> None:
        told = self.history.told[number - 1]
        self.history.told.append(Told(told.place, told.command_id, {**told.answer, **changed}, 40.0, 45.0))

    def broken(self) -> list[str]:
        state = self.fold(len(self.stream))
        version = len(self.stream) if self.version is None else self.version
        return broken(self.history, Final({PLACE: self.stream}, {PLACE: (version, state)}, self.pending), bank.fold)


def lost_event(world: World) -> None:
    del world.stream[2]


def accepted_and_gone(world: World) -> None:
    command = bank.command("anna", "ReceiveDeposit", {"amount": "1.00"}, "c4")
    world.history.invoke(command)
    answer = {"command_id": "c4", "outcome": "pending", "version": None, "events": [], "duplicate": False}
    world.history.tell(command, answer, 40.0, 45.0)


def stuck(world: World) -> None:
    world.pending.append({"entity": PLACE[0], "id": PLACE[1], "command_id": "c4"})


def event_of_nobody(world: World) -> None:
    world.stream.append({**world.stream[2], "id": "bank/Checking/anna/4", "version": 4, "command_id": "c9"})


def event_of_a_refused_command(world: World) -> None:
    command = bank.command("anna", "WithdrawCash", {"amount": "3.00"}, "c9")
    world.history.invoke(command)
    world.history.refuse(command, {"code": "payload-refused", "status": 400})
    event_of_nobody(world)


def doubled_event(world: World) -> None:
    world.stream.append({**world.stream[2], "id": "bank/Checking/anna/4", "version": 4})


def gap(world: World) -> None:
    world.stream[2] = {**world.stream[2], "version": 4}


def disorder(world: World) -> None:
    world.history.told[1], world.history.told[2] = (
        world.history.told[1]._replace(sent=30.0, heard=35.0),
        world.history.told[2]._replace(sent=20.0, heard=25.0),
    )


def wrong_state(world: World) -> None:
    world.history.see(Seen(PLACE, 2, {**world.fold(2), "balance": "11.00"}, 26.0, 27.0))


def state_of_a_future(world: World) -> None:
    world.history.see(Seen(PLACE, 7, world.fold(3), 50.0, 51.0))


def stale_read(world: World) -> None:
    world.history.see(Seen(PLACE, 1, world.fold(1), 50.0, 51.0))


def read_that_goes_back(world: World) -> None:
    world.history.told = world.history.told[:1]
    world.history.see(Seen(PLACE, 1, world.fold(1), 28.0, 29.0))


def state_behind_its_events(world: World) -> None:
    world.version = 2


def pending_and_finished(world: World) -> None:
    world.pending.append({"entity": PLACE[0], "id": PLACE[1], "command_id": "c3"})


def another_answer_the_second_time(world: World) -> None:
    world.told(3, version=4, duplicate=True)


def executed_for_the_first_time_twice(world: World) -> None:
    world.told(3)


def told_another_event_than_is_stored(world: World) -> None:
    world.stream[2] = {**world.stream[2], "data": {"amount": "4.00"}}


def test_a_history_that_keeps_every_promise_is_not_objected_to() -> None:
    world = World()
    world.told(3, duplicate=True)
    assert world.broken() == []


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (lost_event, "I1 lost"),
        (accepted_and_gone, "I1 lost"),
        (stuck, "I1 stuck"),
        (event_of_nobody, "I2 phantom"),
        (event_of_a_refused_command, "I2 phantom"),
        (doubled_event, "I3 doubled"),
        (gap, "I4 gap"),
        (disorder, "I5 order"),
        (wrong_state, "I6 fold"),
        (state_of_a_future, "I6 fold"),
        (stale_read, "I9 stale read"),
        (read_that_goes_back, "I9 stale read"),
        (state_behind_its_events, "I11 cut"),
        (pending_and_finished, "I11 cut"),
        (another_answer_the_second_time, "I12 answers"),
        (executed_for_the_first_time_twice, "I12 answers"),
        (told_another_event_than_is_stored, "I12 answers"),
    ],
)
def test_each_broken_promise_is_found(wrong: Callable[[World], None], rule: str) -> None:
    world = World()
    wrong(world)
    assert any(sentence.startswith(rule) for sentence in world.broken()), world.broken()
