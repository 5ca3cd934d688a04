"""A bank: checking accounts that may be overdrawn up to a limit, and savings accounts that earn interest.

Everything Evento needs to know stands here: the classes are the schemas, the annotations say which events a Command may end in.
"""

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Annotated

from evento.sdk import Namespace, Precision

Money = Annotated[Decimal, Precision(18, 2)]
ZERO = Decimal("0.00")

bank = Namespace("bank")


class Status(Enum):
    """A refusal is an event too, so an account can have a history before it is opened."""

    NEW = 0
    OPEN = 1
    CLOSED = 2


class Reason(Enum):
    """Why the bank said no."""

    NOT_OPEN = 0
    ALREADY_OPEN = 1
    CLOSED = 2
    NOT_POSITIVE = 3
    INSUFFICIENT_FUNDS = 4
    NOT_EMPTY = 5


# ------------------------------------------------------------------ checking: what there is
@bank.entity
@dataclass(frozen=True)
class Checking:
    """An account for everyday payments."""

    owner: str = ""
    balance: Money = ZERO
    overdraft_limit: Money = ZERO
    status: Status = Status.NEW


@bank.event(Checking)
@dataclass(frozen=True)
class CheckingOpened:
    """The account exists from now on."""

    owner: str
    overdraft_limit: Money


@bank.event(Checking)
@dataclass(frozen=True)
class MoneyReceived:
    """Money came in."""

    amount: Money


@bank.event(Checking)
@dataclass(frozen=True)
class CashWithdrawn:
    """Money went out."""

    amount: Money


@bank.event(Checking)
@dataclass(frozen=True)
class OverdraftLimitSet:
    """The account may be overdrawn up to this limit."""

    limit: Money


@bank.event(Checking)
@dataclass(frozen=True)
class CheckingClosed:
    """The account takes no more Commands."""


@bank.rejection(Checking)
@dataclass(frozen=True)
class OpenRejected:
    """The account could not be opened."""

    reason: Reason


@bank.rejection(Checking)
@dataclass(frozen=True)
class DepositRejected:
    """The money was not taken."""

    amount: Money
    reason: Reason


@bank.rejection(Checking)
@dataclass(frozen=True)
class WithdrawalRejected:
    """The money was not given."""

    amount: Money
    reason: Reason


@bank.rejection(Checking)
@dataclass(frozen=True)
class OverdraftLimitRejected:
    """The limit stays as it is."""

    limit: Money
    reason: Reason


@bank.rejection(Checking)
@dataclass(frozen=True)
class CloseRejected:
    """The account stays open."""

    reason: Reason


# ------------------------------------------------------------------ checking: what can be asked
@bank.command(Checking)
@dataclass(frozen=True)
class OpenChecking:
    """Open the account."""

    owner: str
    overdraft_limit: Money = ZERO


@bank.command(Checking)
@dataclass(frozen=True)
class ReceiveDeposit:
    """Take money in."""

    amount: Money


@bank.command(Checking)
@dataclass(frozen=True)
class WithdrawCash:
    """Give money out, as far as balance and overdraft limit allow."""

    amount: Money


@bank.command(Checking)
@dataclass(frozen=True)
class SetOverdraftLimit:
    """Let the account be overdrawn up to a limit."""

    limit: Money


@bank.command(Checking)
@dataclass(frozen=True)
class CloseChecking:
    """Close the account; it must be empty."""


def refusal(account: "Checking | Savings | None", amount: Decimal = Decimal(1)) -> Reason | None:
    """Return why an account, or an amount, cannot be worked with at all."""
    if account is None or account.status is Status.NEW:
        return Reason.NOT_OPEN
    if account.status is Status.CLOSED:
        return Reason.CLOSED
    return None if amount > 0 else Reason.NOT_POSITIVE


def unopenable(account: "Checking | Savings | None") -> Reason | None:
    """Return why an account cannot be opened."""
    if account is None or account.status is Status.NEW:
        return None
    return Reason.CLOSED if account.status is Status.CLOSED else Reason.ALREADY_OPEN


# ------------------------------------------------------------------ checking: what happens
@bank.handle
def open_checking(command: OpenChecking, account: Checking | None) -> CheckingOpened | OpenRejected:
    """An account is opened once; a closed one stays closed."""
    if command.overdraft_limit < 0:
        return OpenRejected(Reason.NOT_POSITIVE)
    reason = unopenable(account)
    return OpenRejected(reason) if reason else CheckingOpened(command.owner, command.overdraft_limit)


@bank.handle
def receive(command: ReceiveDeposit, account: Checking | None) -> MoneyReceived | DepositRejected:
    """Whoever is open takes money."""
    reason = refusal(account, command.amount)
    return DepositRejected(command.amount, reason) if reason else MoneyReceived(command.amount)


@bank.handle
def withdraw(command: WithdrawCash, account: Checking | None) -> CashWithdrawn | WithdrawalRejected:
    """Nobody gets more than there is."""
    reason = refusal(account, command.amount)
    if reason is None and account and account.balance + account.overdraft_limit < command.amount:
        reason = Reason.INSUFFICIENT_FUNDS
    return WithdrawalRejected(command.amount, reason) if reason else CashWithdrawn(command.amount)


@bank.handle
def set_overdraft_limit(command: SetOverdraftLimit, account: Checking | None) -> OverdraftLimitSet | OverdraftLimitRejected:
    """A limit may not fall below what the account is overdrawn by already."""
    reason = refusal(account)
    if reason is None and command.limit < 0:
        reason = Reason.NOT_POSITIVE
    if reason is None and account and account.balance + command.limit < 0:
        reason = Reason.INSUFFICIENT_FUNDS
    return OverdraftLimitRejected(command.limit, reason) if reason else OverdraftLimitSet(command.limit)


