"""Nodes that share partitions: who owns what, handing over, and what becomes of an owner that is no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec.structs import replace

from evento.clock import SystemClock
from evento.errors import JournalCorrupt, JournalRewind, JournalUnfit
from evento.journal.base import EntityPlace, Journal, Partition
from evento.journal.kafka import intake, membership, topics
from evento.journal.kafka.clients import Times
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.placing import murmur2, partition_of
from evento.journal.kafka.records import Done, read_pending
from evento.journal.sqlite.writer import IDLE_S
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Conflict, Input, Refusal, Transition
from evento.testing.journal_samples import TIME_US, appended, keys, run, state, whole_feed
from tests.journal.kafka_child import ENTITIES, cluster_at
from tests.journal.kafka_nodes import read_committed
from tests.kafka.fixtures import Kafka

WAIT_S = 120.0
# A machine that has much else to do is not taken for one that stood still; heartbeats are soon, so that partitions move at once.
PATIENT = Times(session_ms=12_000, heartbeat_ms=300, transaction_ms=12_000, message_ms=10_000, request_ms=8_000)


@asynccontextmanager
async def opened(
    address: str, folder: Path, name: str = "http://127.0.0.1:7070", *, times: Times = PATIENT
) -> AsyncIterator[Journal]:
    async with open_kafka(replace(cluster_at(address, name), times=times), folder, SystemClock()) as journal:
        await journal.provide(ENTITIES)
        yield journal


@asynccontextmanager
async def owned(address: str, folder: Path) -> AsyncIterator[tuple[Journal, Partition]]:
    async with asyncio.timeout(WAIT_S), opened(address, folder) as journal, journal.own(0) as partition:
        yield journal, partition


# ---------------------------------------------------------------- places
@pytest.mark.parametrize(
    ("content", "expected"),  # from the tests of Kafka's Java client
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_the_hash_is_that_of_kafkas_java_client(content: str, expected: int) -> None:
    assert murmur2(content.encode()) == expected & 0x7FFFFFFF


async def test_an_entity_uses_as_many_partitions_as_it_says(kafka: Kafka, tmp_path: Path) -> None:
    async with opened(kafka.address(partitions=3), tmp_path) as journal:
        await journal.provide([EntityPlace("bank", "Few", 2), EntityPlace("bank", "One", 1)])
        ids = [f"i{number}" for number in range(50)]
        assert {journal.partition_of(EntityKey("bank", "One", each)) for each in ids} == {0}
        assert {journal.partition_of(EntityKey("bank", "Few", each)) for each in ids} == {0, 1}
        assert [journal.partition_of(EntityKey("bank", "Account", each)) for each in ids] == [partition_of(each, 3) for each in ids]


async def test_what_does_not_fit_is_told_before_anything_is_appended(kafka: Kafka, tmp_path: Path) -> None:
    async with opened(kafka.address(partitions=3), tmp_path) as journal:
        await journal.provide([EntityPlace("bank", "Few", 2)])
        with pytest.raises(JournalUnfit) as refused:
            await journal.provide([EntityPlace("bank", "Few", 3), EntityPlace("bank", "Account")])
        assert len(refused.value.details["problems"]) == 3
        with pytest.raises(JournalUnfit):
            await journal.provide([EntityPlace("bank", "Many", 4)])


# ---------------------------------------------------------------- handing over
async def test_a_second_node_gets_its_share_and_both_know_each_other(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=2)
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path / "a", "http://a") as first, AsyncExitStack() as owning:
        parts = [await owning.enter_async_context(first.own(number)) for number in range(2)]
        made = {number: next(key for key in many_keys() if first.partition_of(key) == number) for number in range(2)}
        for number in range(2):
            await appended(parts[number], run(made[number], 0, "c0"))
        assert await first.read_owners() == {}
        async with opened(address, tmp_path / "b", "http://b") as second, AsyncExitStack() as gained:
            gains = [asyncio.ensure_future(gained.enter_async_context(second.own(number))) for number in range(2)]
            wanted = [asyncio.ensure_future(part.wait_revoked()) for part in parts]
            await asyncio.wait(wanted, return_when=asyncio.FIRST_COMPLETED)
            moved = next(number for number in range(2) if wanted[number].done())
            await appended(parts[moved], run(made[moved], 1, "c1"))  # it has time to finish
            await owning.aclose()
            theirs = await gains[moved]
            async with first.own(1 - moved) as ours:
                assert [turn.command.id for turn in await second.history.read_stream(made[moved])] == ["c0", "c1"]
                await appended(theirs, run(made[moved], 2, "c2"))
                await appended(ours, run(made[1 - moved], 1, "d1"))
                assert await first.read_owners() == {moved: "http://b"}
                assert await second.read_owners() == {1 - moved: "http://a"}
                for journal in (first, second):  # whoever owns it
                    assert [turn.version for turn in await journal.history.read_stream(made[moved])] == [1, 2, 3]
                    assert [turn.version for turn in await journal.history.read_stream(made[1 - moved])] == [1, 2]
                    assert len(await journal.history.read_instances("bank", "Account")) == 2
            for task in (*wanted, *gains):
                task.cancel()


async def test_states_that_were_folded_again_count_no_more_once_another_node_has_written(kafka: Kafka, tmp_path: Path) -> None:
    """Nothing else came after them, and this node gets the partition back without a start in between."""
    address = kafka.address(partitions=2)
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path / "a", "http://a") as first:
        made = {number: next(key for key in many_keys() if first.partition_of(key) == number) for number in range(2)}
        for number in range(2):
            async with first.own(number) as partition:
                await appended(partition, run(made[number], 0, "c0"))
                await asyncio.sleep(2 * IDLE_S)  # all of that is indexed
                again = replace(state(1), revision="again")
                assert isinstance(await partition.append(Transition(states=((made[number], again),))), Appended)
                assert await partition.read_states([made[number]]) == {made[number]: again}
        async with opened(address, tmp_path / "b", "http://b") as second, AsyncExitStack() as gained:
            gains = [asyncio.ensure_future(gained.enter_async_context(second.own(number))) for number in range(2)]
            await asyncio.wait(gains, return_when=asyncio.FIRST_COMPLETED)
            moved = next(number for number in range(2) if gains[number].done())
            await appended(gains[moved].result(), run(made[moved], 1, "c1"))
            gains[1 - moved].cancel()
        key = made[moved]
        async with first.own(moved) as partition:
            assert await partition.read_states([key]) == {key: state(2)}
            assert await partition.append(Transition(runs=(run(key, 1, "late"),))) == Conflict(key, before=1, actual=2)
            await appended(partition, run(key, 2, "c2"))
        assert [turn.command.id for turn in await first.history.read_stream(key)] == ["c0", "c1", "c2"]


async def test_a_node_does_not_take_itself_for_another_and_who_only_reads_is_told_of_it(kafka: Kafka, tmp_path: Path) -> None:
    address, name = kafka.address(partitions=1), "http://127.0.0.1:7070"
    async with (
        asyncio.timeout(WAIT_S),
        opened(address, tmp_path / "a", name) as node,
        opened(address, tmp_path / "b", name) as reader,
        node.own(0),
    ):
        assert await reader.read_owners() == {0: name}
        assert await node.read_owners() == {}
        joining = asyncio.ensure_future(reader.own(0).__aenter__())  # as a successor at the same address
        await asyncio.sleep(0)
        assert await reader.read_owners() == {}
        joining.cancel()


async def test_who_does_not_give_a_partition_up_in_time_cannot_commit_any_more(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "REVOKE_S", 0.2)
    address = kafka.address(partitions=2)
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path / "a") as first, AsyncExitStack() as owning:
        parts = [await owning.enter_async_context(first.own(number)) for number in range(2)]
        async with opened(address, tmp_path / "b") as second, AsyncExitStack() as also:
            tasks = [asyncio.ensure_future(also.enter_async_context(second.own(number))) for number in range(2)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            moved = next(number for number in range(2) if tasks[number].done())
            key = next(key for key in many_keys() if first.partition_of(key) == moved)
            await appended(tasks[moved].result(), run(key, 0, "theirs"))
            with pytest.raises(JournalRewind):
                await parts[moved].append(Transition(runs=(run(key, 0, "ours"),)))
            await parts[moved].wait_revoked()
            assert [turn.command.id for turn in await first.history.read_stream(key)] == ["theirs"]
            tasks[1 - moved].cancel()


def many_keys() -> list[EntityKey]:
    return [EntityKey("bank", "Account", f"acc-{number}") for number in range(100)]


# ---------------------------------------------------------------- inputs
def produce(kafka: Kafka, names: list[str], entity: str = "Account") -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for name in names:
        headers: list[tuple[str, str | bytes | None]] = [("ce_id", name)] if name else []
        headers.append(("ce_type", "bank.Deposit"))
        producer.produce(f"{kafka.prefix}bank.{entity}.commands", b"\0\0\0\0\3xyz", b"acc-1", 0, headers=headers)
    producer.flush()


async def test_commands_of_others_are_read_once_from_behind_what_a_commit_says_is_done(kafka: Kafka, tmp_path: Path) -> None:
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with opened(address, tmp_path):  # the topics are there now
        pass
    produce(kafka, [f"c{number}" for number in range(6)])
    async with owned(address, tmp_path) as (_, partition):
        assert partition.inputs is not None
        first = [*await partition.inputs.read(2)]
        while len(first) < 4:
            first += await partition.inputs.read(4 - len(first))
        assert [(each.source, each.offset, each.command_id, each.problem) for each in first] == [
            (source, number, f"c{number}", "") for number in range(4)
        ]
        refusal = Refusal(source, 2, first[2].key, "c2", "no-such-command", "there is none", TIME_US)
        key = first[0].key
        await partition.append(Transition(runs=(run(key, 0, "c0", "c1"),), inputs=((source, 3),), refusals=(refusal,)))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_consumer_groups([f"{kafka.prefix}evento"])[f"{kafka.prefix}evento"].result()  # and its offsets
    async with owned(address, tmp_path / "another") as (journal, partition):
        assert partition.inputs is not None
        again = [*await partition.inputs.read(10)]
        while len(again) < 3:
            again += await partition.inputs.read(10)
        assert [each.command_id for each in again] == ["c3", "c4", "c5"]
        await partition.append(Transition(inputs=((source, 6),)))
        produce(kafka, ["c6"])
        assert [each.command_id for each in await partition.inputs.read(10)] == ["c6"]
        await journal.provide([EntityPlace("bank", "Savings")])  # while it is being read
        produce(kafka, ["s0"], "Savings")
        [late] = await partition.inputs.read(10)
        assert (late.source, late.key, late.command_id) == (
            f"{kafka.prefix}bank.Savings.commands",
            EntityKey("bank", "Savings", "acc-1"),
            "s0",
        )
    outcomes = await asyncio.to_thread(read_committed, kafka, f"{kafka.prefix}evento.outcomes", 0)
    told = [dict(message.headers() or ())["evento-outcome"] for message in outcomes]
    assert told == [b"succeeded", b"succeeded", b"refused"]


async def test_commands_that_were_deleted_unread_stop_the_intake_and_nothing_else(kafka: Kafka, tmp_path: Path) -> None:
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with opened(address, tmp_path):  # the topics are there now
        pass
    produce(kafka, [f"c{number}" for number in range(6)])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    async with owned(address, tmp_path) as (_, partition):
        await partition.append(Transition(inputs=((source, 2),)))
    for deleted in admin.delete_records([TopicPartition(source, 0, 4)]).values():
        deleted.result()
    async with owned(address, tmp_path) as (journal, partition):
        assert partition.inputs is not None
        with pytest.raises(JournalCorrupt, match=r"has offsets 4 to 6, and it is done with up to 2"):
            await partition.inputs.read(1)
        [key] = keys(journal, 1)
        await appended(partition, run(key, 0, "c"))


async def make_anew(kafka: Kafka, source: str) -> None:
    """Delete a topic and make it anew."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([source])[source].result()
    while True:
        try:
            return await asyncio.to_thread(admin.create_topics([NewTopic(source, 1, 1)])[source].result)
        except KafkaException:  # the old one is not gone yet
            await asyncio.sleep(0.1)


