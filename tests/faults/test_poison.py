"""Functions that fail for one account: it waits, with growing intervals; all others go on; mended, it goes on in order.

reliability.md §7, 29, 32, 34, 35; P8. Nothing here asserts an absolute speed: who is finished is compared with who waits.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from evento.errors import EventoError, NotFound
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final, read_pending, read_stream
from tests.faults.node import Node
from tests.faults.shop import CRASHES, HANGS, LATE, POISON, RAISES, Shop

Json = dict[str, Any]
POISONED = "poisoned"
PLACE = (bank.CHECKING, POISONED)
INSTANCE = f"{bank.CHECKING}/{POISONED}"
BEHIND = 20
OTHERS = [f"other-{number}" for number in range(100)]
EACH = 10
WITHIN_S = 120.0
FIRST_S = 0.05  # as in the shop's manifest
SLOWER_MAX = 5  # others, while one account is poison, against before; measured 0.8 to 1.5
SLOWER_S = 20.0  # who waited behind it would never come to an end


def deposits(account: str, count: int, prefix: str) -> list[Json]:
    return [bank.command(account, "ReceiveDeposit", {"amount": f"{n}.00"}, f"{prefix}-{account}-{n}") for n in range(1, count + 1)]


def poison(number: int = 0, account: str = POISONED) -> Json:
    return bank.command(account, "ReceiveDeposit", {"amount": POISON}, f"poison-{number}")


def others(prefix: str) -> list[Json]:
    by_account = [deposits(account, EACH, prefix) for account in OTHERS]
    return [command for commands in zip(*by_account, strict=True) for command in commands]


async def send_async(node: Node, history: History, commands: Sequence[Json]) -> None:
    """Send without waiting; each must be accepted."""
    async with Client(node.url) as client:
        for command in commands:
            history.invoke(command)
            sent = time.monotonic()
            instance = f"{command['entity']}/{command['id']}"
            answer = await client.send(instance, command["command"], command["data"], command_id=command["command_id"], wait_s=0)
            assert answer["outcome"] == "pending"
            history.tell(command, answer, sent, time.monotonic())


async def polls(node: Node) -> AsyncIterator[list[Json]]:
    """Give what is pending, again and again, until the caller is content; fail when the time is over."""
    async with Client(node.url) as client:
        give_up = time.monotonic() + WITHIN_S
        while time.monotonic() < give_up:
            yield await read_pending(client)
            await asyncio.sleep(0.01)
    raise AssertionError(f"not within {WITHIN_S:g} s\n{node.log()[-3000:]}")


async def wait_attempts(node: Node, attempts: int) -> list[float]:
    """Wait until the poison has been tried so often; return the longest wait announced after each attempt, in seconds."""
    announced: dict[int, float] = {}
    async for found in polls(node):
        head = found[0]
        assert head["command_id"] == "poison-0"
        assert [entry["attempts"] for entry in found[1:]] == [0] * BEHIND, "what waits behind is not tried"
        if head["next_attempt"]:
            due = datetime.fromisoformat(head["next_attempt"]) - datetime.now(UTC)
            announced[head["attempts"]] = max(announced.get(head["attempts"], 0.0), due.total_seconds())
        if head["attempts"] >= attempts:
            break
    return [announced.get(number, 0.0) for number in range(1, attempts + 1)]


async def wait_nothing_pending(node: Node) -> None:
    async for found in polls(node):
        if not found:
            return


async def timed(work: Any) -> float:
    started = time.monotonic()
    await work
    return time.monotonic() - started


async def open_all(node: Node, history: History) -> None:
    opened = await Sender(node.url, history).send_all(bank.opening([POISONED, *OTHERS]))
    assert {answer["outcome"] for answer in opened} == {"succeeded"}


async def check_in_order(node: Node, history: History, expected: Sequence[str]) -> None:
    async with Client(node.url) as client:
        final = await read_final(client, bank.CHECKING)
    assert [event["command_id"] for event in final.streams[PLACE]] == list(expected)
    assert not broken(history, final, bank.fold)
    node.verify()


@pytest.mark.parametrize(
    ("how", "attempts", "code"),
    [
        (RAISES, 8, "handler-failed"),
        (HANGS, 3, "function-timeout"),
        (LATE, 3, "function-timeout"),
        (CRASHES, 3, "function-crashed"),
    ],
    ids=["raises", "hangs", "answers too late", "crashes"],
)
async def test_one_account_waits_alone_and_goes_on_in_order_once_it_is_mended(
    tmp_path: Path, how: str, attempts: int, code: str
) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    behind = deposits(POISONED, BEHIND, "behind")
    with Node(tmp_path) as node:
        shop.poison(how)
        node.start(shop.folder)
        await open_all(node, history)
        sender = Sender(node.url, history)
        undisturbed_s = await timed(sender.send_all(others("before")))
        await send_async(node, history, [poison(), *behind])
        disturbed_s = await timed(sender.send_all(others("while")))
        announced = await wait_attempts(node, attempts)
        assert all(wait <= FIRST_S * 2**number for number, wait in enumerate(announced)), announced
        if how == RAISES:
            assert max(announced) > FIRST_S, f"the intervals do not grow: {announced}"
            assert disturbed_s < SLOWER_MAX * undisturbed_s + SLOWER_S
        listed = node.evento("commands", "list", "--waiting")
        assert "poison-0" in listed
        assert "behind-poisoned-20" in listed
        async with Client(node.url) as client:
            head = (await read_pending(client))[0]
            assert (head["id"], head["command_id"], head["failure"]["code"]) == (POISONED, "poison-0", code)
            assert (await client.outcome(INSTANCE, "behind-poisoned-1"))["outcome"] == "pending"
        await sender.send_all(others("after"))

        shop.mend()
        await wait_nothing_pending(node)
        await check_in_order(node, history, ["open-poisoned", "poison-0", *(command["command_id"] for command in behind)])


async def test_what_is_parked_waits_for_an_operator_who_tries_it_again_or_discards_it(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop", retry="{first: 10ms, cap: 20ms, maxAttempts: 3}"), History()
    behind = deposits(POISONED, BEHIND, "behind")
    with Node(tmp_path) as node:
        shop.poison(RAISES)
        node.start(shop.folder)
        await open_all(node, history)
        await send_async(node, history, [poison(0), *behind[:10], poison(1), *behind[10:]])
        await wait_parked(node, "poison-0", attempts=3, pending=22)
        assert "poison-0" in node.evento("commands", "list", "--parked")
        node.restart()
        await wait_parked(node, "poison-0", attempts=3, pending=22)

        node.evento("commands", "retry", INSTANCE, "poison-0")
        await wait_parked(node, "poison-0", attempts=4, pending=22)
        node.evento("commands", "discard", INSTANCE, "poison-0", "--yes")
        await wait_parked(node, "poison-1", attempts=3, pending=11)

        shop.mend()
        node.stop()
        node.start(shop.folder)
        await wait_parked(node, "poison-1", attempts=3, pending=11)
        node.evento("commands", "retry", INSTANCE, "poison-1")
        await wait_nothing_pending(node)
        order = [command["command_id"] for command in [*behind[:10], poison(1), *behind[10:]]]
        async with Client(node.url) as client:
            assert [event["command_id"] for event in await read_stream(client, INSTANCE)] == ["open-poisoned", *order]
            assert (await client.outcome(INSTANCE, "poison-0"))["outcome"] == "discarded"
            with pytest.raises(EventoError) as refused:
                await client.send(INSTANCE, "ReceiveDeposit", {"amount": POISON}, command_id="poison-0")
            assert refused.value.details["duplicate"] is True
            with pytest.raises(NotFound):
                await client.retry(INSTANCE, "poison-0")
        node.verify()


async def test_who_waits_is_told_at_once_that_a_command_is_parked(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", retry="{first: 10ms, cap: 20ms, maxAttempts: 2}")
    with Node(tmp_path) as node:
        shop.poison(RAISES)
        node.start(shop.folder)
        await open_all(node, History())
        async with Client(node.url) as client:
            for duplicate in (False, True):
                sending = client.send(INSTANCE, "ReceiveDeposit", {"amount": POISON}, command_id="poison-0", wait_s=60)
                answer = await asyncio.wait_for(sending, WITHIN_S)
                assert (answer["outcome"], answer["attempts"], answer["duplicate"]) == ("parked", 2, duplicate)


async def wait_parked(node: Node, command_id: str, *, attempts: int, pending: int) -> None:
    async for found in polls(node):
        parked = [entry for entry in found if entry["outcome"] == "parked"]
        if [(entry["command_id"], entry["attempts"]) for entry in parked] == [(command_id, attempts)] and len(found) == pending:
            assert parked[0]["next_attempt"] is None
            assert "cannot think" in parked[0]["failure"]["message"]
            return


async def test_a_function_killed_in_the_middle_of_a_call_costs_an_attempt_and_nothing_else(tmp_path: Path) -> None:
    shop, history = Shop(tmp_path / "shop"), History()
    marker, enough = tmp_path / "in-call", tmp_path / "enough"
    with Node(tmp_path) as node:
        sleeping = f"time.sleep(0 if os.path.exists({str(enough)!r}) else 3600)"
        shop.poison(f"open({str(marker)!r}, 'w').write(str(os.getpid())); {sleeping}")
        node.start(shop.folder)
        await open_all(node, history)
        await send_async(node, history, [poison(), *deposits(POISONED, BEHIND, "behind")])
        sending = asyncio.create_task(Sender(node.url, history).send_all(others("while")))
        killed = set()
        async for _ in polls(node):
            pid = int(marker.read_text() or 0) if marker.exists() else 0
            if pid and pid not in killed:
                with suppress(ProcessLookupError):  # it had its time, and was ended for that
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            if node.log().count("was killed by signal 9") >= 3:
                break
        enough.touch()
        await sending
        await wait_nothing_pending(node)
        await check_in_order(node, history, ["open-poisoned", "poison-0", *(f"behind-poisoned-{n}" for n in range(1, BEHIND + 1))])
