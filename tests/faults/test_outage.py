"""Functions that are away as a whole: no attempt is counted, nothing is parked, and all goes on in order when they are back.

reliability.md §7, 30, 40, 42.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from evento.engine.canary import TRIED_INSTANCES
from evento.errors import EventoError
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final, read_pending, read_stream
from tests.faults.node import ROOT, Node
from tests.faults.shop import POISON, Shop

Json = dict[str, Any]
ACCOUNTS = [f"account-{number}" for number in range(20)]
ONCE = "{first: 10ms, cap: 20ms, maxAttempts: 1}"  # whatever is counted as an attempt is parked at once
SOUND = (ROOT / "examples" / "bank" / "bank.py").read_text()
AWAY = "raise SystemExit('no licence')\n"
SLOW = "import time\ntime.sleep(5)\n"
EVOLVE = "case MoneyReceived():\n"
CANNOT = f'{EVOLVE}            if str(event.amount) == "{POISON}":\n                raise RuntimeError("no idea")\n'


def deposits(count: int, prefix: str) -> list[Json]:
    return [
        bank.command(account, "ReceiveDeposit", {"amount": f"{number}.00"}, f"{prefix}-{account}-{number}")
        for number in range(1, count + 1)
        for account in ACCOUNTS
    ]


async def send_async(node: Node, history: History, commands: Sequence[Json]) -> None:
    async with Client(node.url) as client:
        for command in commands:
            history.invoke(command)
            place = f"{command['entity']}/{command['id']}"
            answer = await client.send(place, command["command"], command["data"], command_id=command["command_id"], wait_s=0)
            assert answer["outcome"] == "pending"
            history.tell(command, answer, 0.0, 0.0)


async def check_all_done(node: Node, history: History, each: int) -> None:
    async with Client(node.url) as client:
        for _ in range(5_000):
            if not await read_pending(client):
                break
            await asyncio.sleep(0.03)
        final = await read_final(client, bank.CHECKING)
    for account in ACCOUNTS:
        amounts = [event["data"]["amount"] for event in final.streams[bank.CHECKING, account][1:]]
        assert [Decimal(amount) for amount in amounts] == list(range(1, each + 1))
    assert not broken(history, final, bank.fold)
    node.verify()


@pytest.mark.parametrize("how", [AWAY, SLOW], ids=["away", "slow to start"])
async def test_what_waits_for_a_function_that_is_not_there_is_neither_counted_nor_parked_and_goes_on_in_order(
    tmp_path: Path, how: str
) -> None:
    shop, history = Shop(tmp_path / "shop", retry=ONCE), History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        await Sender(node.url, history).send_all(bank.opening(ACCOUNTS))
        shop.write(how + SOUND)  # not deployed: what is deployed must be ready first
        await asyncio.to_thread(node.end_function)
        await send_async(node, history, deposits(5, "away"))
        async with Client(node.url) as client:
            for _ in range(20):
                found = await read_pending(client)
                assert all((entry["outcome"], entry["attempts"]) == ("pending", 0) for entry in found)
                await asyncio.sleep(0.1)
            assert len(found) == 5 * len(ACCOUNTS)
            assert (await client.status())["ready"], "what comes is still accepted"
        node.restart()
        if how == AWAY:
            shop.mend()
            node.deploy(shop.folder)
        await check_all_done(node, history, 5)


def test_a_version_that_does_not_get_ready_is_not_deployed_and_the_one_before_goes_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        node.evento("send", "bank/Checking/a", "OpenChecking", "owner=A")
        shop.write(AWAY + SOUND)
        said = node.evento("deploy", str(shop.folder), "--yes", status=1)
        assert "nothing was changed: the new version of function bank/bank-functions does not get ready" in said
        assert "exited with status 1; its last output: no licence" in said
        node.evento("send", "bank/Checking/a", "ReceiveDeposit", "amount=1.00")
        shop.write(f"{SOUND}# mended\n")
        node.deploy(shop.folder)
        node.evento("send", "bank/Checking/a", "ReceiveDeposit", "amount=1.00")


async def test_an_apply_that_fails_on_what_is_stored_is_not_deployed_and_the_one_before_goes_on(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    sick = "bank/Checking/sick"
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        poison = bank.command("sick", "ReceiveDeposit", {"amount": POISON}, "poison")
        await Sender(node.url, history).send_all([*bank.opening(["sick"]), poison])
        shop.change(EVOLVE, CANNOT)
        said = node.evento("deploy", str(shop.folder), "--yes", status=1)
        assert "the new version of function bank/bank-functions fails on what is stored, and the one before goes on" in said
        assert "apply failed at event 2 of bank/Checking/sick" in said and "no idea" in said
        async with Client(node.url) as client:
            done = await client.send(sick, "ReceiveDeposit", {"amount": "1.00"}, command_id="behind")
            assert done["outcome"] == "succeeded"
            assert Decimal((await client.get(sick))["state"]["balance"]) == Decimal(POISON) + 1
        node.verify()
        shop.mend()
        node.deploy(shop.folder)


async def test_an_apply_that_fails_on_a_stored_event_stops_its_instance_alone_and_leaves_the_events_as_they_are(
    tmp_path: Path,
) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    sick, healthy = "bank/Checking/sick", "bank/Checking/healthy"
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        poison = bank.command("sick", "ReceiveDeposit", {"amount": POISON}, "poison")
        # A new version is tried on the first instances only.
        before_it = [f"account-{number}" for number in range(TRIED_INSTANCES)]
        await Sender(node.url, history).send_all([*bank.opening([*before_it, "sick", "healthy"]), poison])
        async with Client(node.url) as client:
            before = await read_stream(client, sick)
            shop.change(EVOLVE, CANNOT)
            node.deploy(shop.folder)
            with pytest.raises(EventoError, match="no idea"):
                await client.get(sick)
            waiting = await client.send(sick, "ReceiveDeposit", {"amount": "1.00"}, command_id="behind", wait_s=1)
            assert waiting["outcome"] == "pending"
            done = await client.send(healthy, "ReceiveDeposit", {"amount": "1.00"}, command_id="well")
            assert done["outcome"] == "succeeded"
            assert (await client.get(healthy))["state"]["balance"] == "1.00"
            assert await read_stream(client, sick) == before
            node.evento("verify", status=1)
            shop.mend()
            node.deploy(shop.folder)
            for _ in range(5_000):
                if not await read_pending(client):
                    break
                await asyncio.sleep(0.03)
            assert [event["command_id"] for event in await read_stream(client, sick)] == ["open-sick", "poison", "behind"]
            assert (await client.get(sick))["state"]["balance"] == "7.66"
        node.verify()
