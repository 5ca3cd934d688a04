"""A changed apply: states are rebuilt from the events by themselves, and never served as they were (design §3.8; §7, 40 and 41)."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node
from tests.faults.shop import Shop

Json = dict[str, Any]
ACCOUNTS = [f"account-{number}" for number in range(300)]
EACH = 4
PLAIN = "case MoneyReceived():\n            return replace(account, balance=account.balance + event.amount)"
TWICE = PLAIN.replace("event.amount", "2 * event.amount")
CHANCE = PLAIN.replace("event.amount", "event.amount + __import__('random').randint(1, 10**9)")
PLAIN_SUM, TWICE_SUM = Decimal("10.00"), Decimal("20.00")


def history_of_all() -> list[Json]:
    deposits = [
        bank.command(account, "ReceiveDeposit", {"amount": f"{number}.00"}, f"{account}-{number}")
        for number in range(1, EACH + 1)
        for account in ACCOUNTS
    ]
    return bank.opening(ACCOUNTS) + deposits


def twice(state: Json | None, event: Json) -> Json:
    """Fold an event as the changed apply does."""
    if event["type"] == "MoneyReceived":
        event = {**event, "data": {"amount": str(2 * Decimal(event["data"]["amount"]))}}
    return bank.fold(state, event)


async def balances(client: Client) -> set[Decimal]:
    """Return the balances of all accounts, as a listing has them."""
    page = await client.instances(bank.CHECKING, limit=1000)
    assert len(page["instances"]) == len(ACCOUNTS)
    return {Decimal(each["state"]["balance"]) for each in page["instances"]}


async def balance(client: Client, account: str, **when: Any) -> Decimal:
    return Decimal((await client.get(f"{bank.CHECKING}/{account}", **when))["state"]["balance"])


async def check_all_folded(node: Node, history: History, fold: Any) -> None:
    async with Client(node.url) as client:
        final = await read_final(client, bank.CHECKING)
    assert not broken(history, final, fold)
    node.verify()


async def test_after_a_deployment_every_read_and_every_command_sees_states_of_the_new_apply(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        sender, commands = Sender(node.url, history), history_of_all()
        await sender.send_all(commands[: 3 * len(ACCOUNTS)])
        await sender.send_all(commands[3 * len(ACCOUNTS) :])
        async with Client(node.url) as client:
            instance = f"{bank.CHECKING}/{ACCOUNTS[0]}"
            moment = (await client.events(instance))["events"][2]["time"]
            assert await balances(client) == {PLAIN_SUM}

            shop.change(PLAIN, TWICE)
            node.deploy(shop.folder)
            assert await balance(client, ACCOUNTS[-1]) == TWICE_SUM
            assert await balances(client) == {TWICE_SUM}
            assert [await balance(client, ACCOUNTS[0], version=version) for version in range(1, EACH + 2)] == [0, 2, 6, 12, 20]
            assert await balance(client, ACCOUNTS[0], at=moment) == 6
            # What is decided next is decided on the new state: the old one would have refused this.
            limit = Decimal(bank.OVERDRAFT)
            withdrawn = await client.send(instance, "WithdrawCash", {"amount": str(limit + TWICE_SUM)})
            assert withdrawn["outcome"] == "succeeded"
            assert await balance(client, ACCOUNTS[0]) == -limit
        node.verify()


async def test_an_apply_that_gives_another_state_each_time_is_found_by_verify_and_the_events_are_as_they_were(
    tmp_path: Path,
) -> None:
    """reliability.md §7, 39."""
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start()
        shop.change(PLAIN, CHANCE)
        node.deploy(shop.folder)
        await Sender(node.url, history).send_all(history_of_all())
        assert f"{bank.CHECKING}/{ACCOUNTS[0]}" in node.evento("verify", status=1)
        shop.mend()
        node.deploy(shop.folder)
        async with Client(node.url) as client:
            assert await balances(client) == {PLAIN_SUM}
        await check_all_folded(node, history, bank.fold)


async def test_states_of_another_apply_are_not_served_after_a_start_either(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        await Sender(node.url, history).send_all(history_of_all())
        node.kill()
        shop.change(PLAIN, TWICE)
        node.start()
        async with Client(node.url) as client:
            assert await balances(client) == {TWICE_SUM}
        await check_all_folded(node, history, twice)
        node.kill()
        shop.mend()
        node.start()
        async with Client(node.url) as client:
            assert await balance(client, ACCOUNTS[7]) == PLAIN_SUM
            assert await balances(client) == {PLAIN_SUM}
        await check_all_folded(node, history, bank.fold)


async def test_a_function_that_changed_without_a_deployment_and_was_started_again_does_not_go_on_with_old_states(
    tmp_path: Path,
) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        await Sender(node.url, history).send_all(history_of_all())
        shop.change(PLAIN, TWICE)
        assert node.kill_function()
        more = [bank.command(account, "ReceiveDeposit", {"amount": "5.00"}, f"{account}-more") for account in ACCOUNTS]
        await Sender(node.url, history).send_all(more)
        async with Client(node.url) as client:
            assert await balances(client) == {TWICE_SUM + 10}
        await check_all_folded(node, history, twice)


async def test_while_apply_changes_under_load_a_reader_sees_the_old_fold_or_the_new_one_and_never_goes_back(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start(shop.folder)
        await Sender(node.url, history).send_all(history_of_all())
        more = [
            bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"{account}-more-{number}")
            for number in range(20)
            for account in ACCOUNTS[:100]
        ]
        async with Client(node.url) as client:
            sending = asyncio.create_task(Sender(node.url, history).send_all(more))
            shop.change(PLAIN, TWICE)
            seen = []
            while not sending.done() or TWICE_SUM not in seen:
                seen.append(await balance(client, ACCOUNTS[200 + len(seen) % 100]))
            assert seen == sorted(seen), "a state of the old apply was served after one of the new"
            assert set(seen) <= {PLAIN_SUM, TWICE_SUM}
            await sending
        await check_all_folded(node, history, twice)
