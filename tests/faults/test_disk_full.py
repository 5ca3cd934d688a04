"""A disk that is full: 503, the process ends with an error, and a start with room again has all that was told (§7, 57).

What stands for the disk is a limit on the size of the platform's files (RLIMIT_FSIZE).
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node

Json = dict[str, Any]
ROOM_BYTES = 1_500_000
ACCOUNTS = [f"account-{number}" for number in range(50)]
CLIENTS = 16


async def fill(node: Node, history: History, statuses: list[int], client: int) -> None:
    """Send single Commands until the platform takes no more."""
    async with aiohttp.ClientSession() as session:
        for number in range(100_000):
            command = bank.command(
                ACCOUNTS[(client + number) % len(ACCOUNTS)], "ReceiveDeposit", {"amount": "1.00"}, f"{client}-{number}"
            )
            history.invoke(command)
            sent = time.monotonic()
            url = f"{node.url}/v1/{command['entity']}/{command['id']}/ReceiveDeposit"
            try:
                async with session.post(url, json=command["data"], headers={"idempotency-key": command["command_id"]}) as response:
                    answer = await response.json(content_type=None)
            except aiohttp.ClientError:
                return
            statuses.append(response.status)
            if response.status != 200:
                return
            history.tell(command, answer, sent, time.monotonic())


@pytest.mark.parametrize("room_bytes", [ROOM_BYTES, 2 * ROOM_BYTES])
async def test_a_full_disk_ends_the_platform_and_nothing_that_was_told_is_lost(tmp_path: Path, room_bytes: int) -> None:
    history = History()
    statuses: list[int] = []
    with Node(tmp_path) as node:
        node.start(file_bytes_max=room_bytes)
        node.deploy(bank.MODULE)
        await Sender(node.url, history).send_all(bank.opening(ACCOUNTS))
        async with asyncio.TaskGroup() as group:
            for client in range(CLIENTS):
                group.create_task(fill(node, history, statuses, client))
        assert set(statuses) <= {200, 503}, set(statuses)
        assert 503 in statuses, "nobody was told"
        assert await asyncio.to_thread(node.wait) not in (0, None)
        assert "SQLite failed" in node.log()
        assert history.finished > 500

        node.start()
        commands = list(history.invoked.values())
        answers = await Sender(node.url, history).send_all(commands)
        assert len(answers) == len(commands)
        async with Client(node.url) as client:
            final = await read_final(client, bank.CHECKING)
        assert history.finished == len(commands)
        assert not broken(history, final, bank.fold)
        node.verify()
