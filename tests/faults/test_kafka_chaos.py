"""The bank's transactions by two nodes on Kafka, while nodes, brokers and the network fail again and again (reliability §3, §7).

Nodes are killed, replaced, stopped, and stand still in the middle of a commit, beyond their session, to come back as zombies; their
functions are killed, and deployed anew, so that all states are folded again; brokers are killed; a commit or a record is held on
its way and delivered later, also when it was long sent again. Commands come over HTTP by either node, straight on the topic, and
both ways. Afterwards the topics alone are judged, and what was told against them.

`make chaos` makes it long: COMMANDS, FAULTS and SEED, with three brokers.
"""

import asyncio
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Json, Observer, read_final
from tests.faults.nemesis import KINDS, Nemesis, schedule
from tests.faults.nodes import Nodes, Outside, Roaming, running, until
from tests.faults.topics import Finding, Watcher, aborted, check, lags, standing
from tests.kafka.broker import Cluster
from tests.kafka.fixtures import need_kafka
from tests.kafka.proxy import Proxy

COMMANDS = int(os.environ.get("EVENTO_CHAOS_COMMANDS", "3500"))
FAULTS = int(os.environ.get("EVENTO_CHAOS_FAULTS", str(len(KINDS))))
SEED = int(os.environ.get("EVENTO_CHAOS_SEED", "1993"))
LONG = "EVENTO_CHAOS_COMMANDS" in os.environ
ACCOUNTS = 100  # of the bank's, in the short run
CLIENTS = 6
IN_FLIGHT_MAX = 60  # of one client: so that what is interrupted is a part, and the work lasts as long as the faults
SETTLE_S = 180.0
REBALANCED = "are this node's"
FENCED = re.compile(r"is given up: .*\b(_FENCED|PRODUCER_FENCED|INVALID_PRODUCER_EPOCH|INVALID_TXN_STATE)\b")
OUTSIDE_PAUSE_S = 0.05


class Work(NamedTuple):
    """Commands by the way that they go. An account goes one way, or both, always in the same order."""

    over_http: list[Json]
    on_the_topic: list[Json]

    @property
    def sent(self) -> dict[tuple[str, str], str]:
        return {(each["id"], each["command_id"]): each["command"] for each in (*self.over_http, *self.on_the_topic)}


def rounds(commands: int, accounts: int) -> Iterator[tuple[Work, Sequence[bank.Transaction]]]:
    """Give the bank's year, again and again with other accounts, until there are enough Commands."""
    whole = bank.transactions()
    made, year = 0, 0
    while made < commands:
        year += 1
        chosen = set(random.Random(year).sample(bank.accounts_of(whole), accounts))
        rows = [row._replace(account=f"{year}-{row.account}") for row in whole if row.account in chosen]
        work = split(bank.opening(bank.accounts_of(rows)) + bank.as_commands(rows))
        made += len(work.sent)
        yield work, rows


def split(commands: Sequence[Json]) -> Work:
    ways = {account: way for way, account in enumerate(dict.fromkeys(command["id"] for command in commands))}
    return Work(
        [command for command in commands if ways[command["id"]] % 5 != 0],
        [command for command in commands if ways[command["id"]] % 5 in (0, 1)],
    )


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_whatever_fails(tmp_path: Path) -> None:
    """The long one, of `make chaos`, has three brokers, one or two of which fail, and all accounts."""
    need_kafka()
    kinds = (*KINDS, "two brokers") if LONG else KINDS
    accounts = len(bank.accounts_of(bank.transactions())) if LONG else ACCOUNTS
    with Cluster(3 if LONG else 1, folder=tmp_path / "kafka", warm=LONG) as brokers:
        await chaos(tmp_path, brokers, partitions=8 if LONG else 4, accounts=accounts, kinds=kinds)


