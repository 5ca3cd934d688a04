"""Killed processes, full disks, interrupted index rounds: reopening finds everything that was told."""

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from evento.errors import JournalBusy, JournalError
from evento.journal.base import CommandRef
from evento.journal.sqlite import indexing, open_sqlite, tail
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Transition
from evento.testing.journal_samples import appended, run
from tests.journal.child import KEYS

KILLS = 15
DISK_BYTES = 400_000


def start(path: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "tests.journal.child", str(path), *more], stdout=subprocess.PIPE, text=True)


async def assert_told(path: Path, told: dict[str, int]) -> None:
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        assert list(await journal.check()) == []
        states = await partition.read_states(KEYS)
        for name, version in told.items():
            key = EntityKey("bank", "Account", name)
            assert states[key].version >= version
            stream = await journal.history.read_stream(key, limit=1_000_000)
            assert [turn.version for turn in stream] == list(range(1, states[key].version + 1))
            assert await journal.history.read_turn(CommandRef(key=key, command_id=f"c{version - 1}")) is not None


async def test_killing_the_process_again_and_again_loses_nothing_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "data" / "evento.db"
    chance = random.Random(11)
    told: dict[str, int] = {}
    for _ in range(KILLS):
        child = start(path)
        assert child.stdout is not None
        assert child.stdout.readline() == "OPEN\n"
        lines = [child.stdout.readline() for _ in range(chance.randrange(20, 80))]
        await asyncio.sleep(chance.uniform(0.0, 0.02))
        child.kill()
        lines += child.communicate()[0].splitlines(keepends=True)
        for line in lines:
            name, _, version = line.partition(" ")
            if version.endswith("\n"):
                told[name] = int(version)
    assert len(told) == len(KEYS)
    assert sum(told.values()) > 300, "too little was appended for the kills to mean anything"
    await assert_told(path, told)


async def test_a_full_disk_stops_the_journal_and_reopening_recovers(tmp_path: Path) -> None:
    path = tmp_path / "data" / "evento.db"
    child = start(path, str(DISK_BYTES))
    lines = child.communicate(timeout=180)[0].splitlines()
    assert child.returncode == 0
    assert lines[0] == "OPEN"
    assert lines[-2:] == ["FAILED", "REFUSED"]
    told = {name: int(version) for name, version in (line.split(" ") for line in lines[1:-2])}
    assert told
    await assert_told(path, told)


async def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data" / "evento.db"
    child = start(path)
    assert child.stdout is not None
    assert child.stdout.readline() == "OPEN\n"
    try:
        with pytest.raises(JournalBusy):
            async with open_sqlite(path):
                pass
    finally:
        child.kill()
        child.communicate()
    async with open_sqlite(path):
        pass


async def test_a_journal_cannot_be_opened_twice_in_one_process(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "evento.db"):
        with pytest.raises(JournalBusy):
            async with open_sqlite(tmp_path / "evento.db"):
                pass
    async with open_sqlite(tmp_path / "evento.db"):
        pass


async def test_a_forked_child_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "evento.db") as journal, journal.own(0) as partition:
        await appended(partition, run(KEYS[0], 0, "c1"))
        child = os.fork()
        if child == 0:
            code = 0
            for attempt in (partition.append(Transition()), partition.read_pending(), journal.append_catalog(1, b"x")):
                try:
                    attempt.send(None)
                    code = 1
                except JournalError:
                    continue
                except BaseException:  # noqa: BLE001  whatever it is, the parent must hear of it
                    code = 2
            os._exit(code)
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        await appended(partition, run(KEYS[0], 1, "c2"))


@pytest.mark.parametrize("step", ["index_commands", "index_runs", "index_instances", "set_indexed_position"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
async def test_an_index_round_interrupted_anywhere_is_made_up_for(
    step: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "ROUND_RUNS", 12)
    monkeypatch.setattr(indexing, "CHUNK_POSITIONS", 5)
    index_chunk = indexing.index_chunk
    calls = 0

    def failing(connection: apsw.Connection, queries: dict[str, str], until: int) -> int:
        nonlocal calls
        calls += 1
        return index_chunk(connection, {**queries, step: "SELECT broken"} if calls == chunk else queries, until)

    told = {}
    with monkeypatch.context() as patch, pytest.raises(JournalError):
        patch.setattr(indexing, "index_chunk", failing)
        async with open_sqlite(tmp_path / "evento.db") as journal, journal.own(0) as partition:
            for number in range(200):
                version = number // len(KEYS)
                key = KEYS[number % len(KEYS)]
                assert isinstance(await partition.append(Transition(runs=(run(key, version, f"c{version}"),))), Appended)
                told[key.id] = version + 1
    assert len(told) >= 12
    await assert_told(tmp_path / "evento.db", told)
