"""Damage is found, told, and never served in silence; the file stays as it is."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from evento.errors import JournalCorrupt, JournalError
from evento.journal.base import CommandRef, Journal
from evento.journal.sqlite import open_sqlite
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Run, Transition
from evento.testing.journal_samples import appended, command, run, turn, whole_feed

KEYS = [EntityKey("bank", "Account", f"acc-{number}") for number in range(12)]


async def filled(path: Path) -> Path:
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        for before in range(4):
            await appended(partition, *(run(key, before, f"c{before}") for key in KEYS))
        big = State(5, bytes(20_000), 5, "r1")
        await appended(partition, Run(KEYS[0], 4, (turn(KEYS[0], "c4", 4),), big))
        await partition.append(Transition(pending=tuple(Pending(number, command(KEYS[0], f"p{number}")) for number in (1, 2, 3))))
        for version in (1, 2, 3):
            assert await journal.append_catalog(version, b"catalog %d" % version)
    return path


def tamper(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


async def differences(path: Path) -> list[str]:
    async with open_sqlite(path) as journal:
        return list(await journal.check())


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("UPDATE run SET turns = zeroblob(length(turns)) WHERE position = 20", "the row at position 20 contradicts its checksum"),
        ("UPDATE run SET before = before + 1 WHERE position = 20", "the columns of the row at position 20 contradict its content"),
        ("UPDATE run SET events = 2 WHERE position = 20", "the columns of the row at position 20 contradict its content"),
        ("UPDATE run SET state_checksum = 0 WHERE position = 20", "the columns of the row at position 20 contradict its content"),
        ("UPDATE run SET state = zeroblob(length(state)) WHERE position = 20", "the state in the row at position 20 contradicts"),
        ("UPDATE run SET hash = 1 WHERE position = 3", "the hashes in the row at position 3 are not those of its Commands"),
        ("UPDATE run SET more = '[1]' WHERE position = 3", "the hashes in the row at position 3 are not those of its Commands"),
        ("UPDATE run SET name = 'bank/Account/acc-99' WHERE position = 3", "the row at position 3 is that of several instances"),
        ("DELETE FROM run WHERE position = 20", "the log has no rows between positions 19 and 21"),
        ("DELETE FROM run WHERE position = 20", "is at version 1, but the row at position 32 begins after 2"),
        ("UPDATE run SET chain = 7 WHERE position = 20", "the row at position 20 contradicts its checksum, or does not follow"),
        ("DELETE FROM run_index WHERE position = 20", "the row at position 20 is not indexed by its instance"),
        ("INSERT INTO run_index VALUES (0, 1, 99, 20)", "the index by instance names position 20, which is another's"),
        ("DELETE FROM command_index WHERE position = 20", "the Commands at position 20 are not indexed"),
        ("INSERT INTO command_index VALUES (0, 99, 20)", "the index names a Command at position 20 that is not there"),
        (
            "UPDATE instance SET version = 9 WHERE number = 2",
            "acc-1 is at version 4 in the log, and at 9 in the table",
        ),
        (
            "UPDATE instance SET state = x'00' WHERE number = 2",
            "acc-1 at version 4 contradicts its checksum",
        ),
        ("UPDATE instance SET state = NULL, state_checksum = 0 WHERE number = 2", "the state of bank/Account/acc-1 is another one"),
        (
            "UPDATE instance SET name = 'bank/Account/x' WHERE number = 2",
            "instance 2 is bank/Account/acc-1 in the log and bank/Account/x",
        ),
        ("DELETE FROM instance WHERE number = 2", "bank/Account/acc-1 has rows in the log, but none in the table of instances"),
        ("INSERT INTO instance VALUES (99, 'a/B/c', 1, NULL, 0)", "instance 99 has no row in the log"),
        ("UPDATE pending SET content = x'00' WHERE number = 2", "pending entry 2 contradicts its checksum"),
        ("UPDATE catalog SET content = x'00' WHERE version = 2", "catalog version 2 contradicts its checksum"),
        ("DELETE FROM catalog WHERE version = 2", "catalog version 2 is missing"),
    ],
)
async def test_each_kind_of_damage_is_told(sql: str, sentence: str, tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    assert await differences(path) == []
    tamper(path, sql)
    assert any(sentence in difference for difference in await differences(path))


async def test_a_command_finished_twice_is_told_and_a_shared_id_is_not(tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        await appended(partition, run(KEYS[1], 4, "c2"))
    assert await differences(path) == ["Command c2 of instance 2 was finished at positions 26 and 50"]


async def read_turn(journal: Journal) -> None:
    await journal.history.read_turn(CommandRef(key=KEYS[7], command_id="c1"))


async def read_stream(journal: Journal) -> None:
    await journal.history.read_stream(KEYS[7])


async def read_feed(journal: Journal) -> None:
    await whole_feed(journal)


async def read_states(journal: Journal) -> None:
    async with journal.own(0) as partition:
        await partition.read_states([KEYS[7]])


async def read_big_state(journal: Journal) -> None:
    async with journal.own(0) as partition:
        await partition.read_states([KEYS[0]])


async def read_pending(journal: Journal) -> None:
    async with journal.own(0) as partition:
        await partition.read_pending()


async def read_catalogs(journal: Journal) -> None:
    await journal.read_catalogs()


@pytest.mark.parametrize(
    ("read", "sql"),
    [
        (read_turn, "UPDATE run SET turns = zeroblob(length(turns)) WHERE position = 20"),
        (read_stream, "UPDATE run SET turns = zeroblob(length(turns)) WHERE position = 20"),
        (read_feed, "UPDATE run SET turns = zeroblob(length(turns)) WHERE position = 20"),
        (read_states, "UPDATE instance SET state = x'00' WHERE number = 8"),
        (read_big_state, "UPDATE instance SET state = zeroblob(20001) WHERE number = 1"),
        (read_pending, "UPDATE pending SET content = x'00' WHERE number = 2"),
        (read_catalogs, "UPDATE catalog SET content = x'00' WHERE version = 2"),
    ],
)
async def test_damaged_content_is_never_served(read: Callable[[Journal], Awaitable[None]], sql: str, tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    async with open_sqlite(path) as journal:
        await read(journal)
    tamper(path, sql)
    async with open_sqlite(path) as journal:
        with pytest.raises(JournalCorrupt):
            await read(journal)


async def test_a_flipped_bit_is_found_or_harmless_and_the_file_stays(tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    content = path.read_bytes()
    async with open_sqlite(path) as journal:
        expected = await whole_feed(journal)
    chance = random.Random(5)
    found = 0
    for _ in range(60):
        place = chance.randrange(len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            async with open_sqlite(path) as journal:
                if await journal.check():
                    found += 1
                else:
                    assert await whole_feed(journal) == expected
        except JournalError:
            found += 1
        assert path.exists()
    assert found > 20


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_a_truncated_file_is_refused_and_stays(share: float, tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    shorter = path.read_bytes()[: int(path.stat().st_size * share) // 4096 * 4096]
    path.write_bytes(shorter)
    with pytest.raises(JournalCorrupt):
        async with open_sqlite(path):
            pass
    assert path.read_bytes() == shorter


async def test_a_lost_end_of_the_log_is_refused(tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    tamper(path, "DELETE FROM run WHERE position > 40")
    with pytest.raises(JournalCorrupt, match="its end is lost"):
        async with open_sqlite(path):
            pass


@pytest.mark.parametrize(
    "sql", ["UPDATE meta SET value = value + 2 WHERE name = 'hash_modulus'", "UPDATE run SET hash = 1 WHERE position = 49"]
)
async def test_hashes_that_would_find_no_command_are_refused(sql: str, tmp_path: Path) -> None:
    path = await filled(tmp_path / "evento.db")
    tamper(path, sql)
    with pytest.raises(JournalCorrupt, match="the hash of the last Command"):
        async with open_sqlite(path):
            pass
