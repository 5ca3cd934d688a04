"""Copies of replicas on Kafka: what a node without one takes instead of reading a history, and what is wrong with none but them."""

import asyncio
import logging
import time
from pathlib import Path
from threading import Event

import apsw
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

from evento.clock import SystemClock
from evento.errors import JournalCorrupt, JournalError
from evento.journal.kafka import copies, copying, fetching
from evento.journal.kafka.copies import Copy, Manifest, Place, digest_of, read_manifest, read_place
from evento.journal.kafka.records import Record
from evento.model.command import Pending
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, command, keys, run, whole_feed
from tests.journal.test_kafka_owners import WAIT_S, opened, owned
from tests.journal.test_kafka_replicas import restored
from tests.kafka.fixtures import Kafka

SMALL = 4096
TAKEN, COPIED = "took a copy of its replica", "copied its replica"


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Copies of little, at once, in small blocks."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(copying, "TURNS_MIN", 20)
    monkeypatch.setattr(copying, "LOOK_S", 0.02)
    monkeypatch.setattr(copying, "REST", 0)
    monkeypatch.setattr(copies, "_SIZES", (SMALL, 2 * SMALL))
    return caplog


def told(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    return [message for message in caplog.messages if what in message]


async def copied(caplog: pytest.LogCaptureFixture, times: int = 1) -> str:
    """Wait until a copy was made; return what was said about it."""
    async with asyncio.timeout(WAIT_S):
        while len(told(caplog, COPIED)) < times:  # noqa: ASYNC110  the copier is a thread
            await asyncio.sleep(0.02)
    return told(caplog, COPIED)[times - 1]


async def filled(address: str, folder: Path, caplog: pytest.LogCaptureFixture, count: int = 60) -> list[EntityKey]:
    """Make a history, with something pending, and its copy."""
    async with owned(address, folder) as (journal, partition):
        made = keys(journal, count)
        await partition.append(Transition(pending=(Pending(7, command(made[0], "p")),)))
        await appended(partition, *(run(key, 0, "a", "b") for key in made))
        await copied(caplog)
        return made


# ---------------------------------------------------------------------- on a broker
async def test_a_node_without_a_replica_takes_the_copy_and_reads_the_difference(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture
) -> None:
    address = kafka.address(partitions=1)
    made = await filled(address, tmp_path / "a", eager)
    async with owned(address, tmp_path / "a") as (journal, partition):
        await appended(partition, run(made[0], 2, "c"))
        expected = await whole_feed(journal)
    eager.clear()
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert len(told(eager, TAKEN)) == 1
        assert restored(eager) == [2]
        assert await whole_feed(journal) == expected
        assert [entry.number for entry in await partition.read_pending()] == [7]
        await appended(partition, run(made[0], 3, "d"))
        assert list(await journal.check()) == []
    assert not told(eager, COPIED), "one turn is no reason for a copy"


async def test_a_node_that_ends_takes_no_copy_any_more_and_the_next_one_does(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a", eager)
    begun, go_on = Event(), Event()

    def slow(content: bytes) -> bytes:
        begun.set()
        assert go_on.wait(WAIT_S)
        return digest_of(content)

    monkeypatch.setattr(fetching, "digest_of", slow)
    owning = asyncio.create_task(owned(address, tmp_path / "b").__aenter__())
    await asyncio.to_thread(begun.wait, WAIT_S)
    owning.cancel()
    await asyncio.sleep(0.1)  # it hears of it
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await owning
    assert not told(eager, TAKEN)
    async with owned(address, tmp_path / "b") as (journal, _):
        assert len(told(eager, TAKEN)) == 1
        assert list(await journal.check()) == []


async def test_only_what_changed_is_copied_again(kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture) -> None:
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        made = keys(journal, 2_000)
        await appended(partition, *(run(key, 0, "a") for key in made))
        first = blocks_of(await copied(eager))
        await appended(partition, *(run(key, 1, "b") for key in made[:400]))
        second = blocks_of(await copied(eager, 2))
        expected = await whole_feed(journal)
    assert 0 < second < first
    async with owned(address, tmp_path / "b") as (journal, _):
        assert len(told(eager, TAKEN)) == 1
        assert await whole_feed(journal) == expected
        assert list(await journal.check()) == []


async def test_the_next_owner_goes_on_with_the_copies_of_the_one_before(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture
) -> None:
    address = kafka.address(partitions=1)
    made = await filled(address, tmp_path / "a", eager, 600)
    whole = blocks_of(told(eager, COPIED)[0])
    async with owned(address, tmp_path / "b") as (_, partition):
        await appended(partition, *(run(key, 2, "c", "d", "e") for key in made[:100]))
        assert blocks_of(await copied(eager, 2)) < whole
    async with owned(address, tmp_path / "c") as (journal, _):
        assert len(await whole_feed(journal)) == 1_500
        assert list(await journal.check()) == []


@pytest.mark.parametrize("wrong", ["a block", "a missing block", "a long block", "the manifest", "all of it"])
async def test_a_copy_that_is_damaged_is_not_taken(
    wrong: str, kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture
) -> None:
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a", eager)
    topic, producer = f"{kafka.prefix}evento.replicas", Producer({"bootstrap.servers": kafka.bootstrap})
    block, changed = (
        b"%06d/%05d" % (SMALL, 2),
        {"a block": b"\x5a" * SMALL, "a missing block": None, "a long block": b"\x5a" * (SMALL + 1)},
    )
    if wrong in changed:
        producer.produce(topic, changed[wrong], block, 0)
    elif wrong == "the manifest":
        producer.produce(topic, b"\x01nonsense", b"copy", 0)
        producer.produce(topic, b"\x5a", block, 0)
    else:
        sound = Manifest(SMALL, SMALL, 7, 0, digest_of(b"no database" * 100))
        producer.produce(topic, b"no database" * 100, b"%06d/%05d" % (SMALL, 0), 0)
        producer.produce(topic, b"\x01" + copies._encode(sound), b"copy", 0)
    assert producer.flush(WAIT_S) == 0
    eager.clear()
    async with owned(address, tmp_path / "b") as (journal, partition):
        assert restored(eager) == [1 + 120 + 60]
        assert len(await whole_feed(journal)) == 120
        assert [entry.number for entry in await partition.read_pending()] == [7]
        assert list(await journal.check()) == []


async def test_a_copy_that_is_not_finished_is_not_seen(kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture) -> None:
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a", eager)
    stopped = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{kafka.prefix}other"})
    stopped.init_transactions(WAIT_S)
    stopped.begin_transaction()
    for number in range(20):
        stopped.produce(f"{kafka.prefix}evento.replicas", b"\x5a" * SMALL, b"%06d/%05d" % (SMALL, number), 0)
    assert stopped.flush(WAIT_S) == 0
    async with asyncio.timeout(WAIT_S), owned(address, tmp_path / "b") as (journal, _):
        assert len(told(eager, TAKEN)) == 1
        assert list(await journal.check()) == []
    stopped.abort_transaction(WAIT_S)


async def test_a_replica_that_is_too_large_is_not_copied(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "FILE_BYTES_MAX", 10 * SMALL)
    async with owned(kafka.address(partitions=1), tmp_path / "a") as (journal, partition):
        await appended(partition, *(run(key, 0, "a") for key in keys(journal, 60)))
        async with asyncio.timeout(WAIT_S):
            while not told(eager, "is not copied any more"):  # noqa: ASYNC110  the copier is a thread
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
    assert len(told(eager, "is not copied any more")) == 1
    assert not told(eager, COPIED)


async def test_a_copy_that_fails_is_tried_again_later_each_time(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "AGAIN_S", 0.1)
    failed = "its replica is not copied now: no room"
    async with owned(kafka.address(partitions=1), tmp_path / "a") as (journal, partition):
        with monkeypatch.context() as full:
            full.setattr(copying, "copy_file", lambda *_: (_ for _ in ()).throw(JournalError("no room")))
            await appended(partition, *(run(key, 0, "a") for key in keys(journal, 60)))
            while len(told(eager, failed)) < 4:  # noqa: ASYNC110  the copier is a thread
                await asyncio.sleep(0.02)
        await copied(eager)
    first, second, third, fourth = (each.created for each in eager.records if failed in each.message)
    assert second - first >= 0.1
    assert third - second >= 0.2
    assert fourth - third >= 0.4


async def test_what_was_damaged_is_read_from_the_topics_and_copied_anew(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture
) -> None:
    """The copy may be one of the damage."""
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a", eager)
    database = apsw.Connection(str(tmp_path / "a" / "kafka" / "0.db"))
    database.execute("UPDATE run SET turns = substr(turns, 1, 20) WHERE position = 5")
    database.close()
    with pytest.raises(JournalCorrupt):
        async with owned(address, tmp_path / "a") as (journal, _):
            await whole_feed(journal)
    eager.clear()
    async with owned(address, tmp_path / "a") as (journal, _):
        assert restored(eager) == [1 + 120 + 60]
        assert not told(eager, TAKEN)
        await copied(eager)
        assert list(await journal.check()) == []


async def test_a_copy_of_other_topics_is_not_used(kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture) -> None:
    address = kafka.address(partitions=1)
    await filled(address, tmp_path / "a", eager)
    other = address.replace(kafka.prefix, f"{kafka.prefix}other.")
    async with opened(other, tmp_path / "b"):
        pass  # its topics are there now
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for record in Copy(tmp_path / "a" / "kafka" / "0.db", f"{kafka.prefix}other.evento.replicas", None, turns=120, made_s=0):
        producer.produce(record.topic, record.value, record.key, 0)
    assert producer.flush(WAIT_S) == 0
    eager.clear()
    async with owned(other, tmp_path / "c") as (journal, partition):
        assert told(eager, "the copy of the replica")
        [key] = keys(journal, 1)
        assert await whole_feed(journal) == []
        await appended(partition, run(key, 0, "c"))
        assert list(await journal.check()) == []


async def test_what_a_copy_says_is_pending_is_as_old_as_the_copy(
    kafka: Kafka, tmp_path: Path, eager: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has slept for days reads all that is pending again: what says that an entry is gone may be gone itself."""
    address, days = kafka.address(partitions=1), 3
    with monkeypatch.context() as then:
        then.setattr(SystemClock, "now_us", lambda self: time.time_ns() // 1000 - days * 24 * 3600 * 1_000_000)
        await filled(address, tmp_path / "a", eager)
    eager.clear()
    async with owned(address, tmp_path / "b") as (_, partition):
        assert len(told(eager, TAKEN)) == 1
        assert restored(eager) == [1], "the pending entry was not read again"
        assert [entry.number for entry in await partition.read_pending()] == [7]


def blocks_of(message: str) -> int:
    return int(message.split(", ")[1].split()[0])


# ---------------------------------------------------------------------- the form
def put_together(records: list[Record]) -> bytes | None:
    """Return the file that the records of all copies make, if they make one."""
    latest = {record.key: record.value for record in records}
    manifest = read_manifest(b"copy", latest.get(b"copy"))
    if manifest is None:
        return None
    content = b""
    for number in range(manifest.blocks):
        block = latest.get(b"%06d/%05d" % (manifest.block_bytes, number))
        if block is None or digest_of(block) != manifest.digest(number):
            return None
        content += block
    return content if len(content) == manifest.file_bytes else None


@given(
    st.lists(st.lists(st.sampled_from([b"\0" * 1024, b"a" * 1024, b"b" * 512]), min_size=1, max_size=40), min_size=1, max_size=4)
)
def test_copies_of_a_file_that_changes_make_the_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[bytes]]
) -> None:
    file = tmp_path_factory.mktemp("copies") / "file"
    written, last = list[Record](), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_SIZES", (1024, 2048))
        patch.setattr(copies, "BLOCKS_MAX", 20)
        for parts in files:
            file.write_bytes(b"".join(parts))
            copy = Copy(file, "t", last, turns=1, made_s=1)
            first = list(copy)
            assert list(copy) == first, "asked again, it makes the same"
            written += first
            last = copy.manifest
            assert put_together(written) == file.read_bytes()
            places = {record.key for record in written if record.value is not None and record.key != b"copy"}
            gone = {record.key for record in written if record.value is None}
            assert last is not None and len(places) <= last.blocks + len(gone), "what is of no use any more is taken away"


@given(st.binary(max_size=300))
def test_a_manifest_that_somebody_made_up_is_none(content: bytes) -> None:
    found = read_manifest(b"copy", content)
    assert found is None or found.is_sound


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(0, 65536, 1, 1, b""),
        Manifest(65537, 65536, 1, 1, b"\0" * 8),
        Manifest(65536, 1, 1, 1, b"\0" * 8),
        Manifest(65536, 65536, -1, 1, b"\0" * 8),
        Manifest(1 << 60, 65536, 1, 1, b"\0" * 8),
    ],
)
def test_a_manifest_whose_numbers_do_not_fit_is_none(manifest: Manifest) -> None:
    assert read_manifest(b"copy", b"\x01" + copies._encode(manifest)) is None


@pytest.mark.parametrize("key", [b"", b"copy", b"000001/00000", b"065536/99999", b"65536/0", "065536/٠٠٠٠٠".encode()])
def test_what_is_no_block_has_no_place(key: bytes) -> None:
    assert read_place(key) is None
    assert read_place(None) is None


def test_a_block_has_a_place() -> None:
    assert read_place(b"065536/00017") == Place(65536, 17)
