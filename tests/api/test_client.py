"""The client against the HTTP face: what it sends, what it gives back, and errors as the classes they were."""

from collections.abc import AsyncIterator

import pytest
from scripted import BANK, Server

from evento.client import Client
from evento.errors import (
    DeploymentRefused,
    EventoError,
    IdReused,
    InvalidRequest,
    NotFound,
    Overloaded,
    PayloadRefused,
    Unreachable,
    VersionConflict,
)

ALICE = "bank/Checking/alice"


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url + "/") as opened:
        yield opened


async def test_outcomes_come_back_whether_yes_no_or_not_yet(client: Client) -> None:
    assert (await client.send(ALICE, "ReceiveDeposit", {"amount": 3}, command_id="d"))["outcome"] == "succeeded"
    assert (await client.send(ALICE, "WithdrawCash", {"amount": 7}))["outcome"] == "rejected"
    assert (await client.send("bank/Checking/poison", "ReceiveDeposit", {"amount": 3}, wait_s=0))["outcome"] == "pending"
    assert (await client.outcome(ALICE, "d"))["version"] == 1
    assert (await client.get(ALICE, version=1))["state"] == {"balance": "3.00"}
    assert [event["type"] for event in (await client.events(ALICE, after=1))["events"]] == ["WithdrawalRejected"]
    assert [each["id"] for each in (await client.instances("bank/Checking"))["instances"]] == ["alice"]


async def test_what_is_said_with_a_command_arrives(server: Server, client: Client) -> None:
    await client.send(ALICE, "ReceiveDeposit", {"amount": 3}, command_id="x", expected=0, due="2026-05-31T12:00:00Z", wait_s=3)
    command = server.scripted.received[0]
    assert (command.id, command.expected, command.due_us, server.scripted.waits) == ("x", 0, 1_780_228_800_000_000, [3.0])


async def test_errors_are_the_classes_that_the_server_raised(client: Client) -> None:
    await client.send(ALICE, "ReceiveDeposit", {"amount": 3}, command_id="d")
    with pytest.raises(IdReused):
        await client.send(ALICE, "ReceiveDeposit", {"amount": 4}, command_id="d")
    with pytest.raises(VersionConflict) as conflict:
        await client.send(ALICE, "ReceiveDeposit", {"amount": 4}, expected=7)
    assert conflict.value.details["version"] == 1
    with pytest.raises(PayloadRefused) as refused:
        await client.send(ALICE, "ReceiveDeposit", {"amount": "x"})
    assert refused.value.details["path"] == "$.amount"
    with pytest.raises(Overloaded):
        await client.send("bank/Checking/full", "ReceiveDeposit", {"amount": 3})
    with pytest.raises(NotFound):
        await client.get("bank/Checking/nobody")
    with pytest.raises(InvalidRequest):
        await client.get("bank/Checking")
    with pytest.raises(DeploymentRefused) as deployment:
        await client.deploy([{"kind": "Nothing"}])
    assert deployment.value.details["problems"]


async def test_many_are_sent_and_answered_in_order(client: Client) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(1000):
            yield b'{"entity":"bank/Checking","id":"a%d","command":"ReceiveDeposit","data":{"amount":%d}}\n' % (number % 3, number)
        yield b"broken\n"
        yield b'{"entity":"bank/Checking","id":"b","command":"WithdrawCash","data":{"amount":1}}'

    answers = [answer async for answer in client.send_many(lines())]
    told = [answer["events"][0]["data"]["amount"] for answer in answers[:1000] if not isinstance(answer, EventoError)]
    assert told == [f"{number}.00" for number in range(1000)]
    assert isinstance(answers[1000], InvalidRequest)
    assert answers[1000].details["line"] == 1001
    assert not isinstance(answers[1001], EventoError)
    assert answers[1001]["outcome"] == "rejected"


async def test_operating_is_part_of_it(server: Server, client: Client) -> None:
    await client.send("bank/Checking/parked", "ReceiveDeposit", {"amount": 3}, command_id="q")
    assert [each["command_id"] for each in (await client.pending(parked=True))["pending"]] == ["q"]
    await client.retry("bank/Checking/parked", "q")
    with pytest.raises(NotFound):
        await client.discard("bank/Checking/parked", "q")
    assert (await client.deploy(BANK, dry_run=True))["committed"] is False
    assert (await client.catalog())["version"] == 1
    assert (await client.status())["ready"] is True
    assert (await client.verify())["ok"] is True


async def test_no_server_is_unreachable() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable):
            await client.status()
    with pytest.raises(InvalidRequest):
        Client("localhost:7070")
