"""The bank's accounts as a Restate virtual object, Python SDK: `hypercorn account:app`. Money in cents."""

from typing import Any

from restate import ObjectContext, VirtualObject
from restate import app as restate_app

account = VirtualObject("Account")


@account.handler("ReceiveDeposit")
async def receive_deposit(ctx: ObjectContext, amount: int) -> dict[str, Any]:
    """Add to the balance."""
    balance = (await ctx.get("balance") or 0) + amount
    ctx.set("balance", balance)
    return {"event": "Deposited", "amount": amount, "balance": balance}


@account.handler("WithdrawCash")
async def withdraw_cash(ctx: ObjectContext, amount: int) -> dict[str, Any]:
    """Take from the balance, or answer a rejection if it is too low."""
    balance = await ctx.get("balance") or 0
    if balance < amount:
        return {"event": "Rejected", "amount": amount, "balance": balance}
    ctx.set("balance", balance - amount)
    return {"event": "Withdrawn", "amount": amount, "balance": balance - amount}


app = restate_app(services=[account])
