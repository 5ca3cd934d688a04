"""A real platform, started as a person does it: `evento dev` on a Python module, with its function in a process of its own."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Platform, start

TILL = """
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated

from evento.sdk import Namespace, Precision, Retry

Money = Annotated[Decimal, Precision(18, 2)]
shop = Namespace("shop")
app = shop


@shop.entity
@dataclass(frozen=True)
class Till:
    balance: Money = Decimal("0.00")


@shop.event(Till)
@dataclass(frozen=True)
class Paid:
    amount: Money
    note: str


@shop.rejection(Till)
@dataclass(frozen=True)
class PaymentRefused:
    reason: str


@shop.command(Till, retry=Retry(first="10ms", cap="10ms", max_attempts=2))
@dataclass(frozen=True)
class Pay:
    amount: Money
    note: str = ""


@shop.handle
def pay(command: Pay, till: Till | None) -> Paid | PaymentRefused:
    if command.note == "poison":
        raise RuntimeError("cannot think about poison")
    if command.amount < 0:
        return PaymentRefused("we do not pay you")
    return Paid(command.amount, command.note)


@shop.apply
def apply(event: Paid | PaymentRefused, till: Till | None) -> Till:
    till = till or Till()
    return replace(till, balance=till.balance + event.amount) if isinstance(event, Paid) else till
"""


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("shop")
    module = folder / "till.py"
    module.write_text(TILL)
    running, process = start(module, folder / "data")
    yield running
    process.terminate()
    try:
        code = process.wait(90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert code == 0, running.log()


@pytest.fixture
def module(platform: Platform) -> Path:
    return platform.module
