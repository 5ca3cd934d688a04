"""The bank in two images, Checking in Python and Savings in Go, and what a year of a real bank is in it.

Every second account is a savings account, unless it is ever overdrawn: here that is checking accounts' right alone. So everything
that the bank did succeeds.
"""

import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from tests.containers.engine import Engine
from tests.containers.projects import base_image, evento_function, project
from tests.faults import bank
from tests.faults.bank import Transaction
from tests.faults.node import ROOT

Json = dict[str, Any]
EXAMPLE = ROOT / "examples" / "bank-containers"
SAVINGS = "bank/Savings"
_SAVINGS_EVERY = 2
_NEW = {"owner": "", "balance": "0.00", "status": "NEW"}


def images(engine: Engine) -> None:
    """Build both images as the example's manifests say."""
    with tempfile.TemporaryDirectory(prefix="evt-bank-") as folder:
        bank_project = project(Path(folder) / "bank")
        evento_function(engine.url, "build", str(bank_project), "-t", _image("checking"), "--base", base_image(engine))
        go = Path(folder) / "bank-go"
        shutil.copytree(ROOT / "examples" / "bank-go", go, ignore=shutil.ignore_patterns("savings"))
        build = ["go", "build", "-trimpath", "-ldflags=-s", "-o", "savings", "."]
        subprocess.run(build, cwd=go, env={**os.environ, "CGO_ENABLED": "0"}, check=True, capture_output=True)
        file = str(EXAMPLE / "savings.Containerfile")
        engine.build_folder(_image("savings"), go, "--file", file)


def _image(name: str) -> str:
    return f"localhost/evento-bank/{name}:1"


# ------------------------------------------------------------------ the year
@cache
def savings() -> frozenset[str]:
    """Return the accounts of the bank that are savings accounts here."""
    balances: dict[str, Decimal] = defaultdict(Decimal)
    overdrawn = set()
    for row in bank.transactions():
        balances[row.account] += row.amount if row.credit else -row.amount
        if balances[row.account] < 0:
            overdrawn.add(row.account)
    return frozenset(account for account in balances if int(account) % _SAVINGS_EVERY == 0 and account not in overdrawn)


@cache
def year(count: int) -> tuple[Sequence[Transaction], Sequence[Json]]:
    """Return the bank's first transactions, and the Commands that open the accounts and carry them out."""
    rows = bank.transactions()[:count]
    accounts = bank.accounts_of(rows)
    opening = [_placed(command) for command in bank.opening(accounts)]
    return rows, [*opening, *map(_placed, bank.as_commands(rows))]


def _placed(command: Json) -> Json:
    if command["id"] not in savings():
        return command
    if command["command"] == "OpenChecking":
        return {**command, "entity": SAVINGS, "command": "OpenSavings", "data": {"owner": command["data"]["owner"]}}
    return {**command, "entity": SAVINGS}


def fold(state: Json | None, event: Json) -> Json:
    """Fold one event of either kind of account: another implementation than the examples', to hold them against."""
    kind, data = event["type"], event["data"]
    if not kind.startswith(("Savings", "Interest")):
        return bank.fold(state, event)
    state = dict(state or _NEW)
    if kind == "SavingsOpened":
        return {"owner": data["owner"], "balance": "0.00", "status": "OPEN"}
    if kind in ("SavingsDeposited", "SavingsWithdrawn"):
        sign = 1 if kind == "SavingsDeposited" else -1
        state["balance"] = str(Decimal(state["balance"]) + sign * Decimal(data["amount"]))
    return state
