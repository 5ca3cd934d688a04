"""Power loss at any moment: what was told to be durable is there, and nothing is half there."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from evento.journal.memory import MemoryJournal
from evento.journal.sqlite import connection, indexing, open_sqlite, tail
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Run, Transition
from evento.testing.journal_samples import command, run, state, turn, whole_feed
from tests.journal.recorder import Recorder, image, write_image

CRASHES = 130
KEYS = [EntityKey("bank", "Account", f"acc-{number}") for number in range(7)]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(tail, "ROUND_RUNS", 6)
    monkeypatch.setattr(indexing, "CHUNK_POSITIONS", 4)
    monkeypatch.setattr(connection, "CHECKPOINT_PAGES", 25)
    recorder = Recorder()
    yield recorder
    recorder.unregister()


def workload() -> list[Transition]:
    versions = dict.fromkeys(KEYS, 0)
    chance = random.Random(1)
    transitions = []
    for number in range(45):
        runs = []
        for key in chance.sample(KEYS, chance.randint(1, 3)):
            made = run(key, versions[key], f"c{number}")
            if number % 5 == 0:
                made = Run(key, versions[key], made.turns, State(versions[key] + 1, bytes([number]) * 9000, 5, "r1"))
            if number % 7 == 3:
                made = Run(key, versions[key], (turn(key, f"c{number}", versions[key], 0),), None)
            versions[key] = made.version
            runs.append(made)
        rebuilt = ((KEYS[0], state(versions[KEYS[0]], b"again", "r2")),) if number % 9 == 8 else ()
        pending = (Pending(number, command(KEYS[number % 7], f"p{number}")),)
        transitions.append(Transition(tuple(runs), pending, (number - 3,), rebuilt))
    return transitions


async def run_workload(path: Path, recorder: Recorder) -> list[int]:
    """Append everything, one after another; return how many steps there were when each was told."""
    told = []
    for part in range(0, 45, 15):
        async with open_sqlite(path) as journal, journal.own(0) as partition:
            for transition in workload()[part : part + 15]:
                assert isinstance(await partition.append(transition), Appended)
                told.append(len(recorder.steps))
    return told


async def assert_recovered(path: Path, at_least: int) -> None:
    """The file must hold exactly the first n transitions, with n the told ones or one more, and take the next one."""
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        assert list(await journal.check()) == []
        feed = await whole_feed(journal)
        stored = [(entry.turn.command.key, entry.turn.command.id) for entry in feed]
        model = MemoryJournal()
        async with model.own(0) as expected:
            for number, transition in enumerate(workload()):
                whole = [(item[0], item[1].command.id) for item in model.log]
                if number >= at_least and whole == stored:
                    break
                await expected.append(transition)
            assert number <= at_least + 1
            assert [(item[0], item[1].command.id) for item in model.log] == stored
            assert list(await partition.read_pending()) == list(await expected.read_pending())
            assert await partition.read_states(KEYS) == await expected.read_states(KEYS)
            made = run(KEYS[0], model.versions.get(KEYS[0], 0), "after")
            assert isinstance(await partition.append(Transition((made,))), Appended)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95, 1.0])
async def test_after_a_power_loss_everything_told_is_there_and_nothing_is_torn(
    keep: float, tmp_path: Path, recorder: Recorder
) -> None:
    told = await run_workload(tmp_path / "data" / "evento.db", recorder)
    steps = list(recorder.steps)
    chance = random.Random(int(keep * 100))
    assert sum(step[0] == "sync" and step[1] == "" for step in steps) > 10, "no checkpoint was tried"
    for crash in sorted(chance.sample(range(len(steps)), CRASHES // 2)):
        target = tmp_path / f"crash-{crash}" / "evento.db"
        write_image(image(steps, crash, chance, keep), target)
        await assert_recovered(target, sum(1 for place in told if place <= crash))


async def test_a_disk_that_does_not_sync_is_found_out_by_this_test(tmp_path: Path, recorder: Recorder) -> None:
    told = await run_workload(tmp_path / "data" / "evento.db", recorder)
    lying = [step for step in recorder.steps[: told[20]] if step[0] != "sync"]
    write_image(image(lying, len(lying), random.Random(3), 0.5), tmp_path / "crash" / "evento.db")
    with pytest.raises(Exception):  # noqa: B017  lost, corrupt or refused: anything but a clean recovery
        await assert_recovered(tmp_path / "crash" / "evento.db", 21)
