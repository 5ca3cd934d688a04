"""What `evento verify` says of a journal on Kafka: for each of its sentences a forgery or a damage that it must find."""

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event as Flag
from typing import Any

import apsw
import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from evento.journal.base import Journal
from evento.journal.kafka import journal as journal_module
from evento.journal.kafka import verify as verify_module
from evento.journal.kafka.reading import Reading
from evento.journal.kafka.records import (
    Record,
    event_records,
    outcome_record,
    pending_record,
    refusal_record,
    state_record,
)
from evento.journal.kafka.replica import Replica
from evento.journal.kafka.restore import Restoring
from evento.journal.kafka.verify import Verified, verify
from evento.journal.sqlite.connection import Tuning
from evento.model.command import Context, Event, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Refusal, Run, Transition
from evento.testing.journal_samples import appended, command, keys, run, state, turn
from tests.journal.test_kafka_owners import WAIT_S, opened, owned
from tests.journal.test_kafka_replicas import filled
from tests.kafka.fixtures import Kafka

CONTEXT = Context("conversation", "cause", "ada", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
TWO_EVENTS = (Event("Deposited", 4, b"\x02"), Event("Refused", 70_000, b"\x80\x00\xff", True))


def made(key: EntityKey) -> Turn:
    """Return a turn whose events have every header that there is."""
    full = replace(command(key, "c"), context=CONTEXT)
    return replace(turn(key, "c", 0), command=full, kind=OutcomeKind.REJECTED, events=TWO_EVENTS)


def records(kafka: Kafka, finished: Turn) -> dict[str, Record]:
    """Return what a commit writes for the turn of `made`."""
    key, topics = finished.command.key, f"{kafka.prefix}bank.Account."
    first, second = event_records(f"{topics}events", finished)
    outcome = outcome_record(f"{kafka.prefix}evento.outcomes", finished)
    return {"first": first, "second": second, "outcome": outcome, "state": state_record(f"{topics}state", key, state(2))}


def written(kafka: Kafka, *made: Record, partition: int = 0) -> None:
    """Put records where only Evento should."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for record in made:
        producer.produce(record.topic, record.value, record.key, partition, headers=list(record.headers))
    assert producer.flush(30) == 0


async def checked(address: str, folder: Path) -> list[str]:
    async with opened(address, folder) as journal:
        return list(await journal.check())


# ---------------------------------------------------------------- records that are not what is written
def header(name: str, content: bytes | None) -> Callable[[Record], Record]:
    """Return how a record is given another content of a header, or none, or one more."""

    def altered(record: Record) -> Record:
        headers: Mapping[str, bytes] = {**dict(record.headers), name: content or b""}
        return replace(record, headers=[(each, text) for each, text in headers.items() if each != name or content is not None])

    return altered


def valued(value: bytes) -> Callable[[Record], Record]:
    return lambda record: replace(record, value=value)


EVENT = r"bank\.Account\.events\[{}\] at offset \d+: event {} of 'acc-\d+', of Command c, is not as its outcome says: "
OUTCOME = r"evento\.outcomes\[{}\] at offset \d+: this is not as it is written: "
STATE = r"bank\.Account\.state\[{}\] at offset \d+: this is not as it is written: "
HEAD = r"bank\.Account\.events\[{}\] at offset \d+: the headers of an event are not as they are written: "
VALUE = "its value is not the one that it should be, of "
ALTERED: dict[str, tuple[str, Callable[[Record], Record], str]] = {
    "type": ("first", header("ce_type", b"a.B"), EVENT + "its header ce_type is b'a.B', not b'bank.Deposited'"),
    "source": ("first", header("ce_source", b"/bank/Savings"), EVENT + "its header ce_source is"),
    "id": ("first", header("ce_id", b"x"), HEAD),
    "subject": ("first", header("ce_subject", b"bob"), EVENT + "its header ce_subject is"),
    "time": ("first", header("ce_time", b"2026-01-01T00:00:00.000000Z"), EVENT + "its header ce_time is"),
    "correlation": ("first", header("ce_correlationid", b"x"), EVENT + "its header ce_correlationid is b'x', not b'conv"),
    "trace": ("first", header("traceparent", b"00-x"), EVENT + "its header traceparent is"),
    "revision": ("second", header("evento-revision", b"r2"), EVENT + "its header evento-revision is b'r2', not b'r1'"),
    "place in its turn": ("second", header("evento-turn", b"1/2"), EVENT + "its header evento-turn is b'1/2', not b'2/2'"),
    "made a rejection": ("first", header("evento-rejection", b"true"), EVENT + "there is the header evento-rejection, which"),
    "made none": ("second", header("evento-rejection", None), EVENT + "there is the header traceparent, where evento-rej"),
    "a header too few": ("second", header("evento-turn", None), EVENT + "there is no header evento-turn"),
    "schema": ("first", valued(b"\x00\x00\x00\x00\x63\x02"), EVENT + VALUE + "6 and 6 bytes"),
    "payload": ("second", valued(b"garbage"), EVENT + VALUE + "7 and 8 bytes"),
    "outcome's header": ("outcome", header("evento-outcome", b"refused"), OUTCOME + "its header evento-outcome is b'refused'"),
    "outcome's key": ("outcome", lambda record: replace(record, key=b"bob"), OUTCOME + "its key is b'bob', not"),
    "state's header": ("state", header("content-type", b"text"), STATE + "its header content-type is b'text', not"),
}


async def test_a_record_that_is_not_to_the_byte_what_is_written_for_its_turn_is_found(kafka: Kafka, tmp_path: Path) -> None:
    """One in each partition; and in the last one what is right."""
    address = kafka.address(partitions=len(ALTERED) + 1)
    async with opened(address, tmp_path) as journal:
        homes = all_homes(journal)
    for number, (part, alter, _) in enumerate(ALTERED.values()):
        right = records(kafka, made(homes[number]))
        written(kafka, *(alter(record) if name == part else record for name, record in right.items()), partition=number)
    written(kafka, *records(kafka, made(homes[len(ALTERED)])).values(), partition=len(ALTERED))
    found = await checked(address, tmp_path)
    assert len(found) == len(ALTERED), found
    for number, (difference, (name, (part, _, expected))) in enumerate(zip(found, ALTERED.items(), strict=True)):
        assert re.search(expected.format(number, 2 if part == "second" else 1), difference), (name, difference)


def all_homes(journal: Journal) -> list[EntityKey]:
    """Return an instance of each partition."""
    homes: dict[int, EntityKey] = {}
    number = 0
    while len(homes) < journal.partitions:
        key = EntityKey("bank", "Account", f"acc-{number}")
        homes.setdefault(journal.partition_of(key), key)
        number += 1
    return [homes[each] for each in range(journal.partitions)]


async def test_everything_that_is_written_is_as_it_is_written(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path) as (journal, partition):
        refused = made(EntityKey("bank", "Account", "Zoë 1"))
        conflict = replace(turn(refused.command.key, "d", 2, 0), command=replace(command(refused.command.key, "d"), expected=7))
        await appended(partition, Run(key=refused.command.key, before=0, turns=(refused, conflict), state=state(2)))
        await appended(partition, run(EntityKey("bank", "Account", "x"), 0, "a", "b"))
        refusal = Refusal("bank.Account.commands", 17, EntityKey("bank", "Account", ""), "", "invalid-request", "no key", 5)
        await partition.append(Transition(refusals=(refusal,)))
        assert list(await journal.check()) == []
        written(kafka, header("evento-command-id", b"x")(refusal_record(f"{kafka.prefix}evento.outcomes", refusal)))
        [difference] = await journal.check()
        assert "this is not as it is written: its header evento-command-id is b'x', not b''" in difference


async def test_an_outcome_whose_time_nobody_can_write_is_told(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    async with opened(address, tmp_path):
        pass
    key = EntityKey("bank", "Account", "acc")
    right = records(kafka, made(key))
    outcome = outcome_record(right["outcome"].topic, replace(made(key), time_us=2**62))
    written(kafka, right["first"], right["second"], outcome)
    [difference] = await checked(address, tmp_path)
    assert "the outcome of Command c of bank/Account/acc has Events that cannot be written" in difference


# ---------------------------------------------------------------- what agrees record by record, and not together
async def test_a_command_that_is_finished_twice_is_found(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    [key] = await filled(address, tmp_path, 1)
    again, topics = turn(key, "a", 2), f"{kafka.prefix}bank.Account."
    written(kafka, *event_records(f"{topics}events", again), outcome_record(f"{kafka.prefix}evento.outcomes", again))
    written(kafka, state_record(f"{topics}state", key, state(3)))
    found = await checked(address, tmp_path)
    assert "partition 0, as read from its topics: Command a of instance 1 was finished at positions 1 and 3" in found


async def test_a_command_that_is_finished_and_pending_is_found(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    [key] = await filled(address, tmp_path, 1)
    written(kafka, pending_record(f"{kafka.prefix}evento.pending", Pending(9, command(key, "b"))))
    assert await checked(address, tmp_path) == [f"partition 0: Command b of {key} is finished, and pending as number 9"]


async def test_an_instance_in_a_partition_that_is_not_its_own_is_found(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=2)
    async with opened(address, tmp_path) as journal:
        key = all_homes(journal)[0]
    written(kafka, *records(kafka, made(key)).values(), partition=1)
    assert await checked(address, tmp_path) == [f"partition 1: {key} is on its topics, and belongs to partition 0"]


# ---------------------------------------------------------------- the replica in use
def with_one_turn_more(path: Path, key: EntityKey) -> None:
    replica = Replica(path, Tuning())
    group, _ = replica.plan([Transition(runs=(run(key, 2, "c"),))])
    replica.advance(group, replica.marks)
    replica.close()


def with_another_turn(path: Path, key: EntityKey) -> None:
    """Make a replica that has read as far, and something else."""
    replica = Replica(path, Tuning())
    marks = replica.marks
    replica.close()
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    replica = Replica(path, Tuning())
    for before, name in enumerate(("a", "x")):
        group, _ = replica.plan([Transition(runs=(run(key, before, name),))])
        replica.advance(group, marks)
    replica.close()


def with_sql(path: Path, key: EntityKey, sql: str) -> None:
    database = apsw.Connection(str(path))
    database.execute(sql)
    assert database.changes()
    database.close()


REPLICAS: dict[str, tuple[Callable[[Path, EntityKey], None], str]] = {
    "it contradicts its checksums": (
        partial(with_sql, sql="UPDATE instance SET state_checksum = state_checksum + 1"),
        "partition 0, the replica: the state of bank/Account/acc-000000 at version 2 contradicts its checksum (instance 1)",
    ),
    "it has more turns": (with_one_turn_more, "partition 0: the replica has 3 turns, its topics have 2"),
    "it has other turns": (with_another_turn, "partition 0: turn 2 is another one in the replica than on the topics"),
    "it lacks a state": (
        partial(with_sql, sql="UPDATE instance SET state = NULL, state_checksum = 0"),
        "partition 0: the state of bank/Account/acc-000000 at version 2 is missing in the replica",
    ),
}


@pytest.mark.parametrize("case", REPLICAS)
async def test_a_replica_that_is_not_what_its_topics_are_is_found(case: str, kafka: Kafka, tmp_path: Path) -> None:
    address, (damage, expected) = kafka.address(partitions=1), REPLICAS[case]
    [key] = await filled(address, tmp_path, 1)
    damage(tmp_path / "kafka" / "0.db", key)
    assert expected in await checked(address, tmp_path)


# ---------------------------------------------------------------- states
STATES: dict[str, tuple[State, str]] = {
    "another state": (state(2, b"forged"), "is another one in the replica than on its topic"),
    "one of another revision": (state(2, b"forged", "r0"), "is another one in the replica than on its topic"),
    "one of another schema": (State(2, b"state2", 99, "r1"), "is another one in the replica than on its topic"),
    "an older one": (state(1), "is missing in its topic"),
}


@pytest.mark.parametrize("case", STATES)
async def test_a_state_on_its_topic_that_its_owner_did_not_write_is_found(case: str, kafka: Kafka, tmp_path: Path) -> None:
    forged, expected = STATES[case]
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        key, other = (EntityKey("bank", "Account", name) for name in ("forged", "fine"))
        await appended(partition, run(key, 0, "a", "b"), run(other, 0, "a", "b"))
        written(kafka, state_record(f"{kafka.prefix}bank.Account.state", key, forged))
        assert list(await journal.check()) == [f"partition 0: the state of {key} at version 2 {expected}"]
        await appended(partition, run(key, 2, "c"))
        assert list(await journal.check()) == []


async def test_a_state_that_hides_behind_an_older_one_is_missing_however_far_they_are_apart(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record is read by itself, as if there were ten thousand others between them."""
    take = Reading.next
    monkeypatch.setattr(Reading, "next", lambda self, topic, end, limit=1: take(self, topic, end, 1))
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        key = EntityKey("bank", "Account", "acc")
        await appended(partition, run(key, 0, "a"))
        await appended(partition, run(key, 1, "b"))
        assert list(await journal.check()) == []
        written(kafka, state_record(f"{kafka.prefix}bank.Account.state", key, state(1)))
        assert list(await journal.check()) == [f"partition 0: the state of {key} at version 2 is missing in its topic"]


def hold_verifying(monkeypatch: pytest.MonkeyPatch) -> tuple[Flag, Flag]:
    """Let verifying wait in its middle: return what says that it has begun, and what lets it go on."""
    begun, go_on = Flag(), Flag()

    def slow(*arguments: Any) -> Verified:
        begun.set()
        assert go_on.wait(WAIT_S)
        return verify(*arguments)

    monkeypatch.setattr(journal_module, "verify", slow)
    return begun, go_on


async def test_a_partition_can_be_owned_while_it_is_verified(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = hold_verifying(monkeypatch)
    async with asyncio.timeout(WAIT_S), opened(kafka.address(partitions=1), tmp_path) as journal:
        checking = asyncio.create_task(journal.check())
        await asyncio.to_thread(begun.wait)
        async with journal.own(0) as partition:
            [key] = keys(journal, 1)
            await appended(partition, run(key, 0, "a"))
            go_on.set()
            assert list(await checking) == []


async def test_a_state_that_is_folded_again_while_it_is_verified_is_no_difference(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = hold_verifying(monkeypatch)
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        key = EntityKey("bank", "Account", "acc")
        await appended(partition, run(key, 0, "a"))
        checking = asyncio.create_task(journal.check())
        await asyncio.to_thread(begun.wait)
        await partition.append(Transition(states=((key, state(1, b"again", "r2")),)))
        go_on.set()
        assert list(await checking) == []


async def test_a_state_is_compared_where_others_write_all_the_time(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each round of reading there is one more commit that nobody has read the outcome of."""
    async with owned(kafka.address(partitions=1), tmp_path) as (journal, partition):
        key, busy = (EntityKey("bank", "Account", name) for name in ("forged", "busy"))
        await appended(partition, run(key, 0, "a"))
        written(kafka, state_record(f"{kafka.prefix}bank.Account.state", key, state(1, b"forged")))
        loop, find, rounds = asyncio.get_running_loop(), Restoring.find_surplus, list[int]()

        def busily(self: Restoring, entities: Any) -> Any:
            commit = appended(partition, run(busy, len(rounds), f"c{len(rounds)}"))
            asyncio.run_coroutine_threadsafe(commit, loop).result(WAIT_S)
            rounds.append(1)
            return find(self, entities)

        monkeypatch.setattr(Restoring, "find_surplus", busily)
        assert list(await journal.check()) == [
            f"partition 0: the state of {key} at version 1 is another one in the replica than on its topic"
        ]
        assert len(rounds) == verify_module.ROUNDS
