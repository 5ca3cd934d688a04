"""The bank's year as Commands, and what must come of it. Knows the bank's rules from outside: nothing of the example's code."""

import csv
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.checker import Fold
from tests.faults.node import ROOT

MODULE = ROOT / "examples" / "bank" / "bank.py"
CHECKING = "bank/Checking"
COMMANDS = ("OpenChecking", "ReceiveDeposit", "WithdrawCash")  # those that are sent
OVERDRAFT = "1000000.00"  # the real bank let accounts be overdrawn
DRIFT_MAX = Decimal("1.00")  # the bank's own figures are rounded to 0.10
_FILE = ROOT.parent / "shared" / "data" / "bank_transactions.csv"
_ACCOUNTS, _ROWS = 587, 23_156
_GENERATED_SEED = 1993

Json = dict[str, Any]


class Transaction(NamedTuple):
    """One row: what the bank did, and the balance it then wrote down itself."""

    id: str
    account: str
    credit: bool
    amount: Decimal
    balance: Decimal


@cache
def transactions() -> Sequence[Transaction]:
    """Return the bank's transactions in their order: the real ones if they are at hand, else as many made up ones."""
    file = Path(os.environ.get("EVENTO_BANK_DATA") or _FILE)
    return tuple(_read(file) if file.is_file() else _generated())


def opening(accounts: Sequence[str]) -> list[Json]:
    """Return the Commands that open accounts."""
    data = {"overdraft_limit": OVERDRAFT}
    return [command(account, "OpenChecking", {"owner": account, **data}, f"open-{account}") for account in accounts]


def as_commands(rows: Sequence[Transaction]) -> list[Json]:
    """Return a Command for each transaction, with the transaction's id as its own."""
    return [
        command(row.account, "ReceiveDeposit" if row.credit else "WithdrawCash", {"amount": str(row.amount)}, row.id)
        for row in rows
    ]


def command(account: str, name: str, data: Json, command_id: str, entity: str = CHECKING) -> Json:
    """Return a Command as a line of the stream."""
    return {"entity": entity, "id": account, "command": name, "data": data, "command_id": command_id}


def accounts_of(rows: Sequence[Transaction]) -> list[str]:
    """Return the accounts, in the order of their first transaction."""
    return list(dict.fromkeys(row.account for row in rows))


def fold(state: Json | None, event: Json) -> Json:
    """Fold one event of a Checking account: another implementation than the example's, to hold it against."""
    state = dict(state or {"owner": "", "balance": "0.00", "overdraft_limit": "0.00", "status": "NEW"})
    kind, data = event["type"], event["data"]
    if kind == "CheckingOpened":
        return {"owner": data["owner"], "balance": "0.00", "overdraft_limit": data["overdraft_limit"], "status": "OPEN"}
    if kind in ("MoneyReceived", "CashWithdrawn"):
        sign = 1 if kind == "MoneyReceived" else -1
        state["balance"] = str(Decimal(state["balance"]) + sign * Decimal(data["amount"]))
    elif kind == "OverdraftLimitSet":
        state["overdraft_limit"] = data["limit"]
    elif kind == "CheckingClosed":
        state["status"] = "CLOSED"
    return state


def drifts(rows: Sequence[Transaction], histories: Mapping[str, Sequence[Json]], fold: Fold = fold) -> Iterator[str]:
    """Yield each transaction after which the balance that the events add up to is not the bank's own."""
    balances: dict[str, Decimal] = defaultdict(Decimal)
    after: dict[tuple[str, str], Decimal] = {}
    for account, events in histories.items():
        state = None
        for event in events:
            state = fold(state, event)
            after[account, event["command_id"]] = Decimal(state["balance"])
    for row in rows:
        balances[row.account] = after.get((row.account, row.id), Decimal("NaN"))
        if not abs(balances[row.account] - row.balance) <= DRIFT_MAX:
            yield f"account {row.account} after transaction {row.id}: {balances[row.account]}, and the bank says {row.balance}"


def _read(file: Path) -> Iterator[Transaction]:
    with file.open(newline="") as source:
        for row in csv.DictReader(source):
            yield Transaction(
                row["transaction_id"],
                row["account_id"],
                row["direction"] == "credit",
                Decimal(row["amount"]),
                Decimal(row["balance"]),
            )


def _generated() -> Iterator[Transaction]:
    """Make up a year of the same shape: the same number of rows and accounts, some busy and many quiet, a few overdrawn."""
    chance = random.Random(_GENERATED_SEED)
    weights = [chance.paretovariate(2) for _ in range(_ACCOUNTS)]
    balances = [Decimal(0)] * _ACCOUNTS
    numbers = chance.sample(range(1, 40 * _ROWS), _ROWS)
    order = list(range(_ACCOUNTS)) + chance.choices(range(_ACCOUNTS), weights, k=_ROWS - _ACCOUNTS)
    for number, account in zip(numbers, order, strict=True):
        amount = Decimal(chance.randrange(10, 400_000)) / 10
        credit = not balances[account] or chance.random() < (0.4 if balances[account] > 20_000 else 0.6)
        balances[account] += amount if credit else -amount
        two = Decimal("0.01")
        yield Transaction(str(number), str(account), credit, amount.quantize(two), balances[account].quantize(two))
