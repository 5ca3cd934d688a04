"""What others put on the topic of Commands, and what waits: refused, held back, parked, scheduled, moved (reliability §7).

Two nodes, and a shop whose functions are broken and mended.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History, Json
from tests.faults.clients import read_pending
from tests.faults.nodes import PARTITIONS, Nodes, Outside, Roaming, running, until
from tests.faults.shop import POISON, RAISES, Shop
from tests.faults.test_outage import AWAY, ONCE, SOUND
from tests.faults.topics import Finding, Reading, Registry, check, lags, murmur2
from tests.kafka.fixtures import Running, delete_topics

ACCOUNTS = [f"account-{number}" for number in range(12)]
BACKLOG_EACH = 100
DUE_S = 30.0


class Branch:
    """Two nodes, the shop whose functions they call, a program outside, and everything that was sent."""

    def __init__(self, nodes: Nodes, shop: Shop) -> None:
        self.nodes = nodes
        self.shop = shop
        self.history = History()

    def deploy(self) -> None:
        self.nodes.nodes[0].deploy(self.shop.folder)

    async def send(self, commands: Sequence[Json]) -> list[Json]:
        return await Roaming(self.nodes.urls, self.history).send_all(commands)

    async def put(self, commands: Sequence[Json]) -> None:
        await Outside(self.nodes.deployment).send_all(commands, self.history, 0.0)

    async def judge(self) -> Finding:
        """Wait until everything is finished, and hold the topics against what was sent."""
        await until(lambda: not any(lags(self.nodes.deployment).values()), "all records are done with")
        await until(lambda: not asyncio.run(self.pending()), "nothing is pending")
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in self.history.invoked.items()}
        finding = await asyncio.to_thread(check, self.nodes.deployment, sent, bank.fold)
        assert not finding.broken, finding.broken[:20]
        return finding

    async def pending(self) -> list[Json]:
        async with Client(self.nodes.urls[0]) as client:
            return await read_pending(client)

    def move_all(self) -> None:
        """Let each partition be with another node at least once."""
        for node in self.nodes.nodes:
            node.restart()


@pytest.fixture(scope="module")
def branch(kafka_broker: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Branch]:
    prefix = f"t{secrets.token_hex(4)}."
    folder: Path = tmp_path_factory.mktemp("branch")
    shop = Shop(folder / "shop", retry=ONCE)
    with running(folder, kafka_broker.bootstrap, prefix, module=shop.folder) as nodes:
        yield Branch(nodes, shop)
    delete_topics(kafka_broker.bootstrap, prefix)


def deposits(what: str, count: int, accounts: Sequence[str] = ACCOUNTS) -> list[Json]:
    rows = [(number, account) for number in range(1, count + 1) for account in accounts]
    return [bank.command(account, "ReceiveDeposit", {"amount": f"{n}.00"}, f"{what}-{n}") for n, account in rows]


def wrong_records(outside: Outside, good: Json) -> dict[str, dict[str, Any]]:
    """Return what can be wrong with a record, by name: what it has otherwise than a good one."""
    value, named = outside.encode(good["command"], good["data"]), ("ce_type", b"ReceiveDeposit")
    partition = murmur2(good["id"].encode()) % PARTITIONS
    return {
        "another partition": {"partition": (partition + 1) % PARTITIONS},
        "no key": {"key": None, "partition": partition},
        "an empty key": {"key": b"", "partition": partition},
        "a key that is no text": {"key": b"\xff\xfe", "partition": partition},
        "no value": {"value": None},
        "no framing": {"value": b"hello"},
        "an unknown schema": {"value": b"\0" + (999_999).to_bytes(4, "big") + value[5:]},
        "another Command's schema": {"value": outside.encode("WithdrawCash", {"amount": "1.00"})},
        "half of it": {"value": value[:-1]},
        "more than all of it": {"value": value + b"\0"},
        "too large": {"value": value + bytes(300_000)},
        "no name": {"headers": [("ce_id", b"w-1")]},
        "an unknown name": {"headers": [("ce_id", b"w-2"), ("ce_type", b"Rob")]},
        "another Entity's Command": {"headers": [("ce_id", b"w-3"), ("ce_type", b"CreditInterest")]},
        "another namespace": {"headers": [("ce_id", b"w-4"), ("ce_type", b"casino.ReceiveDeposit")]},
        "an id that breaks the rules": {"headers": [("ce_id", b"a b"), named]},
        "an id that is no text": {"headers": [("ce_id", b"\xff"), named]},
        "two ids": {"headers": [("ce_id", b"w-5"), ("ce_id", b"w-6"), named]},
        "no time": {"headers": [("ce_id", b"w-7"), named, ("evento-due", b"tomorrow")]},
        "no version": {"headers": [("ce_id", b"w-8"), named, ("evento-expected-version", b"-1")]},
        "too many headers": {"headers": [("ce_id", b"w-9"), named, *((f"x{n}", b"") for n in range(65))]},
        "headers that are too large": {"headers": [("ce_id", b"w-10"), named, ("x", bytes(20_000))]},
        "an id that was used": {"headers": [("ce_id", b"open"), named]},
    }


async def test_each_record_that_is_no_command_is_answered_and_those_behind_it_go_on(branch: Branch) -> None:
    opened = [bank.command(account, "OpenChecking", {"owner": "x", "overdraft_limit": "0.00"}, "open") for account in ACCOUNTS]
    await branch.send(opened)
    outside = Outside(branch.nodes.deployment)
    for number, (name, wrong) in enumerate(wrong_records(outside, deposits("wrong", 1)[0]).items()):
        account = ACCOUNTS[0]
        outside.send(bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"wrong-{number}"), **wrong)
        await asyncio.to_thread(outside.flush)
        behind = bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"behind-{number}")
        branch.history.invoke(behind)
        outside.send(behind)
        assert len(outside.delivered) == 2 * number + 1, name
        await asyncio.to_thread(outside.flush)
    finding = await branch.judge()
    wrong_places = {(message.topic(), message.partition(), message.offset()) for message in outside.delivered[::2]}
    assert finding.refused.keys() == wrong_places
    for outcome in finding.refused.values():
        assert outcome["refusal"]["code"]
        assert len(outcome["refusal"]["message"]) > 20, outcome
    assert sum(event["command_id"].startswith("behind-") for event in finding.histories[ACCOUNTS[0]]) == len(wrong_places)


async def test_the_backlog_of_a_function_that_is_away_stays_in_kafka_and_drains_in_order(branch: Branch) -> None:
    await branch.judge()
    branch.shop.write(AWAY + SOUND)  # not deployed: what is deployed must be ready first
    await asyncio.to_thread(branch.nodes.end_functions)
    await branch.put(deposits("backlog", BACKLOG_EACH))
    await asyncio.sleep(2.0)
    assert sum(lags(branch.nodes.deployment).values()) == BACKLOG_EACH * len(ACCOUNTS)
    async with Client(branch.nodes.urls[0]) as client:
        assert not await read_pending(client), "nothing is stored that is on the topic already"
    await asyncio.to_thread(branch.move_all)
    assert sum(lags(branch.nodes.deployment).values()) == BACKLOG_EACH * len(ACCOUNTS)
    branch.shop.mend()
    branch.deploy()
    finding = await branch.judge()
    for account in ACCOUNTS:
        ids = [event["command_id"] for event in finding.histories[account] if event["command_id"].startswith("backlog-")]
        assert ids == [f"backlog-{number}" for number in range(1, BACKLOG_EACH + 1)]


async def test_a_poisoned_account_waits_alone_and_what_is_parked_or_scheduled_moves_to_another_node(branch: Branch) -> None:
    branch.shop.poison(RAISES)
    branch.deploy()
    sick = ACCOUNTS[:2]
    poison = [bank.command(account, "ReceiveDeposit", {"amount": POISON}, "poison") for account in sick]
    await branch.put([poison[0], *deposits("behind-poison", 5, sick[:1])])
    for command in [poison[1], *deposits("behind-poison", 5, sick[1:])]:
        await send_async(branch, command)
    due = datetime.now(UTC) + timedelta(seconds=DUE_S)
    for account in ACCOUNTS[2:]:
        await send_async(branch, bank.command(account, "ReceiveDeposit", {"amount": "5.00"}, "later"), due=due.isoformat())
    await branch.send(deposits("healthy", 10, ACCOUNTS[2:]))
    async with Client(branch.nodes.urls[0]) as client:
        before = await read_pending(client)
    assert {entry["id"] for entry in before if entry["outcome"] == "parked"} == set(sick)
    assert len(before) == 2 * 6 + len(ACCOUNTS) - 2
    await asyncio.to_thread(branch.move_all)
    async with Client(branch.nodes.urls[1]) as client:
        parked = [entry for entry in await read_pending(client) if entry["outcome"] == "parked"]
        assert [(entry["id"], entry["attempts"]) for entry in parked] == [
            (entry["id"], entry["attempts"]) for entry in before if entry["outcome"] == "parked"
        ]
        branch.shop.mend()
        branch.deploy()
        for account in sick:
            await client.retry(f"{bank.CHECKING}/{account}", "poison")
    finding = await branch.judge()
    for account in sick:
        ids = [event["command_id"] for event in finding.histories[account]][-6:]
        assert ids == ["poison", *(f"behind-poison-{number}" for number in range(1, 6))]
    for account in ACCOUNTS[2:]:
        assert finding.histories[account][-1]["command_id"] == "later"


async def send_async(branch: Branch, command: Json, **more: Any) -> None:
    """Send without waiting; it must be accepted."""
    branch.history.invoke(command)
    async with Client(branch.nodes.urls[1]) as client:
        place = f"{command['entity']}/{command['id']}"
        answer = await client.send(place, command["command"], command["data"], command_id=command["command_id"], wait_s=0, **more)
        assert answer["outcome"] in ("pending", "parked")


async def test_states_are_folded_again_by_whoever_owns_them(branch: Branch) -> None:
    """Also when the owner dies before it came to it."""
    accounts = [f"fold-{number}" for number in range(12)]
    opened = [bank.command(account, "OpenChecking", {"owner": "x", "overdraft_limit": "0.00"}, "open") for account in accounts]
    await branch.send(opened + deposits("fold", 2, accounts))
    branch.shop.change(
        "balance=account.balance + event.amount)", "balance=account.balance + event.amount, owner=account.owner.upper())"
    )
    branch.deploy()
    await asyncio.to_thread(branch.nodes.nodes[0].restart)
    await until(lambda: owners(branch).issuperset({(account, "X") for account in accounts}), "all states are folded again")
    assert all(node.running for node in branch.nodes.nodes)


def owners(branch: Branch) -> set[tuple[str, str]]:
    """Return each account's owner, as the topic of states has it last."""
    registry, found = Registry(branch.nodes.deployment.url), dict[bytes, bytes]()
    with Reading(branch.nodes.deployment.bootstrap) as reading:
        for partition in range(PARTITIONS):
            for message in reading.read(branch.nodes.deployment.of_entity("state"), partition):
                found[message.key()] = message.value()
    return {(key.decode(), registry.decode(value)["owner"]) for key, value in found.items()}
