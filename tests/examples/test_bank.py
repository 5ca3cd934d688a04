"""The bank's rules, three questions for each Command: the right event, the right refusal, the right silence."""

import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from evento.registry.manifests import read_manifests
from evento.registry.module import read_module
from evento.sdk.load import load
from evento.sdk.testing import given

FOLDER = Path(__file__).parents[2] / "examples" / "bank"
load("bank:app", str(FOLDER))
bank = sys.modules["bank"]

from bank import (  # noqa: E402
    CashWithdrawn,
    Checking,
    CheckingClosed,
    CheckingOpened,
    CloseChecking,
    CloseRejected,
    CloseSavings,
    CreditInterest,
    DepositRejected,
    DepositSavings,
    InterestCredited,
    MoneyReceived,
    OpenChecking,
    OpenRejected,
    OpenSavings,
    OverdraftLimitRejected,
    OverdraftLimitSet,
    Reason,
    ReceiveDeposit,
    Savings,
    SavingsClosed,
    SavingsDeposited,
    SavingsOpened,
    SavingsRejected,
    SavingsWithdrawn,
    SetOverdraftLimit,
    Status,
    WithdrawalRejected,
    WithdrawCash,
    WithdrawSavings,
)  # fmt: skip


def money(text):
    return Decimal(text)


OPENED = CheckingOpened("ada", money("100.00"))
SAVING = SavingsOpened("ada")


# ------------------------------------------------------------------ right events
@pytest.mark.parametrize(
    ("history", "command", "event", "state"),
    [
        ([], OpenChecking("ada", money("100.00")), OPENED, Checking("ada", money("0.00"), money("100.00"), Status.OPEN)),
        (
            [OPENED],
            ReceiveDeposit(money("40.00")),
            MoneyReceived(money("40.00")),
            Checking("ada", money("40.00"), money("100.00"), Status.OPEN),
        ),
        (
            [OPENED],
            WithdrawCash(money("100.00")),
            CashWithdrawn(money("100.00")),
            Checking("ada", money("-100.00"), money("100.00"), Status.OPEN),
        ),
        (
            [OPENED],
            SetOverdraftLimit(money("0.00")),
            OverdraftLimitSet(money("0.00")),
            Checking("ada", money("0.00"), money("0.00"), Status.OPEN),
        ),
        ([OPENED], CloseChecking(), CheckingClosed(), Checking("ada", money("0.00"), money("100.00"), Status.CLOSED)),
    ],
)
def test_checking_right_event(history, command, event, state):
    given(Checking, history).when(command).then(event).then_state(state)


@pytest.mark.parametrize(
    ("history", "command", "event", "balance"),
    [
        ([], OpenSavings("ada"), SAVING, "0.00"),
        ([SAVING], DepositSavings(money("40.00")), SavingsDeposited(money("40.00")), "40.00"),
        ([SAVING, SavingsDeposited(money("5.00"))], WithdrawSavings(money("5.00")), SavingsWithdrawn(money("5.00")), "0.00"),
        (
            [SAVING, SavingsDeposited(money("500.20"))],
            CreditInterest(money("1.2500")),
            InterestCredited(money("6.25"), money("1.2500")),
            "506.45",
        ),
        ([SAVING], CloseSavings(), SavingsClosed(), "0.00"),
    ],
)
def test_savings_right_event(history, command, event, balance):
    assert given(Savings, history).when(command).then(event).state.balance == money(balance)


def test_interest_is_rounded_to_the_cent_halves_up():
    for balance, expected in (("0.49", "0.00"), ("0.50", "0.01"), ("1.50", "0.02"), ("2.50", "0.03")):
        history = [SAVING, SavingsDeposited(money(balance))]
        given(Savings, history).when(CreditInterest(money("1"))).then(InterestCredited(money(expected), money("1.0000")))


# ------------------------------------------------------------------ right refusals
CLOSED = [OPENED, CheckingClosed()]


