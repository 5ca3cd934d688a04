"""What is in memory and what is on disk are one: whoever reads while things move sees neither too little nor too much."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest

from evento.journal.sqlite import open_sqlite
from evento.journal.sqlite.group import Group
from evento.journal.sqlite.tail import Generation, Head, RowValue, Tail
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.testing.journal_samples import run, state

WAIT_S = 60.0
KEY = EntityKey("bank", "Account", "acc-1")
OTHERS = [EntityKey("bank", "Account", f"other-{number}") for number in range(30_000)]


def head(version: int) -> Head:
    return Head(number=1, version=version, state=state(version))


def pass_on(tail: Tail, position: int, heads: dict[EntityKey, Head]) -> None:
    """Publish heads as one whole round, indexed and dropped."""
    tail.current.heads.update(heads)
    tail.current.count = len(heads)
    tail.publish(position)
    tail.freeze()
    tail.drop()


def test_a_head_read_from_disk_is_forgotten_before_it_could_hide_a_newer_one() -> None:
    tail = Tail(0)
    tail.remember({KEY: head(1)}, tail.epoch)
    assert tail.find(KEY) == head(1)
    pass_on(tail, 1, {KEY: head(2)})
    assert tail.find(KEY) == head(2)
    pass_on(tail, 30_001, dict.fromkeys(OTHERS, head(1)))
    assert tail.find(KEY) is None


def test_a_head_that_was_read_before_the_news_is_not_remembered_after_them() -> None:
    tail = Tail(0)
    epoch = tail.epoch
    pass_on(tail, 1, {KEY: head(2)})
    pass_on(tail, 30_001, dict.fromkeys(OTHERS, head(1)))
    tail.remember({KEY: head(1)}, epoch)
    assert tail.find(KEY) is None


def test_small_rounds_keep_the_heads_in_memory() -> None:
    tail = Tail(0)
    for version in range(1, 10):
        pass_on(tail, version, {KEY: head(version), OTHERS[version]: head(version)})
    assert tail.find(KEY) == head(9)
    assert tail.find(OTHERS[1]) == head(1)


def row(position: int, instance: int, before: int, events: int, hashed: int, more: str | None = None) -> list[RowValue]:
    return [position, instance, None, before, events, hashed, more, b"", None, 0, 0]


def test_a_generation_finds_every_command_even_of_equal_hash() -> None:
    generation = Generation()
    assert list(generation.add_rows([*row(10, 1, 0, 2, 1, "[2]"), *row(11, 2, 0, 1, 1)])) == [1, 1, 2]
    assert generation.find_command(1) == (10, 11)
    assert list(generation.add_rows(row(12, 1, 2, 1, 3))) == [3]
    assert list(generation.add_rows(row(13, 1, 3, 0, 2, "[4]"))) == [2, 4]
    assert [generation.find_command(number) for number in range(1, 6)] == [(10, 11), (10, 13), (12,), (13,), ()]
    assert list(generation.stream(1)) == [(0, 10), (2, 12)]
    assert list(generation.stream(2)) == [(0, 11)]
    assert list(generation.stream(3)) == []
    assert generation.count == 4


async def test_nobody_is_shown_a_commit_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed, go_on = Event(), Event()
    publish = Group.publish

    def slow(group: Group, generation: Generation) -> Sequence[int]:
        committed.set()
        assert go_on.wait(WAIT_S)
        return publish(group, generation)

    async with open_sqlite(tmp_path / "evento.db") as journal, journal.own(0) as partition:
        monkeypatch.setattr(Group, "publish", slow)
        task = asyncio.ensure_future(partition.append(Transition(runs=(run(KEY, 0, "c1"),))))
        try:
            await asyncio.to_thread(committed.wait, WAIT_S)
            assert list(await journal.history.read_feed(0)) == []
            assert await partition.read_states([KEY]) == {}
        finally:
            go_on.set()
        await task
        assert len(await journal.history.read_feed(0)) == 1
