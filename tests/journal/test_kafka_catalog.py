"""The catalog's topic: looked at twice a second by every node, so that it is read only when there is something to read."""

import asyncio
from pathlib import Path

import pytest

from evento.journal.kafka import catalog
from evento.journal.kafka.feed import Feed
from tests.journal.test_kafka_owners import WAIT_S, opened
from tests.kafka.client import ends
from tests.kafka.fixtures import Kafka


async def test_the_topic_is_read_again_only_when_it_has_grown(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    class Counted(Feed):
        def __init__(self, *arguments: object) -> None:
            made.append(self)
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(catalog, "Feed", Counted)
    async with opened(kafka.address(), tmp_path / "a") as first, opened(kafka.address(), tmp_path / "b") as second:
        assert await first.append_catalog(1, b"one")
        assert await second.read_catalogs() == [(1, b"one")]
        place = (f"{kafka.prefix}evento.catalog", 0)
        async with asyncio.timeout(WAIT_S):  # the marker of the commit may come after its answer, and the topic grows by it
            while (await asyncio.to_thread(ends, kafka.bootstrap, [place], committed=True))[place] < 2:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.1)
        assert await second.read_catalogs() == [(1, b"one")]
        read = len(made)
        for _ in range(3):
            assert await second.read_catalogs() == [(1, b"one")]
        assert len(made) == read
        assert await first.append_catalog(2, b"two")
        assert await second.read_catalogs(after=1) == [(2, b"two")]
        assert not await second.append_catalog(2, b"other")
