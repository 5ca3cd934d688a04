"""Topics that somebody deletes: what a node says of them, what it makes anew, and what it never does."""

import asyncio
import re
import time
from collections.abc import Collection
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from evento.clock import SystemClock
from evento.errors import JournalCorrupt, JournalLost, JournalRewind
from evento.journal.base import EntityPlace
from evento.journal.kafka import proving, transactions
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.admin import Admin
from evento.journal.kafka.topics import ensure, topics_of_deployment, topics_of_entity
from evento.model.command import Pending
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.testing.journal_samples import appended, command, keys, run
from tests.journal.kafka_child import cluster_at
from tests.journal.test_kafka_owners import opened, owned
from tests.kafka.broker import quiet
from tests.kafka.client import make_topic
from tests.kafka.fixtures import Kafka

ANSWER_S = 120.0
ACCOUNT = EntityPlace("bank", "Account", deployed=True)
SAVINGS = EntityPlace("bank", "Savings", deployed=True)
QUIET = EntityKey("bank", "Savings", "quiet")


async def used(kafka: Kafka, folder: Path) -> str:
    """Use a deployment of one partition: something is deployed, finished and pending. Return its address."""
    address = kafka.address(partitions=1)
    async with owned(address, folder) as (journal, partition):
        assert await journal.append_catalog(1, b"one")
        [key] = keys(journal, 1)
        await appended(partition, run(key, 0, "a"))
        await partition.append(Transition(pending=(Pending(7, command(key, "p")),)))
    return address


def topics(kafka: Kafka) -> set[str]:
    listed = AdminClient(quiet(kafka.bootstrap)).list_topics(timeout=ANSWER_S).topics
    return {name.removeprefix(kafka.prefix) for name in listed if name.startswith(kafka.prefix)}


def delete(kafka: Kafka, *names: str) -> None:
    """Delete topics, and return when they are gone."""
    admin = AdminClient(quiet(kafka.bootstrap))  # what it is asked for ends with it
    for gone in admin.delete_topics([kafka.prefix + name for name in names]).values():
        gone.result(ANSWER_S)
    give_up = time.monotonic() + ANSWER_S
    while topics(kafka) & set(names):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def make_anew(kafka: Kafka, name: str) -> None:
    """Delete a topic, if it is there, and make it anew, as it must be."""
    if name in topics(kafka):
        delete(kafka, name)
    address = parse_address(kafka.address(partitions=1))
    entities = ("Account", "Savings")
    of_entities = [topic for entity in entities for topic in topics_of_entity(address, "bank", entity, partitions=1)]
    [topic] = [topic for topic in (*topics_of_deployment(address), *of_entities) if topic.name == kafka.prefix + name]
    give_up = time.monotonic() + ANSWER_S
    while True:
        try:
            make_topic(kafka.bootstrap, topic.name, config=topic.settings)
            return
        except KafkaException:  # the old one is not gone yet
            assert time.monotonic() < give_up
            time.sleep(0.1)


async def refused(address: str, folder: Path, places: Collection[EntityPlace] = ()) -> JournalLost:
    """Insist that a node on this address does not start."""
    with pytest.raises(JournalLost) as told:
        async with opened(address, folder) as journal:
            await journal.provide(list(places))
    return told.value


# ---------------------------------------------------------------- while nodes are down
@pytest.mark.parametrize(
    ("name", "held"),
    [("pending", "every Command that was accepted"), ("outcomes", "what became of every"), ("catalog", "everything that was ever")],
)
async def test_a_topic_of_a_deployment_that_is_gone_is_told_and_not_made_anew(
    name: str, held: str, kafka: Kafka, tmp_path: Path
) -> None:
    address = await used(kafka, tmp_path / "a")
    await asyncio.to_thread(delete, kafka, f"evento.{name}")
    for folder in ("a", "b"):  # with and without data
        error = await refused(address, tmp_path / folder)
        assert error.details["topics"] == [f"{kafka.prefix}evento.{name}"]
        assert f"topic {kafka.prefix}evento.{name} was there and is gone, and with it {held}" in error.message
        assert "Restore" in error.message
        assert ("kafka-topics.sh" in error.message) == (name == "pending")
    assert f"evento.{name}" not in await asyncio.to_thread(topics, kafka)