@pytest.mark.parametrize(
    ("history", "command", "refusal"),
    [
        ([OPENED], OpenChecking("eve"), OpenRejected(Reason.ALREADY_OPEN)),
        (CLOSED, OpenChecking("eve"), OpenRejected(Reason.CLOSED)),
        ([], OpenChecking("eve", money("-1.00")), OpenRejected(Reason.NOT_POSITIVE)),
        ([], ReceiveDeposit(money("1.00")), DepositRejected(money("1.00"), Reason.NOT_OPEN)),
        (CLOSED, ReceiveDeposit(money("1.00")), DepositRejected(money("1.00"), Reason.CLOSED)),
        ([OPENED], ReceiveDeposit(money("0.00")), DepositRejected(money("0.00"), Reason.NOT_POSITIVE)),
        ([], WithdrawCash(money("1.00")), WithdrawalRejected(money("1.00"), Reason.NOT_OPEN)),
        (CLOSED, WithdrawCash(money("1.00")), WithdrawalRejected(money("1.00"), Reason.CLOSED)),
        ([OPENED], WithdrawCash(money("-1.00")), WithdrawalRejected(money("-1.00"), Reason.NOT_POSITIVE)),
        ([OPENED], WithdrawCash(money("100.01")), WithdrawalRejected(money("100.01"), Reason.INSUFFICIENT_FUNDS)),
        ([], SetOverdraftLimit(money("1.00")), OverdraftLimitRejected(money("1.00"), Reason.NOT_OPEN)),
        ([OPENED], SetOverdraftLimit(money("-1.00")), OverdraftLimitRejected(money("-1.00"), Reason.NOT_POSITIVE)),
        (
            [OPENED, CashWithdrawn(money("60.00"))],
            SetOverdraftLimit(money("59.99")),
            OverdraftLimitRejected(money("59.99"), Reason.INSUFFICIENT_FUNDS),
        ),
        ([OPENED, MoneyReceived(money("0.01"))], CloseChecking(), CloseRejected(Reason.NOT_EMPTY)),
        ([OPENED, CashWithdrawn(money("0.01"))], CloseChecking(), CloseRejected(Reason.NOT_EMPTY)),
        ([], CloseChecking(), CloseRejected(Reason.NOT_OPEN)),
        (CLOSED, CloseChecking(), CloseRejected(Reason.CLOSED)),
    ],
)
def test_checking_right_refusal_and_the_account_stays_as_it_was(history, command, refusal):
    before = given(Checking, history)
    then = before.when(command).then_rejected(refusal)
    if history:
        before.then_state(then.state)
    else:
        assert then.state == Checking()


@pytest.mark.parametrize(
    ("history", "command", "reason"),
    [
        ([SAVING], OpenSavings("eve"), Reason.ALREADY_OPEN),
        ([], DepositSavings(money("1.00")), Reason.NOT_OPEN),
        ([SAVING], WithdrawSavings(money("0.01")), Reason.INSUFFICIENT_FUNDS),
        ([SAVING], CreditInterest(money("0")), Reason.NOT_POSITIVE),
        ([], CreditInterest(money("1")), Reason.NOT_OPEN),
        ([SAVING, SavingsClosed()], CreditInterest(money("1")), Reason.CLOSED),
        ([SAVING, SavingsDeposited(money("0.01"))], CloseSavings(), Reason.NOT_EMPTY),
    ],
)
def test_savings_right_refusal(history, command, reason):
    given(Savings, history).when(command).then_rejected(SavingsRejected(reason))


# ------------------------------------------------------------------ right silence
def test_amounts_that_no_account_can_hold_end_in_silence_and_change_nothing():
    most = Decimal(10) ** 16 - Decimal("0.01")
    given(Checking, [OPENED, MoneyReceived(most)]).when(ReceiveDeposit(money("0.01"))).then_fails("balance", code="apply-failed")
    given(Savings, [SAVING, SavingsDeposited(most)]).when(DepositSavings(money("0.01"))).then_fails("balance", code="apply-failed")


def test_a_refused_account_can_be_opened_later():
    refused = DepositRejected(money("1.00"), Reason.NOT_OPEN)
    given(Checking, [refused]).when(OpenChecking("ada")).then(CheckingOpened("ada", money("0.00")))


# ------------------------------------------------------------------ the files beside it
def resources(documents):
    assert documents.problems == ()
    found = {}
    for content in documents.contents:
        entity = content["spec"].get("entity") if content["kind"] == "Command" else None
        found[content["kind"], entity, content["metadata"]["name"]] = content
    return found


def test_the_manifests_in_yaml_are_those_of_the_module():
    assert resources(read_manifests([FOLDER / "manifests.yaml"])) == resources(read_module(str(FOLDER / "bank.py")))


def test_the_sample_commands_are_decided_as_expected():
    events, states, outcomes = {}, {}, []
    for line in (FOLDER / "commands.ndjson").read_text("utf-8").splitlines():
        sent = json.loads(line)
        entity = bank.bank.entities[sent["entity"].removeprefix("bank/")]
        declared = entity.commands[sent["command"]]
        data = {name: value if name == "owner" else Decimal(value) for name, value in sent["data"].items()}
        key = (entity.name, sent["id"])
        then = given(entity.cls, events.setdefault(key, [])).when(declared.cls(**data))
        assert then.failure is None
        events[key] += then.events
        states[key] = then.state
        outcomes.append(bool(then.rejections))
    balances = {key: str(state.balance) for key, state in states.items()}
    assert balances == {
        ("Checking", "alice"): "-50.00", ("Checking", "bob"): "0.00", ("Checking", "carol"): "0.00", ("Checking", "dave"): "0.00",
        ("Savings", "alice"): "500.00", ("Savings", "carol"): "0.00",
    }  # fmt: skip
    assert sum(outcomes) == 8
    assert {key for key, state in states.items() if state.status is Status.CLOSED} == {
        ("Checking", "carol"), ("Checking", "dave"), ("Savings", "carol"),
    }  # fmt: skip