async def read_all(partition: Partition, count: int) -> list[Input]:
    assert partition.inputs is not None
    found = [*await partition.inputs.read(count)]
    while len(found) < count:
        found += await partition.inputs.read(count - len(found))
    return found


async def test_a_topic_of_commands_that_was_made_anew_and_filled_is_read_from_its_beginning(
    kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "_EXACTLY", ())
    monkeypatch.setattr(topics, "_AT_LEAST", ())
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with opened(address, tmp_path):  # the topics are there now
        pass
    produce(kafka, ["c0", "c1", "", "c3"])
    async with owned(address, tmp_path) as (_, partition):
        unnamed = (await read_all(partition, 4))[2].command_id
        await partition.append(Transition(inputs=((source, 4),)))
    await make_anew(kafka, source)
    produce(kafka, ["d0", "d1", "", "d3", "d4", "d5"])
    for name in ("a", "b"):  # the second has no replica: all it knows, it knows from the topics
        async with owned(address, tmp_path / name) as (journal, partition):
            found = await read_all(partition, 6)
            assert [each.offset for each in found] == list(range(6))
            assert [each.source for each in found] == [source] * 6
            assert [each.command_id for each in found if each.offset != 2] == ["d0", "d1", "d3", "d4", "d5"]
            assert found[2].command_id != unnamed, "the record of the other topic would count as this one"
            key = next(key for key in keys(journal, 1))
            await appended(partition, run(key, 0 if name == "a" else 1, f"over http {name}"))  # says which topic it is from now on
            unnamed_anew = found[2].command_id
    assert caplog.text.count("was deleted and made anew: what it has now, offsets 0 to 6") == 1, "of the same topic it is told once"
    async with owned(address, tmp_path) as (_, partition):
        assert (await read_all(partition, 6))[2].command_id == unnamed_anew
        await partition.append(Transition(inputs=((source, 5),)))
    async with owned(address, tmp_path / "c") as (_, partition):
        assert [each.command_id for each in await read_all(partition, 1)] == ["d5"]