async def chaos(folder: Path, brokers: Cluster, *, partitions: int, accounts: int, kinds: Sequence[str]) -> None:
    faults = schedule(SEED, faults=FAULTS, answers=COMMANDS * 4 // 5, kinds=kinds)
    print(f"\nseed {SEED}, {COMMANDS} Commands:", *faults, sep="\n  ", flush=True)
    async with Proxy(brokers.proxied()).serving() as proxy:
        starting = running(
            folder,
            proxy.bootstrap,
            "chaos.",
            partitions=partitions,
            replication=min(3, len(brokers.brokers)),
            direct=brokers.bootstrap,
            module=Path(shutil.copy(bank.MODULE, folder)),
        )
        nodes = await asyncio.to_thread(starting.__enter__)
        try:
            nemesis = Nemesis(nodes, brokers, proxy, faults)
            await _carry_out(nodes, nemesis, accounts)
        except BaseException as error:
            await asyncio.to_thread(starting.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def _carry_out(nodes: Nodes, nemesis: Nemesis, accounts: int) -> None:
    watcher = Watcher(nodes.deployment, anew_records=max(100, COMMANDS // 100))
    watcher.start()
    outside = Outside(nodes.deployment)
    await asyncio.to_thread(outside.learn, bank.COMMANDS)
    sent: dict[tuple[str, str], str] = {}
    rows: list[bank.Transaction] = []
    refused: set[str] = set()
    begun = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        failing = tasks.create_task(nemesis.run(FAULTS))
        for work, its_rows in rounds(COMMANDS, accounts):
            refused |= await _round(nodes, nemesis, work, outside)
            sent.update(work.sent)
            rows += its_rows
            print(f"{time.monotonic() - begun:7.1f} s: {len(sent)} Commands carried out", flush=True)
        assert nemesis.begun == FAULTS, f"only {nemesis.begun} faults found work to hit"
        await failing
    finding = await asyncio.to_thread(check, nodes.deployment, sent, bank.fold)
    _judge(nodes, nemesis, finding)
    _audit(finding, rows)
    print(f"{len(refused)} accounts were refused a Command for the time being")
    await until(lambda: watcher.seen >= len(sent), "the watcher has read everything", SETTLE_S)
    assert not await asyncio.to_thread(watcher.end)
    assert watcher.seen == sum(map(len, finding.histories.values())) == len(sent)
    assert watcher.restarts >= 3
    assert not await asyncio.to_thread(standing, nodes.deployment)
    await asyncio.to_thread(nodes.verify)


async def _round(nodes: Nodes, nemesis: Nemesis, work: Work, outside: Outside) -> set[str]:
    """Send one round's Commands, wait for all, hold what was told against what there is; return accounts that were refused one."""
    history = History()
    async with asyncio.TaskGroup() as tasks:
        observing = tasks.create_task(Observer(nodes.urls[0], history, work.over_http[:50]).run())
        async with asyncio.TaskGroup() as sending:
            sending.create_task(outside.send_all(work.on_the_topic, history, OUTSIDE_PAUSE_S))
            for number in range(CLIENTS):
                urls = nodes.urls[number % 2 :] + nodes.urls[: number % 2]
                sender = Roaming(urls, history, in_flight_max=IN_FLIGHT_MAX)
                sender.on_answer, sender.wait_room = nemesis.count, nemesis.wait_room
                mine = [command for command in work.over_http if hash_of(command["id"]) % CLIENTS == number]
                sending.create_task(sender.send_all(mine))
        observing.cancel()
    outside.delivered.clear()  # a million records are many
    await until(lambda: not any(lags(nodes.deployment).values()), "all Commands' records are done with", SETTLE_S)
    if not LONG:
        await until(lambda: nemesis.is_idle, "the last fault is over", SETTLE_S)
        async with Client(nodes.urls[0]) as client:
            final = await read_final(client, bank.CHECKING)
        assert not broken(history, final, bank.fold)
    return {account for (_, account), _ in history.refused}


def hash_of(account: str) -> int:
    return sum(account.encode())


def _audit(finding: Finding, rows: Sequence[bank.Transaction]) -> None:
    """Hold each balance after each transaction against the bank's: also where Commands were refused, and sent again in order."""
    drifts = list(bank.drifts(rows, finding.histories))
    assert not drifts, drifts[:5]


def _judge(nodes: Nodes, nemesis: Nemesis, finding: Finding) -> None:
    assert not finding.broken, finding.broken[:20]
    assert not finding.refused
    log = nodes.logs()
    assert log.count(REBALANCED) > 2 * len(nodes.nodes), "nothing was rebalanced"
    assert nemesis.zombies or not nemesis.done["pause"], "no zombie found out that it was one"
    taken_back, fenced = aborted(nodes.deployment), len(FENCED.findall(log))
    assert taken_back or not nemesis.done["pause"], "no commit was aborted"
    assert fenced or not nemesis.done["pause"], "no producer was fenced"
    print(f"{dict(nemesis.done)}, {nemesis.zombies} zombies; outcomes: {dict(finding.outcomes)}, and {taken_back} aborted")
    print(f"{log.count(REBALANCED)} assignments, {fenced} producers fenced")