async def test_topics_of_an_entity_that_are_gone_are_told_and_only_its_cache_is_made_anew(
    kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = await used(kafka, tmp_path)
    await asyncio.to_thread(delete, kafka, "bank.Account.state", "evento.replicas")
    async with opened(address, tmp_path) as journal:
        await asyncio.to_thread(delete, kafka, "bank.Account.state")  # `opened` does not know that it is deployed
        caplog.clear()
        await journal.provide([ACCOUNT])
    assert f"topic {kafka.prefix}bank.Account.state was gone, and is made anew" in "".join(caplog.messages)
    assert {"bank.Account.state", "evento.replicas"} <= await asyncio.to_thread(topics, kafka)
    async with opened(address, tmp_path) as journal:
        await journal.provide([replace(SAVINGS, deployed=False)])
        await asyncio.to_thread(delete, kafka, *(f"bank.Account.{kind}" for kind in ("commands", "events", "state")))
        new = EntityPlace("bank", "Current")
        with pytest.raises(JournalLost) as told:
            await journal.provide([ACCOUNT, new])
        assert told.value.details["topics"] == [f"{kafka.prefix}bank.Account.{kind}" for kind in ("commands", "events")]
        there = await asyncio.to_thread(topics, kafka)
        assert not any(name.startswith(("bank.Account.", "bank.Current.")) for name in there)
        made = f"--create --topic {kafka.prefix}bank.Account.commands --partitions 1 --replication-factor 1 --config cleanup"
        assert made in told.value.message
        await journal.provide([SAVINGS, new])
    assert "bank.Current.events" in await asyncio.to_thread(topics, kafka)


async def test_a_first_start_that_was_cut_off_goes_on_and_so_does_one_after_another_version(kafka: Kafka, tmp_path: Path) -> None:
    address = kafka.address(partitions=1)
    own = topics_of_deployment(parse_address(address))
    await ensure(cluster_at(address, "one"), own[1:3], SystemClock())
    await used(kafka, tmp_path)
    await asyncio.to_thread(delete, kafka, "evento.replicas")  # as it was before there was such a topic
    async with owned(address, tmp_path) as (_, partition):
        assert [entry.number for entry in await partition.read_pending()] == [7]
    assert "evento.replicas" in await asyncio.to_thread(topics, kafka)


async def test_what_others_make_at_the_same_moment_is_not_taken_for_gone(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may not have heard of a topic that others use already: then who makes topics is asked."""
    address = await used(kafka, tmp_path)
    describe, asked = Admin.describe_topics, list[int]()

    def late(self: Admin, names: list[str]) -> object:
        found = describe(self, names)
        asked.append(1)
        return {name: state for name, state in found.items() if "evento.pending" not in name or len(asked) > 2}

    monkeypatch.setattr(Admin, "describe_topics", late)
    async with owned(address, tmp_path) as (_, partition):
        assert [entry.number for entry in await partition.read_pending()] == [7]


# ---------------------------------------------------------------- made anew by somebody else
@pytest.mark.parametrize(
    ("name", "had"),
    [("evento.pending", "1 Commands that were"), ("evento.outcomes", "1 Commands that are"), ("bank.Account.events", "Events")],
)
async def test_a_replica_knows_what_a_topic_held_that_was_made_anew(name: str, had: str, kafka: Kafka, tmp_path: Path) -> None:
    address = await used(kafka, tmp_path)
    await asyncio.to_thread(make_anew, kafka, name)
    for _ in range(2):  # it is not set aside by having been looked at
        with pytest.raises(JournalLost, match=rf"{re.escape(name)} was deleted and made anew, .* had {had}"):
            async with owned(address, tmp_path):
                pass
    if name == "evento.pending":  # who says so does without it
        async with owned(address, tmp_path / "empty") as (_, partition):
            assert not await partition.read_pending()


async def test_a_replica_knows_a_deployment_of_which_nothing_else_is_left(kafka: Kafka, tmp_path: Path) -> None:
    address = await used(kafka, tmp_path)
    await asyncio.to_thread(delete, kafka, *(f"evento.{kind}" for kind in ("pending", "outcomes", "catalog", "replicas")))
    with pytest.raises(JournalLost, match=r"evento\.(outcomes|pending) was deleted and made anew"):
        async with owned(address, tmp_path):
            pass


@pytest.mark.parametrize(("later", "told"), [(False, "has no Events, and outcomes"), (True, "begins with event 2 of 'quiet'")])
async def test_events_that_are_gone_are_missed_though_their_entity_was_quiet_for_long(
    later: bool, told: str, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "PROVEN_TURNS", 20)
    address = kafka.address(partitions=1)
    async with owned(address, tmp_path / "a") as (journal, partition):
        await journal.provide([replace(SAVINGS, deployed=False)])
        await appended(partition, run(QUIET, 0, "q"))
        await appended(partition, *(run(key, 0, "a") for key in keys(journal, 40)))
        await asyncio.to_thread(make_anew, kafka, "bank.Savings.events")
        if later:  # the client writes to whatever has the name
            with pytest.raises(JournalLost, match=r"Savings\.events was deleted and made anew"):
                await appended(partition, run(QUIET, 1, "r"))
    with pytest.raises(JournalCorrupt, match=told):
        async with owned(address, tmp_path / "b"):
            pass


# ---------------------------------------------------------------- while a node runs
async def test_a_catalog_that_is_gone_or_made_anew_is_not_taken_for_an_empty_one(kafka: Kafka, tmp_path: Path) -> None:
    address = await used(kafka, tmp_path)
    async with opened(address, tmp_path) as journal:
        assert await journal.read_catalogs() == [(1, b"one")]
        await asyncio.to_thread(delete, kafka, "evento.catalog")
        with pytest.raises(JournalLost, match="gone"):
            await journal.read_catalogs()
        await asyncio.to_thread(make_anew, kafka, "evento.catalog")
        with pytest.raises(JournalLost, match="had 1 catalog versions, and has 0 now"):
            await journal.append_catalog(1, b"other")


@pytest.mark.parametrize("name", ["bank.Account.events", "evento.pending", "evento.outcomes"])
async def test_an_owner_whose_topic_is_deleted_commits_nothing_and_ends(
    name: str, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "TRIES", 1)  # each takes seconds
    address = await used(kafka, tmp_path)
    async with asyncio.timeout(ANSWER_S), opened(address, tmp_path) as journal:
        [key] = keys(journal, 1)
        with pytest.raises(JournalRewind):
            async with journal.own(0) as partition:
                await asyncio.to_thread(delete, kafka, name)
                await appended(partition, run(key, 1, "b"))
        with pytest.raises(JournalLost, match=rf"{re.escape(name)}.* gone"):
            async with journal.own(0):
                pass
    assert name not in await asyncio.to_thread(topics, kafka)
    assert not (tmp_path / "kafka" / "0.db.aside").exists()
