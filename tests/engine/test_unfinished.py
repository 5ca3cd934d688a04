"""Unfinished Commands are found by instance and id, also where two instances have the same id; and there is room for so many."""

from itertools import permutations

import pytest

from evento.engine.ticket import Ticket
from evento.engine.unfinished import Limits, Unfinished
from evento.model.command import Command
from evento.model.keys import EntityKey


def ticket(account: str, number: int) -> Ticket:
    return Ticket(Command("c", EntityKey("bank", "Account", account), "Deposit", 1, b"", 0), number)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_commands_with_the_same_id_are_told_apart_by_their_instances(order: tuple[int, ...]) -> None:
    unfinished = Unfinished(Limits())
    tickets = [ticket(account, number) for number, account in enumerate("abc")]
    for each in tickets:
        unfinished.add(each)
    assert unfinished.find(EntityKey("bank", "Account", "d"), "c") is None
    for count, place in enumerate(order):
        assert len(unfinished) == unfinished.inbox_commands == 3 - count
        assert all(unfinished.find(each.command.key, "c") is each for each in tickets if each.in_inbox)
        for _ in range(2):  # found finished by its batch and by the storing of it alike
            unfinished.remove([tickets[place]])
            assert len(unfinished) == unfinished.inbox_commands == 2 - count
        assert unfinished.find(tickets[place].command.key, "c") is None
    assert not unfinished.clear()


def test_what_was_sent_again_since_is_not_forgotten_with_the_first() -> None:
    unfinished, first, again = Unfinished(Limits()), ticket("a", 1), ticket("a", 2)
    unfinished.add(first)
    unfinished.remove([first])
    unfinished.add(again)
    unfinished.remove([first])
    assert unfinished.find(again.command.key, "c") is again
    assert unfinished.clear() == [again]


def record(number: int) -> Ticket:
    made = Ticket(Command(str(number), EntityKey("bank", "Account", "a"), "Deposit", 1, bytes(400), 0), number)
    made.is_input = True
    return made


def test_records_leave_their_room_to_those_who_wait_for_an_answer() -> None:
    unfinished = Unfinished(Limits(inbox_commands=2, input_commands=3))
    records = [record(number) for number in range(3)]
    for each in records:
        assert unfinished.has_room_for_inputs()
        unfinished.add(each)
    assert not unfinished.has_room_for_inputs()
    for number in range(2):
        assert unfinished.has_room()
        unfinished.add(Ticket(Command(f"h{number}", EntityKey("bank", "Account", "a"), "Deposit", 1, b"", 0), 10 + number))
    assert not unfinished.has_room()
    assert unfinished.inbox_commands == 5
    unfinished.remove([records[0]])
    assert unfinished.has_room_for_inputs()
    assert not unfinished.has_room()


def test_records_leave_a_quarter_of_the_memory_to_those_who_wait_for_an_answer() -> None:
    unfinished = Unfinished(Limits(inbox_bytes=10_000))
    count = 0
    while unfinished.has_room_for_inputs():
        unfinished.add(record(count))
        count += 1
    assert count == 8  # of 1,000 bytes each; the last one goes over three quarters
    assert unfinished.has_room()
