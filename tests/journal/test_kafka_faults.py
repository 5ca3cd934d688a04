"""Requests held back and let go later, brokers started again, owners that are fenced: each Command once, or not at all."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from evento.clock import SystemClock
from evento.errors import JournalError, JournalRewind
from evento.journal.base import Journal
from evento.journal.kafka import clients
from evento.journal.kafka import journal as journal_module
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster, Times
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.security import Properties
from evento.journal.kafka.transactions import SLOW_S, Transactions
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, keys, run
from tests.faults.nodes import until
from tests.journal.kafka_child import ENTITIES
from tests.journal.test_kafka_owners import opened
from tests.kafka.broker import Cluster as Brokers
from tests.kafka.fixtures import Kafka
from tests.kafka.proxy import Kind, Proxy, Side

IMPATIENT = Times(session_ms=3_000, heartbeat_ms=500, transaction_ms=5_000, message_ms=3_000, request_ms=1_500)
WAIT_S = 300.0


@asynccontextmanager
async def impatient(address: str, folder: Path) -> AsyncIterator[Journal]:
    """Open a journal whose requests time out soon."""
    cluster = Cluster(address=parse_address(address), security=Properties(), client_id="http://127.0.0.1:7070", times=IMPATIENT)
    async with asyncio.timeout(WAIT_S), open_kafka(cluster, folder, SystemClock()) as journal:
        await journal.provide(ENTITIES)
        yield journal


async def carry_on(journal: Journal, count: int) -> None:
    """Append events 1 to `count` of one instance, whatever happens to owners meanwhile, as the engine does."""
    [key] = keys(journal, 1)
    while True:
        try:
            async with journal.own(0) as partition:
                states = await partition.read_states([key])
                for before in range(states[key].version if key in states else 0, count):
                    await appended(partition, run(key, before, f"c{before}"))
                return
        except JournalRewind:
            continue


async def assert_whole(journal: Journal, count: int) -> None:
    [key] = keys(journal, 1)
    assert [turn.command.id for turn in await journal.history.read_stream(key)] == [f"c{number}" for number in range(count)]
    assert list(await journal.check()) == []


@pytest.fixture
def fences(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One for each producer that was made anew."""
    made: list[object] = []
    fence = Transactions.fence
    monkeypatch.setattr(Transactions, "fence", lambda *arguments: made.append(fence(*arguments)))
    return made


@pytest.mark.parametrize("side", [Side.REQUEST, Side.ANSWER])
@pytest.mark.parametrize("kind", [Kind.END_TXN, Kind.PRODUCE, Kind.TXN_OFFSET_COMMIT, Kind.ADD_PARTITIONS_TO_TXN])
async def test_a_request_that_is_held_back_does_no_harm_when_it_comes_later(
    kind: Kind, side: Side, kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path, fences: list[object]
) -> None:
    address = kafka.address(partitions=1, proxy=kafka_proxy)
    async with impatient(address, tmp_path) as journal:
        await carry_on(journal, 3)
        held = kafka_proxy.hold(kind, side, containing=kafka.prefix.encode())
        fences.clear()
        await carry_on(journal, 8)
        assert held.is_caught
        assert len(fences) >= 2, "the producer was not made anew, and the request could land in a later commit"
        await held.release()
        await carry_on(journal, 12)
        await assert_whole(journal, 12)


@pytest.mark.parametrize(("kind", "doubts"), [(Kind.PRODUCE, 0), (Kind.TXN_OFFSET_COMMIT, 1), (Kind.END_TXN, 1)])
async def test_a_commit_that_has_much_to_write_is_not_in_doubt_and_one_whose_end_is_slow_is(
    kind: Kind, doubts: int, kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path, fences: list[object]
) -> None:
    async with opened(kafka.address(partitions=1, proxy=kafka_proxy), tmp_path) as journal, journal.own(0) as partition:
        [key] = keys(journal, 1)
        await appended(partition, run(key, 0, "c0"))
        fences.clear()
        slow = kafka_proxy.hold(kind, containing=kafka.prefix.encode())
        appending = asyncio.ensure_future(appended(partition, run(key, 1, "c1")))
        await slow.caught()
        await asyncio.sleep(SLOW_S + 0.5)
        await slow.release()
        await appending
        await appended(partition, run(key, 2, "c2"))
        assert len(fences) == doubts
        await assert_whole(journal, 3)


async def test_a_commit_that_is_asked_for_again_at_once_does_not_end_the_next_one_in_its_middle(
    kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path
) -> None:
    """Its connection was cut, and within milliseconds there was another: nothing was slow, and no call of the client failed."""
    async with impatient(kafka.address(partitions=1, proxy=kafka_proxy), tmp_path) as journal:
        [key] = keys(journal, 1)
        async with journal.own(0) as partition:
            await appended(partition, run(key, 0, "c0"))
            ending = kafka_proxy.hold(Kind.END_TXN, containing=kafka.prefix.encode())
            appending = asyncio.ensure_future(appended(partition, run(key, 1, "c1")))
            await ending.caught()
            ending.cut()  # no other: else the client says that it has none at all
            await appending
            outcome = kafka_proxy.hold(Kind.PRODUCE, containing=f"{kafka.prefix}evento.outcomes".encode())
            appending = asyncio.ensure_future(appended(partition, run(key, 2, "c2")))
            await outcome.caught()
            await asyncio.sleep(0.1)  # the Event, which was sent before, is there
            await ending.release()
            await outcome.release()
            await appending
        await assert_whole(journal, 3)


