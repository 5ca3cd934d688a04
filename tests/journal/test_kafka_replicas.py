"""A replica is a cache: it may be old, gone, damaged or another's, and is brought up to its topics, or made anew from them."""

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

import apsw
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from evento.errors import JournalCorrupt, JournalRefused, JournalRewind
from evento.journal.base import EntityPlace
from evento.journal.kafka import proving, restore, transactions
from evento.journal.kafka.records import event_records, outcome_record, state_record
from evento.model.command import Pending
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, command, keys, run, state, turn, whole_feed
from tests.journal.test_kafka_owners import WAIT_S, opened, owned
from tests.kafka.fixtures import Kafka

KEY = EntityKey("bank", "Account", "acc-000000")
QUIET = EntityKey("bank", "Savings", "quiet")


def restored(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(found[1]) for found in map(re.compile(r"read (\d+) records that").search, caplog.messages) if found]


async def filled(address: str, folder: Path, count: int = 60) -> list[EntityKey]:
    async with owned(address, folder) as (journal, partition):
        made = keys(journal, count)
        await appended(partition, *(run(key, 0, "a", "b") for key in made))
        await partition.append(Transition(pending=(Pending(7, command(made[0], "p")),)))
        return made


async def test_partitions_that_are_far_behind_are_read_one_after_another(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = kafka.address(partitions=4)
    reading = Semaphore(0)  # for all, once so many as are expected have come

    def counted(self: restore.Restoring, entities: Collection[restore.Entity]) -> int:
        with counting:
            counts.append(counts[-1] + 1)
            if counts[-1] == expected:
                reading.release(4)
        assert reading.acquire(timeout=WAIT_S), f"{expected} at once are expected, and there are {counts[-1]}"
        time.sleep(0.3)  # for one too many to come
        with counting:
            counts.append(counts[-1] - 1)
        return read(self, entities)

    read, counts, counting = restore.Restoring._take_over, [0], Lock()
    monkeypatch.setattr(restore.Restoring, "_take_over", counted)
    for far, expected in ((0, 2), (restore.FAR_RECORDS, 4)):
        monkeypatch.setattr(restore, "FAR_RECORDS", far)
        counts[:], reading = [0], Semaphore(0)
        async with asyncio.timeout(WAIT_S), opened(address, tmp_path / str(far)) as journal, AsyncExitStack() as owning:
            await asyncio.gather(*(owning.enter_async_context(journal.own(number)) for number in range(4)))
        assert (max(counts), len(counts)) == (expected, 1 + 2 * 4)


async def test_a_restart_reads_only_the_difference(kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    address = kafka.address(partitions=1)
    made = await filled(address, tmp_path / "a")
    async with owned(address, tmp_path / "b") as (_, partition):
        assert restored(caplog) == [120 + 60 + 1]
        await appended(partition, run(made[0], 2, "c"))
    caplog.clear()
    async with owned(address, tmp_path / "a") as (_, partition):
        assert restored(caplog) == [2]
        assert await partition.read_states(made[:2]) == {made[0]: state(3), made[1]: state(2)}
        assert [entry.number for entry in await partition.read_pending()] == [7]


@pytest.mark.parametrize("damage", ["gone", "cut", "scribbled", "foreign"])
async def test_a_replica_that_is_of_no_use_is_made_anew(damage: str, kafka: Kafka, tmp_path: Path) -> None:
    address, path = kafka.address(partitions=1), tmp_path / "a" / "kafka" / "0.db"
    made = await filled(address, tmp_path / "a")
    async with opened(address, tmp_path / "a") as journal:
        expected = await whole_feed(journal)
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "scribbled":
        content = bytearray(path.read_bytes())
        content[4096 * 3 : 4096 * 9] = b"\x5a" * 4096 * 6
        path.write_bytes(content)
    else:
        path.write_bytes(b"no database at all" * 500)
    async with owned(address, tmp_path / "a") as (journal, partition):
        assert await whole_feed(journal) == expected
        assert len(await partition.read_states(made)) == len(made)
        assert list(await journal.check()) == []


@pytest.mark.parametrize("meets", ["a reader", "the owner's commit"])
async def test_a_replica_that_contradicts_itself_stops_the_process_and_is_made_anew_by_the_next(
    meets: str, kafka: Kafka, tmp_path: Path
) -> None:
    address, path = kafka.address(partitions=1), tmp_path / "a" / "kafka" / "0.db"
    made = await filled(address, tmp_path / "a")
    database = apsw.Connection(str(path))
    database.execute("UPDATE run SET turns = substr(turns, 1, 20) WHERE position = 5; UPDATE instance SET state = x'00'")
    database.close()
    with pytest.raises(JournalCorrupt):
        async with owned(address, tmp_path / "a") as (journal, partition):
            if meets == "a reader":
                await whole_feed(journal)
            else:
                await appended(partition, run(made[0], 2, "c"))
    async with owned(address, tmp_path / "a") as (journal, partition):
        assert len(await whole_feed(journal)) == 120
        await appended(partition, run(made[0], 2, "c"))
        assert list(await journal.check()) == []


async def test_a_replica_of_other_topics_is_made_anew(kafka: Kafka, tmp_path: Path) -> None:
    await filled(kafka.address(partitions=1), tmp_path / "a")
    other = kafka.address(partitions=1).replace(kafka.prefix, f"{kafka.prefix}other.")
    (tmp_path / "b" / "kafka").mkdir(parents=True)
    shutil.copy(tmp_path / "a" / "kafka" / "0.db", tmp_path / "b" / "kafka" / "0.db")
    async with owned(other, tmp_path / "b") as (journal, partition):
        [key] = keys(journal, 1)
        assert await whole_feed(journal) == []
        await appended(partition, run(key, 0, "c"))
    assert (tmp_path / "b" / "kafka" / "0.db.aside").exists()


async def test_pending_entries_that_were_resolved_long_ago_do_not_come_back(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that says so is gone from the topic after a week: a replica that has slept longer reads all of it again."""
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a")
    path = tmp_path / "a" / "kafka" / "0.db"
    before = path.read_bytes()
    async with owned(address, tmp_path / "a") as (_, partition):
        await partition.append(Transition(resolved=(7,)))
    path.write_bytes(before)
    monkeypatch.setattr(restore, "PENDING_TRUSTED_S", 0)
    read = []
    forget = restore.Replica.forget_pending
    monkeypatch.setattr(restore.Replica, "forget_pending", lambda *arguments: read.append(forget(*arguments)))
    async with owned(address, tmp_path / "a") as (_, partition):
        assert read
        assert list(await partition.read_pending()) == []


# ---------------------------------------------------------------- what stands on the topics
async def test_only_aborted_records_and_a_predecessors_open_commit_are_no_history(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with opened(address, tmp_path / "a"):
        pass
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"})
    producer.init_transactions()
    for _ in range(2):
        producer.begin_transaction()
        put_turn(producer, kafka, "lost")
        producer.flush()
        producer.abort_transaction()
    producer.begin_transaction()
    put_turn(producer, kafka, "open")
    producer.flush()
    async with owned(address, tmp_path / "a") as (journal, partition):
        assert await whole_feed(journal) == []
        await appended(partition, run(KEY, 0, "c"))
        assert list(await journal.check()) == []
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert await partition.read_states([KEY]) == {KEY: state(1)}


async def test_a_reader_waits_for_a_commit_under_way_and_shows_nothing_of_an_aborted_one(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with opened(address, tmp_path / "a") as journal:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"})
        producer.init_transactions()
        for end, expected in ((producer.abort_transaction, 0), (producer.commit_transaction, 1)):
            producer.begin_transaction()
            put_turn(producer, kafka, "c")
            producer.flush()
            reading = asyncio.ensure_future(journal.history.read_stream(KEY))
            await asyncio.sleep(0.3)
            assert not reading.done()
            end()
            assert len(await reading) == expected
        assert [entry.state for entry in await journal.history.read_instances("bank", "Account")] == [state(1)]


async def test_what_another_owner_wrote_while_a_partition_was_taken_over_is_no_torn_commit(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a node stands still behind its fence, with the outcomes read and the states not yet, and goes on."""
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        other = keys(journal, 2)[1]
        await appended(partition, run(other, 0, "a"))
    read, written = restore.Restoring._read_states, list[str]()

    def stood_still(self: restore.Restoring, *arguments: Any) -> Any:
        if not written:
            written.append("c")
            put_whole(kafka, "c")
        return read(self, *arguments)

    monkeypatch.setattr(restore.Restoring, "_read_states", stood_still)
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert written
        assert await partition.read_states([KEY, other]) == {KEY: state(1), other: state(1)}
        await appended(partition, run(KEY, 1, "d"))
        assert list(await journal.check()) == []


async def test_who_is_in_doubt_and_read_and_goes_on_and_is_read_again_has_written_nothing_twice(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an owner whose commits are slow writes between two readings is in its replica already."""
    monkeypatch.setattr(transactions, "SLOW_S", 0.0)
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        [key] = keys(journal, 1)
        for before in range(3):
            await appended(partition, run(key, before, f"c{before}"))
            assert [entry.turn.command.id for entry in await whole_feed(journal)] == [f"c{number}" for number in range(before + 1)]


async def test_who_is_in_doubt_and_reads_what_another_wrote_commits_nothing_more(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it knows is old, though its replica, which was read, is not."""
    monkeypatch.setattr(transactions, "SLOW_S", 0.0)
    address = kafka.address(partitions=1)
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path) as journal:
        other = keys(journal, 2)[1]
        async with journal.own(0) as partition:
            await appended(partition, run(other, 0, "a"))
            await asyncio.to_thread(put_whole, kafka, "c")
            assert len(await journal.history.read_stream(KEY)) == 1
            with pytest.raises(JournalRewind, match="somebody else has owned"):
                await partition.append(Transition(runs=(run(other, 1, "b"),)))
        async with journal.own(0) as partition:
            await appended(partition, run(other, 1, "b"), run(KEY, 1, "d"))
            assert list(await journal.check()) == []


TORN = {
    "an event is missing": (["outcome", "state"], r"bank\.Account\.events\[0\] ends at offset 0, without event 1 of 'acc-000000'"),
    "an outcome is missing": (["event", "state"], r"bank\.Account\.events\[0\] at offset \d+: event 1 .* has no outcome"),
    "only the state is there": (["state"], r"bank\.Account\.state\[0\] at offset \d+: this state is newer"),
    "an event is there twice": (
        ["event", "event", "outcome", "state"],
        r"bank\.Account\.events\[0\] at offset \d+: event 1 .* has no outcome",
    ),
    "another's event is there": (
        ["other", "outcome", "state"],
        r"bank\.Account\.events\[0\] at offset \d+: there should be event 1 of",
    ),
    "a turn is there twice": (
        ["event", "outcome", "event", "outcome", "state"],
        r"begins at version 0, but the one before ended at 1",
    ),
}


@pytest.mark.parametrize("case", TORN)
async def test_a_torn_commit_is_found_and_its_place_is_named(case: str, kafka: Kafka, tmp_path: Path) -> None:
    address, (parts, expected) = kafka.address(partitions=1), TORN[case]
    async with opened(address, tmp_path / "a"):
        pass
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for part in parts:
        put_turn(producer, kafka, "torn", (part,))
    producer.flush()
    with pytest.raises(JournalCorrupt, match=expected):
        async with owned(address, tmp_path / "a"):
            pass
    async with opened(address, tmp_path / "a") as journal:
        [difference] = await journal.check()
        assert re.search(expected, difference)


async def test_a_torn_commit_is_gone_on_with_by_the_next_start_once_the_topics_agree(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with opened(address, tmp_path / "a"):
        pass
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for part in ("outcome", "state"):
        put_turn(producer, kafka, "torn", (part,))
    producer.flush()
    for _ in range(2):  # to start again changes nothing by itself
        with pytest.raises(JournalCorrupt, match="without event 1 of 'acc-000000'"):
            async with owned(address, tmp_path / "a"):
                pass
    put_turn(producer, kafka, "torn", ("event",))
    producer.flush()
    async with owned(address, tmp_path / "a") as (journal, partition):
        await appended(partition, run(KEY, 1, "next"))
        assert [entry.turn.command.id for entry in await whole_feed(journal)] == ["torn", "next"]
        assert list(await journal.check()) == []


TORN_AT_THE_END = {
    "an event is missing": r"bank\.Account\.events\[0\] ends at offset \d+, without event 1 of 'torn'",
    "an outcome is missing": r"bank\.Account\.events\[0\] at offset \d+: event 1 of 'torn', .* has no outcome",
    "only the state is there": r"bank\.Account\.state\[0\] at offset \d+: this state is newer",
    "an event is there twice": r"bank\.Account\.events\[0\] at offset \d+: event 1 of 'torn', .* has no outcome",
    "another's event is there": r"bank\.Account\.events\[0\] at offset \d+: there should be event 1 of 'torn'",
    "a turn is there twice": r"begins at version 0, but the one before ended at 1",
}


async def with_long_history(kafka: Kafka, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have more turns than a take-over holds against their events, and an Entity that has none among the last."""
    address = kafka.address(partitions=1)
    async with opened(address, folder / "a") as journal:
        await journal.provide([EntityPlace("bank", "Savings")])
    monkeypatch.setattr(proving, "PROVEN_TURNS", 20)
    monkeypatch.setattr(proving, "SLACK_RECORDS", 3)
    async with owned(address, folder / "a") as (_, partition):
        await appended(partition, run(QUIET, 0, "q"))
    await filled(address, folder / "a")
    return address


@pytest.mark.parametrize("case", TORN)
async def test_a_commit_that_is_torn_at_the_end_of_a_long_history_is_found(
    case: str, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_long_history(kafka, tmp_path, monkeypatch)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for part in TORN[case][0]:
        put_turn(producer, kafka, "torn", (part,), KEY._replace(id="torn"))
    producer.flush()
    for _ in range(2):  # what was read of it the first time is no excuse
        with pytest.raises(JournalCorrupt, match=TORN_AT_THE_END[case]):
            async with owned(address, tmp_path / "b"):
                pass
    async with opened(address, tmp_path / "c") as journal:
        [difference] = await journal.check()
        assert re.search(TORN_AT_THE_END[case], difference)


async def test_an_event_without_an_outcome_is_found_where_the_last_turns_have_none_of_its_entity(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_long_history(kafka, tmp_path, monkeypatch)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    put_turn(producer, kafka, "torn", ("event",), QUIET)
    producer.flush()
    with pytest.raises(JournalCorrupt, match=r"bank\.Savings\.events\[0\] at offset \d+: event 1 of 'quiet', .* has no outcome"):
        async with owned(address, tmp_path / "b"):
            pass


async def test_a_long_history_is_read_by_who_owns_it_and_by_who_does_not(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_long_history(kafka, tmp_path, monkeypatch)
    async with opened(address, tmp_path / "a") as journal:
        expected = await whole_feed(journal)
        assert len(expected) == 121
    async with opened(address, tmp_path / "b") as reader:
        assert await whole_feed(reader) == expected
        async with owned(address, tmp_path / "c") as (journal, partition):
            assert await whole_feed(journal) == expected
            await appended(partition, run(QUIET, 1, "r"), run(KEY._replace(id="new"), 0, "s"))
            assert len(await whole_feed(reader)) == 123
            assert list(await reader.check()) == []
            assert list(await journal.check()) == []


async def test_reading_that_was_cut_off_before_its_proof_is_proven_by_the_next(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await with_long_history(kafka, tmp_path, monkeypatch)
    with monkeypatch.context() as cut, pytest.raises(JournalRefused):
        cut.setattr(proving.Proving, "prove", lambda *_: (_ for _ in ()).throw(JournalRefused("cut off")))
        async with owned(address, tmp_path / "b"):
            pass
    async with owned(address, tmp_path / "a") as (_, partition):
        await appended(partition, run(QUIET, 1, "r"))
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert len(await whole_feed(journal)) == 122
        await appended(partition, run(QUIET, 2, "s"))
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert list(await journal.check()) == []


async def test_outcomes_that_were_deleted_are_told(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for deleted in admin.delete_records([TopicPartition(f"{kafka.prefix}evento.outcomes", 0, 10)]).values():
        deleted.result()
    async with owned(address, tmp_path / "a"):  # who has them goes on
        pass
    with pytest.raises(JournalCorrupt, match="cannot be read from offset 0"):
        async with owned(address, tmp_path / "b"):
            pass


def put_whole(kafka: Kafka, name: str) -> None:
    """Commit a turn as another owner does."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}evento.0"})
    producer.init_transactions()
    producer.begin_transaction()
    put_turn(producer, kafka, name)
    producer.flush()
    producer.commit_transaction()


def put_turn(
    producer: Producer, kafka: Kafka, name: str, parts: tuple[str, ...] = ("event", "outcome", "state"), key: EntityKey = KEY
) -> None:
    """Produce the records of a turn as a commit has them, or some of them."""
    made, topics = turn(key, name, 0), f"{kafka.prefix}bank.{key.entity}."
    records = {
        "event": event_records(f"{topics}events", made)[0],
        "other": event_records(f"{topics}events", turn(key, "other", 0))[0],
        "outcome": outcome_record(f"{kafka.prefix}evento.outcomes", made),
        "state": state_record(f"{topics}state", key, state(1)),
    }
    for part in parts:
        record = records[part]
        producer.produce(record.topic, record.value, record.key, 0, headers=list(record.headers))
