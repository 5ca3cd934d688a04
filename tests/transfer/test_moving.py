"""A platform that moves: stopped, exported, imported, started somewhere else, and nobody who uses it can tell."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import Final, History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node
from tests.faults.shop import POISON, RAISES, Shop
from tests.kafka.fixtures import Kafka

ROWS = 4_000  # of the bank's year
FEW_ROWS = 800
LATER = "2190-01-01T00:00:00Z"


async def read(node: Node) -> Final:
    async with Client(node.url) as client:
        return await read_final(client, bank.CHECKING)


class Moving:
    """A bank that moves: its rules, and everything that was sent to it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.shop = Shop(folder / "shop", retry="{first: 10ms, cap: 20ms, maxAttempts: 2}")
        self._rows = bank.transactions()[:rows]
        self._commands = bank.opening(bank.accounts_of(self._rows)) + bank.as_commands(self._rows)
        self._history = History()
        self._poisoned = str(self._commands[0]["id"])

    async def begin(self, node: Node) -> Final:
        """Carry out everything at its first place, leave a Command parked, one behind it and one for later, and return it all."""
        self.shop.poison(RAISES)
        node.start(self.shop.folder)
        await Sender(node.url, self._history).send_all(self._commands)
        for amount, more in ((POISON, ["--id", "parked"]), ("1", ["--id", "behind"]), ("2", ["--id", "later", "--due", LATER])):
            self._evento(node, "send", "ReceiveDeposit", f"amount={amount}", "--wait", "1", *more)
        found = await read(node)
        assert {entry["command_id"]: entry["outcome"] for entry in found.pending} == {
            "parked": "parked",
            "behind": "pending",
            "later": "pending",
        }
        return found

    async def check(self, node: Node, before: Final) -> None:
        """Insist that all of it is there, that what is sent again is known, and that `evento verify` agrees."""
        assert await read(node) == before
        assert not list(bank.drifts(self._rows, {account: events for (_, account), events in before.streams.items()}))
        again = await Sender(node.url, self._history).send_all(self._commands)
        assert Counter(answer["duplicate"] for answer in again) == {True: len(self._commands)}
        assert not broken(self._history, before._replace(pending=()), bank.fold)
        node.verify()

    async def finish(self, node: Node, before: Final) -> None:
        """Mend the bank, and insist that what was parked and what waited behind it are executed, in order; what is scheduled still
        waits."""
        self.shop.mend()
        node.deploy(self.shop.folder)
        self._evento(node, "commands", "retry", "parked")
        place = (bank.CHECKING, self._poisoned)
        async with Client(node.url) as client:
            outcome = await client.send("/".join(place), "ReceiveDeposit", {"amount": "3"}, command_id="last")
        assert outcome["outcome"] == "succeeded"
        after = await read(node)
        assert [event["command_id"] for event in after.streams[place][-3:]] == ["parked", "behind", "last"]
        grown = Decimal(after.states[place][1]["balance"]) - Decimal(before.states[place][1]["balance"])
        assert grown == Decimal(POISON) + 1 + 3
        assert [entry["command_id"] for entry in after.pending] == ["later"]
        node.verify()

    def _evento(self, node: Node, *words: str) -> None:
        verb = words[:2] if words[0] == "commands" else words[:1]
        node.evento(*verb, f"{bank.CHECKING}/{self._poisoned}", *words[len(verb) :])


async def test_a_bank_moves_with_balances_history_and_all_that_is_not_finished(tmp_path: Path) -> None:
    moving, files = Moving(tmp_path, ROWS), str(tmp_path / "files")
    with Node(tmp_path / "old") as old, Node(tmp_path / "new") as new:
        before = await moving.begin(old)
        assert "the journal in" in old.evento("export", files, "--data", str(old.data), status=1)
        assert old.stop() == 0
        old.evento("export", files, "--data", str(old.data))
        new.evento("import", files, "--data", str(new.data))
        new.start(moving.shop.folder)
        await moving.check(new, before)
        await moving.finish(new, before)


@pytest.mark.slow
async def test_a_bank_moves_to_kafka_and_back_by_the_commands_that_the_page_shows(kafka: Kafka, tmp_path: Path) -> None:
    moving, there, back = Moving(tmp_path, FEW_ROWS), str(tmp_path / "there"), str(tmp_path / "back")
    address = kafka.address(partitions=3)
    with (
        Node(tmp_path / "old") as old,
        Node(tmp_path / "node", env={"EVENTO_JOURNAL": address}) as on_kafka,
        Node(tmp_path / "home") as home,
    ):
        before = await moving.begin(old)
        assert old.stop() == 0
        old.evento("export", there, "--data", str(old.data))
        old.evento("import", there, "--journal", address, "--data", str(on_kafka.data))
        on_kafka.start()
        await moving.check(on_kafka, before)
        await moving.finish(on_kafka, before)

        fresh = ("--journal", address, "--data", str(tmp_path / "fresh"))  # what Kafka has is enough
        for verb, folder in (("export", back), ("import", there)):
            assert f"{on_kafka.url} works on this journal" in home.evento(verb, folder, *fresh, status=1)
        after = await read(on_kafka)
        assert on_kafka.stop() == 0
        home.evento("export", back, *fresh)
        home.evento("import", back, "--data", str(home.data))
        home.start()
        assert await read(home) == after
        home.verify()
