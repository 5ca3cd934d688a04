"""An owner that had nothing to do until the brokers forgot its transactional id (reliability §7, 22): elsewhere after a week."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evento.errors import JournalRewind
from evento.testing.journal_samples import appended, keys, run
from tests.journal.test_kafka_owners import opened
from tests.kafka.broker import Cluster
from tests.kafka.fixtures import need_kafka

WAIT_S = 180.0
IDLE_S = 8.0
COMMITS_MAX = 10
FORGETFUL = {
    "transactional.id.expiration.ms": "4000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "200",
    "producer.id.expiration.ms": "4000",
    "producer.id.expiration.check.interval.ms": "200",
}


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that forgets producers after some seconds."""
    need_kafka()
    with Cluster(folder=tmp_path_factory.mktemp("forgetful"), more=FORGETFUL) as cluster:
        yield cluster


async def test_an_owner_whose_id_was_forgotten_is_one_anew_and_goes_on(
    forgetful: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in place: others may have been owners since. So the topics are read first."""
    address = f"kafka://{forgetful.bootstrap}?prefix=idle.&partitions=1&replication=1&min_insync=1"
    async with asyncio.timeout(WAIT_S), opened(address, tmp_path) as journal:
        [key] = keys(journal, 1)
        version = 0
        while not version:  # on a busy machine it may be forgotten before its first commit
            with pytest.raises(JournalRewind, match="INVALID_PRODUCER_ID_MAPPING"):
                async with journal.own(0) as partition:
                    for version in range(COMMITS_MAX):  # the first one may come before it is forgotten
                        await appended(partition, run(key, version, f"c{version}"))
                        await asyncio.sleep(IDLE_S)
        assert "the commit was given up" in caplog.text
        async with journal.own(0) as partition:
            assert (await partition.read_states([key]))[key].version == version
            await appended(partition, run(key, version, f"c{version}"))
        assert [turn.command.id for turn in await journal.history.read_stream(key)] == [f"c{n}" for n in range(version + 1)]
        assert list(await journal.check()) == []
