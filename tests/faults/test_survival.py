"""What is accepted and not finished survives kill -9, each kind of it; and who expects a version gets that one or none."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from evento.errors import IdReused, VersionConflict
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final, read_pending, read_stream
from tests.faults.node import Node
from tests.faults.shop import POISON, Shop

Json = dict[str, Any]
INSTANCE = "bank/Checking/anna"


def after(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def opened(node: Node) -> None:
    async with Client(node.url) as client:
        await client.send(INSTANCE, "OpenChecking", {"owner": "Anna", "overdraft_limit": "1000.00"}, command_id="open")


async def wait_finished(client: Client) -> None:
    for _ in range(5_000):
        if not await read_pending(client):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("something is still pending")


async def ids(client: Client) -> list[str]:
    return [event["command_id"] for event in await read_stream(client, INSTANCE)]


async def test_scheduled_commands_survive_kill_9_and_are_executed_when_they_are_due_and_not_before(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        await opened(node)
        begun = time.monotonic()
        node.restart()
        early_s = 5.0 + 5 * (time.monotonic() - begun)  # beyond the next restart, on a slow machine as well
        dues = {"late": after(early_s + 2.5), "early": after(early_s)}
        async with Client(node.url) as client:
            for command_id, due in [*dues.items(), ("tomorrow", after(86_400))]:
                answer = await client.send(INSTANCE, "ReceiveDeposit", {"amount": "1.00"}, command_id=command_id, due=due, wait_s=0)
                assert answer["outcome"] == "pending"
        node.restart()
        async with Client(node.url) as client:
            found = {entry["command_id"]: entry["outcome"] for entry in await read_pending(client)}
            assert found == {"late": "pending", "early": "pending", "tomorrow": "pending"}
            again = await client.send(INSTANCE, "ReceiveDeposit", {"amount": "1.00"}, command_id="late", due=dues["late"], wait_s=0)
            assert (again["outcome"], again["duplicate"]) == ("pending", True)
            # What is not due holds up nothing of its instance.
            await client.send(INSTANCE, "ReceiveDeposit", {"amount": "1.00"}, command_id="now")
            async with asyncio.timeout(300):
                while (executed := await ids(client)) != ["open", "now", "early", "late"]:
                    assert executed == ["open", "now", "early", "late"][: len(executed)]
                    await asyncio.sleep(0.05)
            times = {event["command_id"]: event["time"] for event in await read_stream(client, INSTANCE)}
            assert all(datetime.fromisoformat(times[name]) >= datetime.fromisoformat(due) for name, due in dues.items())
            assert [entry["command_id"] for entry in await read_pending(client)] == ["tomorrow"]
        node.verify()


async def test_what_was_answered_with_202_survives_kill_9_in_its_order(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    shop.poison("time.sleep(0.3); raise RuntimeError('not yet')")
    commands = [bank.command("anna", "ReceiveDeposit", {"amount": POISON}, "first")]
    commands += [bank.command("anna", "ReceiveDeposit", {"amount": f"{n}.00"}, f"n{n}") for n in range(1, 200)]
    with Node(tmp_path) as node:
        node.start()
        node.deploy(shop.folder)
        await opened(node)
        history.invoke(bank.command("anna", "OpenChecking", {}, "open"))
        for number in range(4):
            await send_async(node, history, commands[number * 50 : (number + 1) * 50])
            node.restart()
        async with Client(node.url) as client:
            assert [entry["command_id"] for entry in await read_pending(client)] == [c["command_id"] for c in commands]
            shop.mend()
            node.deploy(shop.folder)
            await wait_finished(client)
            assert await ids(client) == ["open", *(c["command_id"] for c in commands)]
            assert not broken(history, await read_final(client, bank.CHECKING), bank.fold)
        node.verify()


async def send_async(node: Node, history: History, commands: Sequence[Json]) -> None:
    async with Client(node.url) as client:
        for command in commands:
            history.invoke(command)
            answer = await client.send(INSTANCE, command["command"], command["data"], command_id=command["command_id"], wait_s=0)
            assert answer["outcome"] == "pending"
            history.tell(command, answer, 0.0, 0.0)


async def test_an_expected_version_is_met_or_the_command_ends_as_a_conflict_for_ever(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        async with Client(node.url) as client:
            with pytest.raises(VersionConflict):
                await client.send(INSTANCE, "OpenChecking", {"owner": "Anna"}, command_id="early", expected=1)
            opened = await client.send(INSTANCE, "OpenChecking", {"owner": "Anna"}, command_id="open", expected=0)
            assert opened["version"] == 1
            results = await asyncio.gather(*(deposit(client, f"racer-{number}", expected=1) for number in range(20)))
            winners = [name for name in results if name is not None]
            assert len(winners) == 1
        node.restart()
        async with Client(node.url) as client:
            for number in range(20):
                again = await deposit(client, f"racer-{number}", expected=1)
                assert again == (winners[0] if f"racer-{number}" == winners[0] else None), "answered differently the second time"
            with pytest.raises(IdReused):
                await client.send(INSTANCE, "ReceiveDeposit", {"amount": "9.00"}, command_id=winners[0])
            assert await ids(client) == ["open", winners[0]]
            assert (await client.outcome(INSTANCE, "early"))["outcome"] == "conflict"
        node.verify()


async def deposit(client: Client, command_id: str, *, expected: int) -> str | None:
    """Return the id if it succeeded, None if the version was another."""
    try:
        await client.send(INSTANCE, "ReceiveDeposit", {"amount": "1.00"}, command_id=command_id, expected=expected)
    except VersionConflict as conflict:
        assert conflict.details["version"] == 1 or conflict.details["version"] == 2
        return None
    return command_id


async def test_ten_thousand_commands_of_one_account_by_64_clients_keep_the_order_of_each_client(tmp_path: Path) -> None:
    history, clients, each = History(), 64, 160
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        await Sender(node.url, history).send_all(bank.opening(["anna"]))
        by_client = [
            [bank.command("anna", "ReceiveDeposit", {"amount": "1.00"}, f"{client}-{number}") for number in range(each)]
            for client in range(clients)
        ]
        async with asyncio.TaskGroup() as group:
            for commands in by_client:
                group.create_task(Sender(node.url, history).send_all(commands))
        async with Client(node.url) as client:
            final = await read_final(client, bank.CHECKING)
        executed = [event["command_id"] for event in final.streams[bank.CHECKING, "anna"]]
        assert len(executed) == clients * each + 1
        for commands in by_client:
            mine = {command["command_id"] for command in commands}
            assert [name for name in executed if name in mine] == [command["command_id"] for command in commands]
        assert not broken(history, final, bank.fold)
        node.verify()


async def test_the_same_id_sent_by_many_at_once_is_executed_once(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        await opened(node)
        async with Client(node.url) as client:
            sends = (client.send(INSTANCE, "ReceiveDeposit", {"amount": "5.00"}, command_id="once") for _ in range(50))
            answers = await asyncio.gather(*sends)
            assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 49
            assert {answer["version"] for answer in answers} == {2}
            assert (await client.get(INSTANCE))["state"]["balance"] == "5.00"
