"""`evento verify`, as far as it knows nothing of the journal: for each of its sentences something that it must find."""

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace

from evento.engine.base import Verdict
from evento.engine.callers import Caller
from evento.journal.memory import MemoryJournal
from evento.model.command import Command, Event, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Run, Transition
from evento.reads.verify import Verification
from evento.registry.catalog import Catalog
from evento.registry.deployment import Registry
from evento.registry.documents import documents_of
from tests.simulation.bank import SimFunction, encode, manifests

KEY, FINE = EntityKey("bank", "Account", "forged"), EntityKey("bank", "Account", "fine")
DEPOSITED = encode("Deposited", {"amount": 5, "command_id": "c", "nonce": 1, "basis": 0})
BALANCE = encode("Account", {"balance": 5, "events": 1})
OTHER = encode("Account", {"balance": 1_000_000, "events": 1})


class Bank:
    """A journal in which two accounts have a deposit each; one of them may be changed before it is written."""

    def __init__(self, catalog: Catalog) -> None:
        entity = catalog.entity("bank", "Account")
        self.event = Event("Deposited", entity.events["Deposited"].schema_id, DEPOSITED)
        self.state = State(1, BALANCE, entity.schema_id, "r1")
        command = catalog.command("bank", "Account", "Deposit")
        sent = Command("c", KEY, "Deposit", command.schema_id, encode("Deposit", {"amount": 5}), 0)
        self.turn = Turn(sent, OutcomeKind.SUCCEEDED, 0, (self.event,), 0, "r1")


async def verified(change: Callable[[Bank], None]) -> Verdict:
    journal = MemoryJournal()
    registry = Registry(journal)
    catalog = await registry.commit(registry.plan(documents_of(manifests())))
    function = SimFunction(Random(1), trouble=0, poisoned=frozenset())
    async with journal.own(0) as partition:
        for key in (FINE, KEY):
            bank = Bank(catalog)
            if key == KEY:
                change(bank)
            turn = replace(bank.turn, command=replace(bank.turn.command, key=key))
            await partition.append(Transition(runs=(Run(key, 0, (turn,), bank.state),)))
    caller = Caller("bank", "sim", function, observe=lambda *_: None)
    return await Verification(journal, catalog, {("bank", "sim"): caller}).run()


def with_state(**changes: object) -> Callable[[Bank], None]:
    def change(bank: Bank) -> None:
        bank.state = replace(bank.state, **changes)

    return change


def with_turn(**changes: object) -> Callable[[Bank], None]:
    def change(bank: Bank) -> None:
        bank.turn = replace(bank.turn, **changes)

    return change


def with_event(**changes: object) -> Callable[[Bank], None]:
    def change(bank: Bank) -> None:
        bank.turn = replace(bank.turn, events=(replace(bank.event, **changes),))

    return change


def untouched(bank: Bank) -> None:
    assert bank.turn.events == (bank.event,)


async def test_what_is_right_is_found_right() -> None:
    assert await verified(untouched) == Verdict([], 0)


FORGED: dict[str, tuple[Callable[[Bank], None], str]] = {
    "a state": (with_state(payload=OTHER), "bank/Account/forged: the state at version 1 is not the fold of its events"),
    "a state's version": (with_state(version=7), "bank/Account/forged is stored at version 7, and has 1 events"),
    "a rejection": (with_event(rejection=True), "Command c of bank/Account/forged is told as succeeded, and its events say other"),
    "an outcome without events": (with_turn(events=()), "Command c of bank/Account/forged is told as succeeded and has no event"),
    "a conflict with events": (with_turn(kind=OutcomeKind.CONFLICT), "bank/Account/forged is told as conflict and has events"),
    "an event's type": (
        with_event(type="Stolen"),
        "bank/Account/forged: after version 0 comes an Event 'Stolen', which is not",
    ),
    "an event's schema": (with_event(schema_id=99), "event 1 of bank/Account/forged cannot be read: there is no schema 99"),
    "the same, folded": (with_event(schema_id=99), "bank/Account/forged: what comes after version 0 cannot be read: there is no"),
    "an event's payload": (
        with_event(payload=DEPOSITED + b"!"),
        "event 1 of bank/Account/forged is not canonical Avro of its schema",
    ),
    "an old state's schema": (
        with_state(schema_id=99),
        "the state of bank/Account/forged at version 1, of an earlier apply or schema, cannot be read: there is no schema 99",
    ),
    "an old state's payload": (
        with_state(revision="r0", payload=b"\xff"),
        "the state of bank/Account/forged at version 1, of an earlier apply or schema, is not canonical Avro of its schema",
    ),
}


@pytest.mark.parametrize("case", FORGED)
async def test_what_is_wrong_is_found(case: str) -> None:
    change, expected = FORGED[case]
    verdict = await verified(change)
    assert any(expected in difference for difference in verdict.differences), verdict
    assert not any(str(FINE) in difference for difference in verdict.differences), verdict


async def test_states_of_an_earlier_apply_or_schema_are_counted_and_not_compared() -> None:
    assert await verified(with_state(revision="r0", payload=OTHER)) == Verdict([], 1)
