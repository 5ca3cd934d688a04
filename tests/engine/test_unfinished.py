"""Unfinished Commands are found by instance and id, also where two instances have Commands with the same id."""

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
        assert unfinished.remove(tickets[place])
        assert not unfinished.remove(tickets[place])
        assert unfinished.find(tickets[place].command.key, "c") is None
    assert not unfinished.clear()


def test_what_was_sent_again_since_is_not_forgotten_with_the_first() -> None:
    unfinished, first, again = Unfinished(Limits()), ticket("a", 1), ticket("a", 2)
    unfinished.add(first)
    assert unfinished.remove(first)
    unfinished.add(again)
    assert not unfinished.remove(first)
    assert unfinished.find(again.command.key, "c") is again
    assert unfinished.clear() == [again]
