"""Lines of one account keep their order also when a function is away, the platform is killed, and the stream is sent again."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from evento.errors import Unreachable
from tests.faults import bank
from tests.faults.checker import History
from tests.faults.clients import Sender, read_stream
from tests.faults.node import ROOT, Node
from tests.faults.shop import Shop

SOUND = (ROOT / "examples" / "bank" / "bank.py").read_text()
AWAY = "raise SystemExit('no licence')\n"
LINES = [bank.command("anna", "ReceiveDeposit", {"amount": f"{number}.00"}, f"line-{number}") for number in range(1, 6)]
PAUSE_S = 0.8


async def test_what_was_made_durable_behind_a_command_that_was_not_does_not_overtake_it(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        await Sender(node.url, history).send_all(bank.opening(["anna"]))
        shop.write(AWAY + SOUND)
        await asyncio.to_thread(node.end_function)

        async def lines() -> AsyncIterator[bytes]:
            for command in LINES:
                yield json.dumps(command).encode() + b"\n"
                await asyncio.sleep(PAUSE_S)
            node.kill()

        with pytest.raises(Unreachable):
            await drained(Client(node.url), lines())
        shop.mend()
        node.start()
        await Sender(node.url, history).send_all(LINES)
        async with Client(node.url) as client:
            executed = [event["command_id"] for event in await read_stream(client, "bank/Checking/anna")]
        assert executed == ["open-anna", *(command["command_id"] for command in LINES)]


async def drained(client: Client, lines: AsyncIterator[bytes]) -> list[Any]:
    async with client:
        return [answer async for answer in client.send_many(lines)]
