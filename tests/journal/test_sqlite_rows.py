"""Rows of every size, and states that somebody has thrown away: a state is a cache, its version is not."""

from pathlib import Path

import apsw
import pytest

from evento.journal.sqlite import open_sqlite
from evento.journal.sqlite.layout import STATE_INLINE_BYTES_MAX
from evento.model.keys import EntityKey
from evento.model.transition import Run
from evento.testing.journal_samples import appended, run, state, turn, whole_feed

SMALL, BIG = EntityKey("bank", "Account", "small"), EntityKey("bank", "Account", "big")
ONLY_STATES = "UPDATE run SET state = NULL; UPDATE instance SET state = NULL"
ALL_THAT_IS_DERIVED = """DELETE FROM instance; DELETE FROM command_index; DELETE FROM run_index; UPDATE run SET state = NULL;
    UPDATE meta SET value = 0 WHERE name = 'indexed_position'"""


def many_turns(key: EntityKey, before: int, count: int = 500) -> Run:
    """Make a run that is bigger than what is read together with others."""
    return Run(
        key, before, tuple(turn(key, f"c{before + number}", before + number) for number in range(count)), state(before + count)
    )


@pytest.mark.parametrize("sizes", [["big"], ["big", "big"], ["small", "big", "small"], ["big", "small", "big"]])
async def test_a_page_may_hold_big_rows_and_nothing_else(tmp_path: Path, sizes: list[str]) -> None:
    async with open_sqlite(tmp_path / "evento.db") as journal:
        async with journal.own(0) as partition:
            before = 0
            for size in sizes:
                made = many_turns(BIG, before) if size == "big" else run(BIG, before, f"s{before}")
                await appended(partition, made)
                before = made.version
        entries = await whole_feed(journal)
        assert [entry.turn.before for entry in entries] == list(range(before))


@pytest.mark.parametrize("procedure", [ONLY_STATES, ALL_THAT_IS_DERIVED])
async def test_states_that_were_thrown_away_leave_their_versions(tmp_path: Path, procedure: str) -> None:
    path = tmp_path / "evento.db"
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        big = Run(BIG, 0, (turn(BIG, "b1", 0),), state(1, b"x" * (STATE_INLINE_BYTES_MAX + 1)))
        await appended(partition, big, run(SMALL, 0, "c1", "c2"))
    database = apsw.Connection(str(path))
    database.execute(procedure)
    database.close()
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        found = await partition.read_states([SMALL, BIG])
        assert {key: (each.version, each.payload, each.revision) for key, each in found.items()} == {
            SMALL: (2, None, ""),
            BIG: (1, None, ""),
        }
        listed = await journal.history.read_instances("bank", "Account")
        assert [(entry.key, entry.state.version) for entry in listed] == [(BIG, 1), (SMALL, 2)]
        assert await journal.check() == []
        await appended(partition, run(SMALL, 2, "c3"))
        found = await partition.read_states([SMALL])
        assert found[SMALL] == state(3)
