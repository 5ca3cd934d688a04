"""Two nodes on Kafka that lose each other, come back, hand over, and are sent the same twice (reliability §7, 2, 3, 17, 24 to 28).

Each test ends with the topics being judged, with everything that was sent to these nodes.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from evento.client import Client
from evento.errors import IdReused
from tests.faults import bank
from tests.faults.checker import History, Json, broken
from tests.faults.clients import read_final
from tests.faults.nodes import SESSION_S, Nodes, Outside, Roaming, running, until
from tests.faults.topics import check
from tests.kafka.broker import quiet
from tests.kafka.fixtures import Running, delete_topics

ACCOUNTS = [f"account-{number}" for number in range(16)]  # in all partitions, so with both nodes
HOT_COMMANDS, HOT_CLIENTS = 10_000, 64
PATIENT_S = 24
MEMBERS_MIN, MEMBERS_MAX, GIVEN_S = 6, 60, 90.0


class Pair:
    """The nodes, with everything that was ever sent to them."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.first, self.second = nodes.nodes
        self.history = History()

    async def send(self, commands: Sequence[Json], *urls: str, in_flight_max: int = 100) -> list[Json]:
        return await Roaming(urls or self.nodes.urls, self.history, in_flight_max=in_flight_max).send_all(commands)

    async def judge(self) -> None:
        """Hold the topics, and what the API tells, against what was sent and told."""
        sent = {(account, command_id): each["command"] for ((_, account), command_id), each in self.history.invoked.items()}
        finding = await asyncio.to_thread(check, self.nodes.deployment, sent, bank.fold)
        assert not finding.broken, finding.broken[:20]
        async with Client(self.first.url) as client:
            assert not broken(self.history, await read_final(client, bank.CHECKING), bank.fold)


@pytest.fixture(scope="module")
def _pair(kafka_broker: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    prefix = f"t{secrets.token_hex(4)}."
    with running(tmp_path_factory.mktemp("pair"), kafka_broker.bootstrap, prefix) as nodes:
        yield Pair(nodes)
    delete_topics(kafka_broker.bootstrap, prefix)


@pytest.fixture
def pair(_pair: Pair) -> Pair:
    """Two nodes that are well at the start of the test. Shared within the module."""
    for node in _pair.nodes.nodes:
        if not node.running:
            node.start()
    return _pair


def deposits(what: str, count: int, accounts: Sequence[str] = ACCOUNTS) -> list[Json]:
    """Return deposits to accounts, in turn, behind the Commands that open them."""
    opened = [
        bank.command(account, "OpenChecking", {"owner": "x", "overdraft_limit": "0.00"}, f"{what}-open") for account in accounts
    ]
    rows = [(number, account) for number in range(1, count + 1) for account in accounts]
    return opened + [bank.command(account, "ReceiveDeposit", {"amount": f"{n}.00"}, f"{what}-{n}") for n, account in rows]


async def test_a_node_that_stood_still_is_replaced_and_stores_nothing_when_it_goes_on(pair: Pair) -> None:
    zombie, other = pair.first, pair.second
    before = zombie.log().count("are lost to the group")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.send(deposits("own", 120), zombie.url, other.url, in_flight_max=200))
        theirs = tasks.create_task(pair.send(deposits("other", 120), other.url))
        await asyncio.sleep(0.2)
        zombie.pause()
        paused = time.monotonic()
        await theirs  # though half of the partitions were the zombie's
        assert time.monotonic() - paused > SESSION_S / 2, "nothing waited for the zombie's partitions: it was paused too late"
        zombie.resume()
    await pair.send(deposits("after", 5), zombie.url)
    await until(lambda: zombie.log().count("are lost to the group") > before, "the zombie knows that it was one")
    await pair.judge()


async def test_a_command_sent_by_all_ways_at_once_is_carried_out_once(pair: Pair) -> None:
    commands = deposits("once", 8)
    await asyncio.gather(
        pair.send(commands, pair.first.url),
        pair.send(commands, pair.second.url),
        Outside(pair.nodes.deployment).send_all(commands, pair.history, 0.0),
    )
    pair.first.restart()
    for url in pair.nodes.urls:
        assert all(answer["duplicate"] for answer in await pair.send(commands, url))
        async with Client(url) as client:
            with pytest.raises(IdReused):
                last = commands[-1]
                await client.send(
                    f"{bank.CHECKING}/{last['id']}", last["command"], {"amount": "0.01"}, command_id=last["command_id"]
                )
    await pair.judge()


