"""Reading a partition that another node owns, or a dead one left: all that was told, nothing by halves, and nobody waits for it."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from evento.errors import JournalError
from evento.journal.base import CommandRef
from evento.journal.kafka.reading import Reading
from evento.journal.kafka.restore import Restoring
from evento.testing.journal_samples import appended, keys, run, state
from tests.journal.test_kafka_owners import WAIT_S, opened, owned
from tests.kafka.fixtures import Kafka

UNDECIDED_S = 60


async def test_whoever_reads_what_another_node_writes_never_sees_the_half_of_a_commit(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (first, partition), opened(address, tmp_path / "b") as second:
        [key] = keys(first, 1)
        version = 0

        async def read() -> int:
            least = version
            [entry] = await second.history.read_instances("bank", "Account")
            assert entry.state == state(entry.state.version)
            assert entry.state.version >= least
            return entry.state.version

        await appended(partition, run(key, 0, "c0"))
        for version in range(1, 60):
            reading = [asyncio.ensure_future(read()) for _ in range(3)]
            await appended(partition, run(key, version, f"c{version}"))
            assert await read() == version + 1
            await asyncio.gather(*reading)


@pytest.mark.parametrize(("moment", "seen"), [("_read_outcomes", 2), ("_read_states", 1)])
async def test_a_commit_that_comes_while_another_node_is_read_is_shown_whole_or_not_at_all(
    moment: str, seen: int, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, loop, read = kafka.address(partitions=1), asyncio.get_running_loop(), getattr(Restoring, moment)
    async with owned(address, tmp_path / "a") as (first, partition):
        [key] = keys(first, 1)
        await appended(partition, run(key, 0, "c0"))

        def late(*arguments: Any) -> Any:
            asyncio.run_coroutine_threadsafe(appended(partition, run(key, 1, "c1")), loop).result(WAIT_S)
            return read(*arguments)

        async with opened(address, tmp_path / "b") as second:
            assert [entry.state for entry in await second.history.read_instances("bank", "Account")] == [state(1)]
        async with opened(address, tmp_path / "b") as second:
            with monkeypatch.context() as patch:
                patch.setattr(Restoring, moment, late)
                assert [entry.state for entry in await second.history.read_instances("bank", "Account")] == [state(seen)]
            assert [entry.state for entry in await second.history.read_instances("bank", "Account")] == [state(2)]


async def test_how_far_states_reach_is_asked_for_only_when_outcomes_are_read(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a commit that comes between the two is shown without its state, unless the client happens to have it."""
    done, ends, read = list[str](), Reading.ends, Restoring._read_outcomes

    def noted(self: Reading, topics: Iterable[str]) -> dict[str, int]:
        found = ends(self, topics)
        done.extend(found)
        return found

    def outcomes(self: Restoring, entities: Any) -> None:
        read(self, entities)
        done.append("outcomes are read")

    async with opened(kafka.address(partitions=1), tmp_path) as journal:
        monkeypatch.setattr(Reading, "ends", noted)
        monkeypatch.setattr(Restoring, "_read_outcomes", outcomes)
        assert await journal.history.read_instances("bank", "Account") == []
    assert done.index("outcomes are read") < done.index(f"{kafka.prefix}bank.Account.state")


async def test_an_owner_does_not_wait_for_who_reads_what_a_dead_one_left_undecided(kafka: Kafka, tmp_path: Path) -> None:
    """The dead one's commit is ended by being fenced, or much later. Who only reads waits for that, and gives way."""
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        [key] = keys(journal, 1)
        await appended(partition, run(key, 0, "a"))
    await asyncio.to_thread(leave_undecided, kafka)
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path / "b") as journal:
        reading = asyncio.create_task(journal.history.read_turn(CommandRef(key=key, command_id="a")))
        await asyncio.sleep(1)
        assert not reading.done()
        async with journal.own(0) as partition:
            found = await reading
            assert found is not None and found.version == 1
            await appended(partition, run(key, 1, "b"))
            assert list(await journal.check()) == []


@pytest.mark.parametrize("topic", ["outcomes", "catalog"])
async def test_a_node_ends_though_it_reads_what_a_dead_one_left_undecided(topic: str, kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        [key] = keys(journal, 1)
        await appended(partition, run(key, 0, "a"))
    dead = await asyncio.to_thread(leave_undecided, kafka, topic)
    async with AsyncExitStack() as opening:
        journal = await opening.enter_async_context(opened(address, tmp_path / "b"))
        read = {"outcomes": partial(journal.history.read_feed, 0), "catalog": journal.read_catalogs}
        reading = asyncio.ensure_future(read[topic]())
        await asyncio.sleep(1)
        assert not reading.done()
        reading.cancel()
        async with asyncio.timeout(UNDECIDED_S / 2):
            await opening.aclose()
            await asyncio.get_running_loop().shutdown_default_executor()  # as the end of the process does
    dead.abort_transaction()


def leave_undecided(kafka: Kafka, topic: str = "outcomes") -> Producer:
    """Begin a commit that nobody ends while the producer is there, but for the brokers after UNDECIDED_S."""
    properties = {"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"}
    dead = Producer({**properties, "transaction.timeout.ms": str(UNDECIDED_S * 1000)})
    dead.init_transactions(WAIT_S)
    dead.begin_transaction()
    dead.produce(f"{kafka.prefix}evento.{topic}", b"never committed", b"x", 0)
    assert dead.flush(WAIT_S) == 0
    return dead


async def test_who_reads_a_journal_that_is_closed_is_told_so(kafka: Kafka, tmp_path: Path) -> None:
    async with opened(kafka.address(partitions=1), tmp_path) as journal:
        assert not await journal.history.read_feed(0)
    async with asyncio.timeout(UNDECIDED_S):
        with pytest.raises(JournalError, match="the journal is closed"):
            await journal.history.read_feed(0)
