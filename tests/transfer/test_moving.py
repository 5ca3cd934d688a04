"""A platform that moves: stopped, exported, imported, started somewhere else, and nobody who uses it can tell."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import Final, History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node
from tests.faults.shop import POISON, RAISES, Shop

ROWS = 4_000  # of the bank's year
LATER = "2190-01-01T00:00:00Z"


async def read(node: Node) -> Final:
    async with Client(node.url) as client:
        return await read_final(client, bank.CHECKING)


def move(old: Node, new: Node, files: Path) -> None:
    old.evento("export", str(files), "--data", str(old.data))
    new.evento("import", str(files), "--data", str(new.data))


async def test_a_bank_moves_with_balances_history_and_all_that_is_not_finished(tmp_path: Path) -> None:
    rows = bank.transactions()[:ROWS]
    commands = bank.opening(bank.accounts_of(rows)) + bank.as_commands(rows)
    shop = Shop(tmp_path / "shop", retry="{first: 10ms, cap: 20ms, maxAttempts: 2}")
    history = History()
    with Node(tmp_path / "old") as old, Node(tmp_path / "new") as new:
        shop.poison(RAISES)
        old.start(shop.folder)
        await Sender(old.url, history).send_all(commands)
        poisoned = commands[0]["id"]
        for amount, more in ((POISON, ["--id", "parked"]), ("1", ["--id", "behind"]), ("2", ["--id", "later", "--due", LATER])):
            old.evento("send", f"bank/Checking/{poisoned}", "ReceiveDeposit", f"amount={amount}", "--wait", "1", *more)
        before = await read(old)
        assert {entry["command_id"]: entry["outcome"] for entry in before.pending} == {
            "parked": "parked",
            "behind": "pending",
            "later": "pending",
        }
        assert "the journal in" in old.evento("export", str(tmp_path / "files"), "--data", str(old.data), status=1)
        assert old.stop() == 0

        move(old, new, tmp_path / "files")
        new.start(shop.folder)
        assert await read(new) == before
        assert not list(bank.drifts(rows, {account: events for (_, account), events in before.streams.items()}))
        again = await Sender(new.url, history).send_all(commands)
        assert Counter(answer["duplicate"] for answer in again) == {True: len(commands)}
        assert not broken(history, before._replace(pending=()), bank.fold)
        new.verify()

        shop.mend()
        new.deploy(shop.folder)
        new.evento("commands", "retry", f"bank/Checking/{poisoned}", "parked")
        await check_finished(new, poisoned, before)
        new.verify()


async def check_finished(node: Node, account: str, before: Final) -> None:
    """What was parked and what waited behind it are executed, in order; what is scheduled still waits."""
    place = (bank.CHECKING, account)
    async with Client(node.url) as client:
        outcome = await client.send(f"bank/Checking/{account}", "ReceiveDeposit", {"amount": "3"}, command_id="last")
    assert outcome["outcome"] == "succeeded"
    after = await read(node)
    assert [event["command_id"] for event in after.streams[place][-3:]] == ["parked", "behind", "last"]
    grown = Decimal(after.states[place][1]["balance"]) - Decimal(before.states[place][1]["balance"])
    assert grown == Decimal(POISON) + 1 + 3
    assert [entry["command_id"] for entry in after.pending] == ["later"]