async def test_an_owner_that_has_nothing_to_commit_hears_its_client_all_the_same(
    kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has to say stays in memory until then: while a broker is away for days, that is much."""
    monkeypatch.setattr(journal_module, "LISTEN_S", 0.1)
    async with impatient(kafka.address(partitions=1, proxy=kafka_proxy), tmp_path) as journal:
        [key] = keys(journal, 1)
        async with journal.own(0) as partition:
            await appended(partition, run(key, 0, "c0"))
            with caplog.at_level(logging.INFO, logger=clients.logger.name):
                kafka_proxy.cut()
                lost = re.compile("TxnCoordinator.* Disconnected")
                await until(lambda: any(map(lost.search, caplog.messages)), "the owner hears of it")
            await appended(partition, run(key, 1, "c1"))
        await assert_whole(journal, 2)


async def test_a_cut_connection_is_mended(kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path) -> None:
    async with impatient(kafka.address(partitions=1, proxy=kafka_proxy), tmp_path) as journal:
        for count in range(5, 30, 5):
            await carry_on(journal, count)
            kafka_proxy.cut()
        await assert_whole(journal, 25)


async def test_whoever_is_fenced_stores_nothing_more_and_may_begin_anew(kafka: Kafka, tmp_path: Path) -> None:
    async with asyncio.timeout(WAIT_S), opened(kafka.address(partitions=1), tmp_path) as journal:
        [key] = keys(journal, 1)
        async with journal.own(0) as partition:
            await appended(partition, run(key, 0, "c0"))
            stranger = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"})
            await asyncio.to_thread(stranger.init_transactions)
            results = await asyncio.gather(
                *(partition.append(Transition(runs=(run(key, before, f"c{before}"),))) for before in range(1, 5)),
                return_exceptions=True,
            )
            assert [type(result) for result in results] == [JournalRewind] * 4
            with pytest.raises(JournalError):
                await partition.append(Transition(runs=(run(key, 1, "c1"),)))
        await carry_on(journal, 3)
        await assert_whole(journal, 3)


@pytest.mark.slow
async def test_brokers_that_are_killed_or_started_again_in_the_middle_lose_nothing(kafka_cluster: Brokers, tmp_path: Path) -> None:
    address = f"kafka://{kafka_cluster.bootstrap}?prefix=faults.&partitions=1&replication=3&min_insync=2"
    async with impatient(address, tmp_path) as journal:
        count = 0
        for number in (1, 2, 3):
            fault = kafka_cluster.kill if number == 2 else kafka_cluster.stop
            working = asyncio.ensure_future(carry_on(journal, count + 60))
            await asyncio.sleep(0.1)
            await asyncio.to_thread(fault, number)
            await working
            count += 60
            await asyncio.to_thread(kafka_cluster.start, number)
            await carry_on(journal, count + 5)
            count += 5
        await assert_whole(journal, count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.END_TXN, Kind.TXN_OFFSET_COMMIT], ids=["transactions", "group"])
async def test_a_coordinator_that_is_killed_while_it_is_asked_leaves_one_outcome(
    kind: Kind, kafka_cluster: Brokers, tmp_path: Path
) -> None:
    """That of transactions, or that of the group. What it was asked reaches it after all, once others have taken its place."""
    prefix = f"{kind.name.lower()}."
    async with Proxy(kafka_cluster.proxied()).serving() as proxy:
        address = f"kafka://{proxy.bootstrap}?prefix={prefix}&partitions=1&replication=3&min_insync=2"
        async with impatient(address, tmp_path) as journal:
            await carry_on(journal, 3)
            held = proxy.hold(kind, containing=prefix.encode())
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(carry_on(journal, 8))
                await held.caught()
                await asyncio.to_thread(kafka_cluster.kill, kafka_cluster.listening_at(held.port))
                assert not working.done()
            await asyncio.to_thread(kafka_cluster.mend)
            await held.release()
            await carry_on(journal, 12)
            await assert_whole(journal, 12)


@pytest.mark.slow
async def test_an_owner_comes_to_an_end_though_no_broker_answers(kafka_cluster: Brokers, tmp_path: Path) -> None:
    address = f"kafka://{kafka_cluster.bootstrap}?prefix=silent.&partitions=1&replication=3&min_insync=2"
    async with impatient(address, tmp_path) as journal:
        [key] = keys(journal, 1)
        async with journal.own(0) as partition:
            await appended(partition, run(key, 0, "c0"))
            for number in (1, 2, 3):
                kafka_cluster.pause(number)
            appending = asyncio.ensure_future(partition.append(Transition(runs=(run(key, 1, "c1"),))))
            await asyncio.sleep(0.2)
        with pytest.raises(JournalRewind):
            await appending
        await asyncio.to_thread(kafka_cluster.mend)
        await carry_on(journal, 3)
        await assert_whole(journal, 3)