async def test_inputs_of_which_nobody_noted_the_topic_are_gone_on_with_where_they_are(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with opened(address, tmp_path):  # the topics are there now
        pass
    produce(kafka, ["c0", "c1", "c2"])
    async with owned(address, tmp_path) as (_, partition):
        await partition.append(Transition(inputs=((source, 2),)))  # as one wrote it that read nothing: without the topic
    async with owned(address, tmp_path) as (_, partition):
        [third] = await read_all(partition, 1)
        assert third.command_id == "c2"
        await partition.append(Transition(inputs=((source, 3),)))
    records = await asyncio.to_thread(read_committed, kafka, f"{kafka.prefix}evento.pending", 0)
    told = [read_pending(record.key(), record.value(), list(record.headers() or ())) for record in records]
    assert told[-2] == {source: Done(2)}
    assert told[-1] == {source: Done(3, told[-1][source].identity)}
    assert told[-1][source].identity


async def test_a_topic_of_commands_that_is_made_anew_while_it_is_read_makes_its_owner_begin_anew(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SAME_S", 0.5)
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with asyncio.timeout(2 * WAIT_S), opened(address, tmp_path) as journal:
        produce(kafka, ["c0", "c1"])
        async with journal.own(0) as partition:
            await read_all(partition, 2)
            await partition.append(Transition(inputs=((source, 2),)))
            await make_anew(kafka, source)
            produce(kafka, ["d0", "d1", "d2", "d3"])
            with pytest.raises(JournalRewind, match="made anew"):
                while True:  # what stands beyond the old offset may be read before
                    await read_all(partition, 1)
        async with journal.own(0) as partition:
            assert [each.command_id for each in await read_all(partition, 4)] == ["d0", "d1", "d2", "d3"]


async def test_an_intake_that_was_stopped_goes_on_when_its_topic_is_another_one(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SAME_S", 0.5)
    address, source = kafka.address(partitions=1), f"{kafka.prefix}bank.Account.commands"
    async with asyncio.timeout(2 * WAIT_S), opened(address, tmp_path) as journal:
        produce(kafka, ["c0", "c1"])
        async with journal.own(0) as partition:
            await partition.append(Transition(inputs=((source, 7),)))  # more than there is
        async with journal.own(0) as partition:
            assert partition.inputs is not None
            with pytest.raises(JournalCorrupt, match="has offsets 0 to 2, and it is done with up to 7"):
                await partition.inputs.read(1)
            await make_anew(kafka, source)
            with pytest.raises(JournalRewind, match="made anew"):
                await partition.inputs.read(1)


async def test_positions_are_the_same_on_every_node(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        made_keys = keys(journal, 5)
        for before in range(0, 9, 3):
            await appended(partition, *(run(key, before, *(f"c{before + n}" for n in range(3))) for key in made_keys))
        feed = await whole_feed(journal)
    assert [entry.position for entry in feed] == list(range(1, 46))
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path / "b") as journal:
        assert await whole_feed(journal) == feed


async def test_a_commit_may_be_larger_than_what_the_client_queues(kafka: Kafka, tmp_path: Path) -> None:
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        made_keys = keys(journal, 9_000)
        assert await appended(partition, *(run(key, 0, "c") for key in made_keys)) == 9_000
        assert len(await partition.read_states(made_keys)) == 9_000
