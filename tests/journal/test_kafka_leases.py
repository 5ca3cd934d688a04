"""A partition that the group took away begins no commit; and a commit by an old membership is refused by the broker (§7, 19 to 21).

The producer is the real one, and what is called on it is noted. Others of the group never fence anybody here: so it is the lease,
or the group, that holds an owner back, and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import Consumer, Producer
from msgspec.structs import replace

from evento.errors import JournalRewind
from evento.journal.base import Journal, Partition
from evento.journal.kafka import membership, transactions
from evento.journal.kafka.membership import Lease
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, run
from tests.journal.kafka_nodes import read_committed
from tests.journal.test_kafka_owners import PATIENT, many_keys, opened
from tests.kafka.broker import quiet
from tests.kafka.fixtures import Kafka
from tests.kafka.proxy import Kind, Proxy

WAIT_S = 120.0
SESSION_MS = 12_000


class Noting(Producer):
    """The client library's producer; what begins or ends a transaction is noted."""

    calls: ClassVar[list[tuple[str, str]]] = []  # transactional id, call

    def __init__(self, properties: dict[str, Any]) -> None:
        super().__init__(properties)
        self._id = properties["transactional.id"]

    def begin_transaction(self) -> None:
        self._note("begin")
        super().begin_transaction()

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._note("offsets")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        self._note("commit")
        super().commit_transaction(*arguments)

    def abort_transaction(self, *arguments: Any) -> None:
        self._note("abort")
        super().abort_transaction(*arguments)

    def _note(self, call: str) -> None:
        self.calls.append((self._id, call))


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was called on producers of commits."""
    monkeypatch.setattr(transactions, "Producer", Noting)
    monkeypatch.setattr(Noting, "calls", [])
    return Noting.calls


def calls_of(noted: list[tuple[str, str]], kafka: Kafka, number: int) -> list[str]:
    return [call for name, call in noted if name == f"{kafka.prefix}evento.{number}"]


@asynccontextmanager
async def owner_of_both(address: str, folder: Path) -> AsyncIterator[tuple[Journal, list[Partition]]]:
    async with asyncio.timeout(WAIT_S), opened(address, folder) as journal, AsyncExitStack() as owning:
        yield journal, [await owning.enter_async_context(journal.own(number)) for number in range(2)]


@contextmanager
def another_member(kafka: Kafka) -> Iterator[Consumer]:
    """Join the group, as a node that is given partitions and has not come to owning them."""
    own = {"group.id": f"{kafka.prefix}evento", "partition.assignment.strategy": "cooperative-sticky"}
    member = Consumer({**quiet(kafka.bootstrap), **own, "session.timeout.ms": SESSION_MS})
    member.subscribe([f"{kafka.prefix}evento.pending"])
    try:
        yield member
    finally:
        member.close()


def partition_given(member: Consumer) -> int:
    """Return which partition it was given."""
    while not (given := member.assignment()):
        member.poll(0.05)
    return given[0].partition


def key_in(journal: Journal, number: int) -> EntityKey:
    return next(key for key in many_keys() if journal.partition_of(key) == number)


async def commits_nothing(kafka: Kafka, journal: Journal, partition: Partition) -> None:
    """Try to append a second event of an instance, and see that nobody sees it."""
    key = key_in(journal, partition.number)
    with pytest.raises(JournalRewind):
        await partition.append(Transition(runs=(run(key, 1, "late"),)))
    seen = await asyncio.to_thread(read_committed, kafka, f"{kafka.prefix}bank.Account.events", partition.number)
    assert [dict(message.headers() or ())["ce_causationid"] for message in seen] == [b"first"]


async def test_who_lost_the_group_begins_no_commit(
    noted: list[tuple[str, str]], kafka: Kafka, kafka_proxy: Proxy, tmp_path: Path
) -> None:
    """Heartbeats do not come through for longer than a session; records would."""
    address = kafka.address(partitions=1, proxy=kafka_proxy)
    short = replace(PATIENT, session_ms=5_000)  # over before a heartbeat is given up, and another one sent
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path, times=short) as journal, journal.own(0) as partition:
        await appended(partition, run(key_in(journal, 0), 0, "first"))
        held = kafka_proxy.hold(Kind.HEARTBEAT, containing=kafka.prefix.encode())
        await partition.wait_revoked()
        before = list(noted)
        await commits_nothing(kafka, journal, partition)
        assert noted == before, "a commit was begun"
        await held.release()


async def test_a_proof_of_after_a_partition_was_lost_is_none_for_it(
    noted: list[tuple[str, str]], kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member is one still, with another partition: the broker would take its commit to the lost one."""
    monkeypatch.setattr(membership, "REVOKE_S", 0.2)
    async with owner_of_both(kafka.address(partitions=2), tmp_path) as (journal, parts):
        for part in parts:
            await appended(part, run(key_in(journal, part.number), 0, "first"))
        with another_member(kafka) as member:
            moved = await asyncio.to_thread(partition_given, member)
            before = calls_of(noted, kafka, moved)
            await commits_nothing(kafka, journal, parts[moved])
            assert calls_of(noted, kafka, moved) == before, "a commit was begun"
            await appended(parts[1 - moved], run(key_in(journal, 1 - moved), 1, "ours"))


async def test_a_commit_by_an_old_membership_is_refused_by_the_broker(
    noted: list[tuple[str, str]], kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an owner that took its proof in time, and came to its commit late."""
    monkeypatch.setattr(membership, "REVOKE_S", 0.2)
    proofs: dict[int, Any] = {}
    proof = Lease.proof

    def kept(lease: Lease) -> Any:
        return proofs.setdefault(lease.number, proof(lease))

    monkeypatch.setattr(Lease, "proof", kept)
    async with owner_of_both(kafka.address(partitions=2), tmp_path) as (journal, parts):
        for part in parts:
            await appended(part, run(key_in(journal, part.number), 0, "first"))
        with another_member(kafka) as member:
            moved = await asyncio.to_thread(partition_given, member)
            before = len(calls_of(noted, kafka, moved))
            await commits_nothing(kafka, journal, parts[moved])
            assert calls_of(noted, kafka, moved)[before:] == ["begin", "offsets", "abort"] * transactions.TRIES
