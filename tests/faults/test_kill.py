"""kill -9 of the platform and of its functions, again and again, in the middle of the bank's year (reliability §7, 1 and 24 to 27).

What is killed when is decided by a seed and counted in answers, so that a fast machine is killed as often as a slow one.
`EVENTO_KILLS` and `EVENTO_KILL_SEED` make it longer: `make kill`.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from evento.client import Client
from evento.errors import IdReused
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Observer, Sender, read_final
from tests.faults.node import Node

KILLS = int(os.environ.get("EVENTO_KILLS", "12"))
SEED = int(os.environ.get("EVENTO_KILL_SEED", "1993"))
ROUND_KILLS = 24  # one run over all Commands is killed so often; more kills are more rounds
_LAST_PART = 0.05  # of a round, in which nothing is killed any more: each kill must hit work


class Killer:
    """Counts answers, and at each number that its seed has drawn it kills the platform, or one of its functions."""

    def __init__(self, node: Node, answers: int, kills: int, seed: int) -> None:
        chance = random.Random(seed)
        self._node = node
        self._at = set(chance.sample(range(1, int(answers * (1 - _LAST_PART))), kills))
        self._chance = chance
        self._answers = 0
        self._due: asyncio.Queue[str] = asyncio.Queue(kills)
        self._left = kills
        self.done: Counter[str] = Counter()

    def count(self) -> None:
        """Hear of an answer."""
        self._answers += 1
        if self._answers in self._at:
            self._due.put_nowait(self._chance.choice(("platform", "platform", "function")))

    async def run(self) -> None:
        """Kill what is due, until everything is done."""
        while self._left:
            what = await self._due.get()
            self._left -= 1
            if what == "platform":
                self._node.kill()
                await asyncio.sleep(self._chance.random() * 0.2)
                await asyncio.to_thread(self._node.start)
                self.done[what] += 1
            else:
                self.done[what] += await asyncio.to_thread(self._node.kill_function, self._chance.randrange(9))


async def test_nothing_is_lost_or_doubled_when_the_platform_and_its_functions_are_killed_again_and_again(tmp_path: Path) -> None:
    done: Counter[str] = Counter()
    for number, kills in enumerate(rounds()):
        done += await killed(tmp_path / str(number), kills, SEED + number)
    assert done["platform"] >= KILLS // 4, done
    assert KILLS < 12 or done["function"], done
    print(f"killed: {dict(done)}")


async def killed(folder: Path, kills: int, seed: int) -> Counter[str]:
    rows = bank.transactions()
    commands = bank.opening(bank.accounts_of(rows)) + bank.as_commands(rows)
    history = History()
    with Node(folder) as node:
        node.start()
        node.deploy(bank.MODULE)
        killer = Killer(node, len(commands), kills, seed)
        sender = Sender(node.url, history)
        sender.on_answer = killer.count
        async with asyncio.TaskGroup() as group:
            observing = group.create_task(Observer(node.url, history, commands[:50]).run())
            killing = group.create_task(killer.run())
            await sender.send_all(commands)
            await killing
            observing.cancel()
        assert sender.cut_off >= killer.done["platform"], "a kill that interrupts nothing shows nothing"
        await check(node, history, f"seed {seed}, {kills} kills, {dict(killer.done)}")
    return killer.done


async def check(node: Node, history: History, what: str) -> None:
    rows = bank.transactions()
    async with Client(node.url) as client:
        final = await read_final(client, bank.CHECKING)
        first = bank.as_commands(rows[:1])[0]
        with pytest.raises(IdReused):
            await client.send(
                f"{first['entity']}/{first['id']}", first["command"], {"amount": "1.23"}, command_id=first["command_id"]
            )
    assert history.finished == len(history.invoked), what
    assert not broken(history, final, bank.fold), what
    assert not list(bank.drifts(rows, {account: events for (_, account), events in final.streams.items()})), what
    assert len(history.seen) > 10, what
    again = History()
    answers = await Sender(node.url, again).send_all(list(history.invoked.values()))
    assert all(answer["duplicate"] for answer in answers), what
    history.told += again.told
    assert not broken(history, final, bank.fold), what
    node.verify()


def rounds() -> list[int]:
    return [min(ROUND_KILLS, KILLS - at) for at in range(0, KILLS, ROUND_KILLS)]