@bank.handle
def close_checking(command: CloseChecking, account: Checking | None) -> CheckingClosed | CloseRejected:
    """Neither money nor debts are left behind."""
    reason = refusal(account)
    if reason is None and account and account.balance != 0:
        reason = Reason.NOT_EMPTY
    return CloseRejected(reason) if reason else CheckingClosed()


@bank.apply
def evolve_checking(
    event: CheckingOpened
    | MoneyReceived
    | CashWithdrawn
    | OverdraftLimitSet
    | CheckingClosed
    | OpenRejected
    | DepositRejected
    | WithdrawalRejected
    | OverdraftLimitRejected
    | CloseRejected,
    account: Checking | None,
) -> Checking:
    """Fold one event. Refusals leave the account as it was."""
    account = account or Checking()
    match event:
        case MoneyReceived():
            return replace(account, balance=account.balance + event.amount)
        case CashWithdrawn():
            return replace(account, balance=account.balance - event.amount)
        case CheckingOpened():
            return Checking(event.owner, ZERO, event.overdraft_limit, Status.OPEN)
        case OverdraftLimitSet():
            return replace(account, overdraft_limit=event.limit)
        case CheckingClosed():
            return replace(account, status=Status.CLOSED)
    return account


# ------------------------------------------------------------------ savings
@bank.entity
@dataclass(frozen=True)
class Savings:
    """An account that earns interest and is never overdrawn."""

    owner: str = ""
    balance: Money = ZERO
    status: Status = Status.NEW


@bank.event(Savings)
@dataclass(frozen=True)
class SavingsOpened:
    """The account exists from now on."""

    owner: str


@bank.event(Savings)
@dataclass(frozen=True)
class SavingsDeposited:
    """Money came in."""

    amount: Money


@bank.event(Savings)
@dataclass(frozen=True)
class SavingsWithdrawn:
    """Money went out."""

    amount: Money


@bank.event(Savings)
@dataclass(frozen=True)
class InterestCredited:
    """The account earned interest on its balance."""

    amount: Money
    rate_percent: Annotated[Decimal, Precision(9, 4)]


@bank.event(Savings)
@dataclass(frozen=True)
class SavingsClosed:
    """The account takes no more Commands."""


@bank.rejection(Savings)
@dataclass(frozen=True)
class SavingsRejected:
    """The bank refused what was asked of the account."""

    reason: Reason


@bank.command(Savings)
@dataclass(frozen=True)
class OpenSavings:
    """Open the account."""

    owner: str


@bank.command(Savings, name="ReceiveDeposit")
@dataclass(frozen=True)
class DepositSavings:
    """Take money in."""

    amount: Money


@bank.command(Savings, name="WithdrawCash")
@dataclass(frozen=True)
class WithdrawSavings:
    """Give money out, as far as the balance allows."""

    amount: Money


@bank.command(Savings)
@dataclass(frozen=True)
class CreditInterest:
    """Credit interest on the present balance, at a rate in percent, rounded to the nearest cent, halves up."""

    rate_percent: Annotated[Decimal, Precision(9, 4)]


@bank.command(Savings)
@dataclass(frozen=True)
class CloseSavings:
    """Close the account; it must be empty."""


@bank.handle
def open_savings(command: OpenSavings, account: Savings | None) -> SavingsOpened | SavingsRejected:
    """As for checking accounts."""
    reason = unopenable(account)
    return SavingsRejected(reason) if reason else SavingsOpened(command.owner)


@bank.handle
def receive_savings(command: DepositSavings, account: Savings | None) -> SavingsDeposited | SavingsRejected:
    """Whoever is open takes money."""
    reason = refusal(account, command.amount)
    return SavingsRejected(reason) if reason else SavingsDeposited(command.amount)


@bank.handle
def withdraw_savings(command: WithdrawSavings, account: Savings | None) -> SavingsWithdrawn | SavingsRejected:
    """Nobody gets more than there is."""
    reason = refusal(account, command.amount)
    if reason is None and account and account.balance < command.amount:
        reason = Reason.INSUFFICIENT_FUNDS
    return SavingsRejected(reason) if reason else SavingsWithdrawn(command.amount)


@bank.handle
def credit_interest(command: CreditInterest, account: Savings | None) -> InterestCredited | SavingsRejected:
    """Interest is computed where it is decided: the event says how much it was, for ever."""
    reason = refusal(account, command.rate_percent)
    if reason or account is None:
        return SavingsRejected(reason or Reason.NOT_OPEN)
    amount = (account.balance * command.rate_percent / 100).quantize(ZERO, ROUND_HALF_UP)
    return InterestCredited(amount, command.rate_percent)


@bank.handle
def close_savings(command: CloseSavings, account: Savings | None) -> SavingsClosed | SavingsRejected:
    """No money is left behind."""
    reason = refusal(account)
    if reason is None and account and account.balance != 0:
        reason = Reason.NOT_EMPTY
    return SavingsRejected(reason) if reason else SavingsClosed()


@bank.apply
def evolve_savings(
    event: SavingsOpened | SavingsDeposited | SavingsWithdrawn | InterestCredited | SavingsClosed | SavingsRejected,
    account: Savings | None,
) -> Savings:
    """Fold one event. Refusals leave the account as it was."""
    account = account or Savings()
    match event:
        case SavingsDeposited() | InterestCredited():
            return replace(account, balance=account.balance + event.amount)
        case SavingsWithdrawn():
            return replace(account, balance=account.balance - event.amount)
        case SavingsOpened():
            return Savings(event.owner, ZERO, Status.OPEN)
        case SavingsClosed():
            return replace(account, status=Status.CLOSED)
    return account
