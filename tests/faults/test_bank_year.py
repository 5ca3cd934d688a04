"""A year of a real bank through the running platform: its balances, its duplicates, and its states thrown away (design §3)."""

from collections import Counter
from decimal import Decimal
from pathlib import Path

import apsw
import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import Final, History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node

ONLY_STATES = """
BEGIN;
UPDATE run SET state = NULL;
UPDATE instance SET state = NULL;
COMMIT;
"""
ALL_THAT_IS_DERIVED = """
BEGIN;
DELETE FROM instance;
DELETE FROM command_index;
DELETE FROM run_index;
UPDATE run SET state = NULL;
UPDATE meta SET value = 0 WHERE name = 'indexed_position';
COMMIT;
"""


async def read(node: Node) -> Final:
    async with Client(node.url) as client:
        return await read_final(client, bank.CHECKING)


def balances(final: Final) -> dict[str, Decimal]:
    return {account: Decimal(state["balance"]) for (_, account), (_, state) in final.states.items()}


async def test_every_balance_follows_the_banks_own_also_sent_twice_and_with_all_states_thrown_away(tmp_path: Path) -> None:
    rows = bank.transactions()
    accounts = bank.accounts_of(rows)
    commands = bank.opening(accounts) + bank.as_commands(rows)
    history = History()
    with Node(tmp_path) as node:
        node.start(bank.MODULE)
        await Sender(node.url, history).send_all(commands)
        first = await read(node)
        streams = {account: events for (_, account), events in first.streams.items()}
        assert not list(bank.drifts(rows, streams))
        assert sum(map(len, streams.values())) == len(commands)
        last = {row.account: row.balance for row in rows}
        assert all(abs(balance - last[account]) <= bank.DRIFT_MAX for account, balance in balances(first).items())

        again = await Sender(node.url, history).send_all(commands)
        assert Counter(answer["duplicate"] for answer in again) == {True: len(commands)}
        assert await read(node) == first
        assert not broken(history, first, bank.fold)
        node.verify()

        for procedure in (ONLY_STATES, ALL_THAT_IS_DERIVED):
            await check_thrown_away(node, procedure, first)


async def check_thrown_away(node: Node, procedure: str, before: Final) -> None:
    assert node.stop() == 0
    connection = apsw.Connection(str(node.data / "evento.db"))
    connection.execute(procedure)
    assert connection.execute("SELECT count(state) FROM run").fetchall() == [(0,)]
    connection.close()
    node.start()
    assert await read(node) == before
    node.verify()


@pytest.mark.parametrize("real", [False, True])
def test_the_data_has_the_banks_shape(real: bool) -> None:
    rows = bank.transactions() if real else tuple(bank._generated())
    assert len(rows) == len({row.id for row in rows}) == 23_156
    assert len(bank.accounts_of(rows)) == 587
    assert all(row.amount > 0 for row in rows)