async def test_a_node_killed_between_a_commit_and_its_answer_loses_no_answer(pair: Pair) -> None:
    for number in range(3):
        commands = deposits(f"killed-{number}", 15)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(pair.send(commands, pair.second.url, pair.first.url))
            await asyncio.sleep(0.05 + 0.1 * number)
            pair.second.kill()
            tasks.create_task(asyncio.to_thread(pair.second.start))
            answers = await sending
        assert [answer["command_id"] for answer in answers] == [command["command_id"] for command in commands]
    await pair.judge()


async def test_ten_thousand_commands_to_one_account_by_many_clients_are_in_each_clients_order(pair: Pair) -> None:
    await pair.send(deposits("open", 0, ["hot"]))
    each = HOT_COMMANDS // HOT_CLIENTS
    clients = [
        [bank.command("hot", "ReceiveDeposit", {"amount": "1.00"}, f"hot-{client}-{number}") for number in range(each)]
        for client in range(HOT_CLIENTS)
    ]
    urls = pair.nodes.urls
    await asyncio.gather(*(pair.send(commands, urls[at % 2], urls[1 - at % 2]) for at, commands in enumerate(clients)))
    sent = {(account, command_id): one["command"] for ((_, account), command_id), one in pair.history.invoked.items()}
    finding = await asyncio.to_thread(check, pair.nodes.deployment, sent, bank.fold)
    assert not finding.broken, finding.broken[:20]
    events = [event["command_id"].split("-") for event in finding.histories["hot"][1:]]
    assert len(events) == each * HOT_CLIENTS
    for client in range(HOT_CLIENTS):
        assert [int(number) for _, name, number in events if int(name) == client] == list(range(each))


@pytest.fixture
def patient(kafka_broker: Running, tmp_path: Path) -> Iterator[Pair]:
    """Two nodes with a session so long that no machine is taken for slow by it."""
    prefix = f"t{secrets.token_hex(4)}."
    with running(tmp_path, kafka_broker.bootstrap, prefix, env={"EVENTO_KAFKA_SESSION_S": str(PATIENT_S)}) as nodes:
        yield Pair(nodes)
    delete_topics(kafka_broker.bootstrap, prefix)


async def test_a_node_that_is_stopped_under_load_hands_over_at_once(patient: Pair) -> None:
    pair = patient
    await pair.send(deposits("before", 1))
    stopping, other = pair.first, pair.second
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pair.send(deposits("stopped", 40), stopping.url, other.url))
        tasks.create_task(pair.send(deposits("going-on", 40), other.url))
        await asyncio.sleep(0.3)
        stopping.terminate()
        told = time.monotonic()
        await pair.send(deposits("next", 1), other.url)
        waited_s = time.monotonic() - told
        assert await asyncio.to_thread(stopping.wait) == 0
        ended = time.monotonic()
        await pair.send(deposits("then", 1), other.url)
        handed_over_s = time.monotonic() - ended
    print(f"answered {waited_s:.1f} s after the signal, and {handed_over_s:.1f} s after the end")
    assert max(waited_s, handed_over_s) < PATIENT_S, "the partitions were not handed over, but timed out"
    stopping.start()
    await pair.judge()


async def test_a_storm_of_members_that_come_and_go_stops_nothing_for_long(pair: Pair) -> None:
    """Each brings two rebalances, and takes partitions away for a moment."""
    before = pair.nodes.logs().count("are this node's")
    async with asyncio.TaskGroup() as tasks:
        storm = tasks.create_task(asyncio.to_thread(come_and_go, pair, lambda: is_stormy(pair, before)))
        sent = 0
        while not storm.done():
            sent += len(await pair.send(deposits(f"storm-{sent}", 5)))
    await pair.judge()


def is_stormy(pair: Pair, before: int) -> bool:
    """Return whether nodes were given partitions often enough since."""
    return pair.nodes.logs().count("are this node's") > before + MEMBERS_MIN


def come_and_go(pair: Pair, is_enough: Callable[[], bool]) -> None:
    """Be a member of the nodes' group for moments: one that no request reaches, or one that is none of Evento's at all."""
    deployment = pair.nodes.deployment
    config = {"group.id": deployment.group, "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 3000}
    for number in count():
        if number >= MEMBERS_MIN and is_enough():
            return
        assert number < MEMBERS_MAX, "the nodes are given nothing back"
        name = ("http://127.0.0.1:9", "somebody else")[number % 2]
        member = Consumer({**quiet(deployment.bootstrap), **config, "client.id": name})
        member.subscribe([deployment.pending])
        give_up = time.monotonic() + GIVEN_S
        while not member.assignment():
            assert time.monotonic() < give_up, "a stranger was given no partition"
            member.poll(0.1)
        member.close()
