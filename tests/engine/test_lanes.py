"""Instances stand in the lane of the function that handles their head, and what failed before stands apart."""

from collections.abc import Iterable

import pytest

from evento.engine.queues import Lane, Queues, Suspicion
from evento.engine.ticket import Ticket
from evento.errors import FunctionTimeout
from evento.model.command import Command, Failure, State
from evento.model.keys import EntityKey

ORDINARY: Lane = ("bank", "tellers", Suspicion.NONE)


def queues(handler: str = "tellers") -> Queues:
    made = Queues(lambda: None, batch_bytes=1_000_000, cached_instances=100, cached_bytes=1_000_000)
    made.use_handlers(lambda ticket: handler)
    return made


def ticket(number: int, account: str = "a", command: str = "Deposit") -> Ticket:
    return Ticket(Command(str(number), EntityKey("bank", "Account", account), command, 1, b"", 0), number)


def take(from_queues: Queues, lane: Lane = ORDINARY, *, commands: int = 100, of_one: int = 100) -> list[list[int]]:
    return [[each.number for each in tickets] for _, tickets in from_queues.take(lane, commands=commands, of_one=of_one)]


def push(onto: Queues, tickets: Iterable[Ticket]) -> None:
    for each in tickets:
        onto.push(each)


def test_commands_of_all_types_of_one_function_go_together_in_the_order_of_acceptance() -> None:
    waiting = queues()
    push(waiting, [ticket(1), ticket(2, "b", "Withdraw"), ticket(3, "a", "Withdraw")])
    assert waiting.lanes() == [ORDINARY]
    assert take(waiting) == [[1, 3], [2]]


@pytest.mark.parametrize(
    ("commands", "of_one", "taken"), [(1, 9, [[1]]), (9, 2, [[1, 2], [4]]), (3, 9, [[1, 2, 3]]), (4, 9, [[1, 2, 3], [4]])]
)
def test_no_more_is_taken_than_asked_for(commands: int, of_one: int, taken: list[list[int]]) -> None:
    waiting = queues()
    push(waiting, [ticket(1), ticket(2), ticket(3), ticket(4, "b")])
    assert take(waiting, commands=commands, of_one=of_one) == taken


def test_what_comes_after_a_deployment_goes_to_the_new_function() -> None:
    waiting = queues()
    push(waiting, [ticket(1)])
    take(waiting)
    waiting.use_handlers(lambda each: "clerks")
    push(waiting, [ticket(2, "b")])
    assert waiting.lanes() == [("bank", "clerks", Suspicion.NONE)]


def test_what_failed_before_stands_apart_and_the_next_of_its_type_does_not_follow_it() -> None:
    waiting = queues()
    failed = ticket(1)
    failed.attempts, failed.failure = 1, Failure(FunctionTimeout.code, "slow")
    push(waiting, [failed, ticket(2, "b")])
    assert waiting.lanes() == [("bank", "tellers", Suspicion.SPOILED_A_CALL), ORDINARY]
    assert take(waiting) == [[2]]


def record(number: int, account: str) -> Ticket:
    """Return a Command that came as a record."""
    made = ticket(number, account)
    made.is_input = True
    return made


def test_who_waits_for_an_answer_overtakes_what_came_as_records_but_for_one_in_four() -> None:
    waiting = queues()
    push(waiting, [record(number, f"r{number}") for number in range(10, 20)])
    push(waiting, [ticket(number, f"w{number}") for number in range(1, 7)])
    assert waiting.has_inputs(ORDINARY)
    assert take(waiting, commands=8) == [[1], [2], [3], [10], [4], [5], [6], [11]]
    assert take(waiting) == [[number] for number in range(12, 20)]
    assert not waiting.has_inputs(ORDINARY)


def test_commands_of_one_instance_stay_in_order_however_they_came() -> None:
    waiting = queues()
    push(waiting, [record(1, "a"), ticket(2, "a"), record(3, "a"), ticket(4, "b")])
    assert take(waiting) == [[4], [1, 2, 3]]


def test_what_came_as_records_can_be_left_to_the_next() -> None:
    waiting = queues()
    push(waiting, [record(1, "a"), ticket(2, "b"), record(3, "c")])
    waiting.leave_inputs()
    assert take(waiting) == [[2]]
    assert not waiting


def test_a_batch_has_no_more_bytes_than_it_may_also_of_states_that_are_not_in_memory() -> None:
    waiting = queues()
    push(waiting, [ticket(number, f"unseen-{number}") for number in range(100)])
    first = waiting.take(ORDINARY, commands=100, of_one=1)
    assert len(first) == 31  # of 32 KiB each, as long as nobody knows better
    for instance, _ in first:
        instance.busy = False
        waiting.keep(instance, State(1, bytes(100), 1, "r"))
    assert len(waiting.take(ORDINARY, commands=100, of_one=1)) == 69

    push(waiting, [ticket(number, f"large-{number}") for number in range(100)])
    for instance, _ in waiting.take(ORDINARY, commands=50, of_one=1):
        waiting.keep(instance, State(1, bytes(200_000), 1, "r"))
    assert len(waiting.take(ORDINARY, commands=50, of_one=1)) == 6
