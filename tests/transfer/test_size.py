"""Moving a long history: in bounded memory, and interrupted in the middle."""

import asyncio
import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from evento.journal.sqlite import open_sqlite
from evento.model.command import OutcomeKind, Turn
from evento.model.transition import Run, Transition
from evento.transfer.unfinished import MARK
from tests.faults.node import EVENTO, environment
from tests.transfer import samples

INSTANCES = 1_000
FEW, MANY = 20_000, int(os.environ.get("EVENTO_MOVED_TURNS", "120000"))
GROWTH_MIB_MAX = 48  # a hundred thousand turns would be some 200; the target's filter of command ids grows by 2 bytes for each
START_S = 120.0
INCOMPLETE = "holds a part of an import that did not finish"


def make(data: Path, turns: int) -> None:
    """Make the journal of a platform with so many turns."""

    async def fill() -> None:
        async with open_sqlite(data / "evento.db") as journal:
            async with journal.own(0) as partition:
                for start in range(0, turns, INSTANCES):
                    await partition.append(Transition(runs=tuple(_run(number) for number in range(start, start + INSTANCES))))
            for version, content in enumerate(samples.catalogs(), 1):
                assert await journal.append_catalog(version, content)

    asyncio.run(fill())


def _run(number: int) -> Run:
    before, instance = divmod(number, INSTANCES)
    of = samples.key(f"acc-{instance}")
    turn = Turn(
        samples.command(of, f"c{number}", number), OutcomeKind.SUCCEEDED, before, (samples.deposited(of, 1),), samples.TIME_US
    )
    return Run(of, before, (turn,), samples.state(of, before + 1))


def evento(*arguments: str, status: int = 0) -> tuple[str, int]:
    """Run the program in a process of its own; return what it said and its memory at most, in MiB. With -s it tells the time."""
    started = time.monotonic()
    process = subprocess.Popen([EVENTO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
    assert process.stdout is not None
    said = process.stdout.read()
    _, ended, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)
    assert process.returncode == status, said
    print(f"evento {arguments[0]}: {time.monotonic() - started:.1f} s, {used.ru_maxrss // 1024} MiB")
    return said, used.ru_maxrss // 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_history(tmp_path: Path) -> None:
    used = {}
    for turns in (FEW, MANY):
        folder = tmp_path / str(turns)
        make(folder / "old", turns)
        said, exporting = evento("export", str(folder / "files"), "--data", str(folder / "old"))
        assert f"turns: {turns}\n" in said
        _, importing = evento("import", str(folder / "files"), "--data", str(folder / "new"))
        used[turns] = exporting, importing
    growth = [many - few for few, many in zip(used[FEW], used[MANY], strict=True)]
    assert max(growth) < GROWTH_MIB_MAX, used


def test_an_import_that_is_killed_is_known_and_can_be_made_again(tmp_path: Path) -> None:
    make(tmp_path / "old", 40_000)
    files, new = tmp_path / "files", tmp_path / "new"
    evento("export", str(files), "--data", str(tmp_path / "old"))
    process = subprocess.Popen([EVENTO, "import", str(files), "--data", str(new)], env=environment())
    wait_written(new, process)
    process.send_signal(signal.SIGKILL)
    process.wait()

    for verb in (("serve", "--port", "0"), ("verify",), ("import", str(files)), ("export", str(tmp_path / "more"))):
        said, _ = evento(*verb, "--data", str(new), status=1)
        assert INCOMPLETE in said, verb
    (new / MARK).unlink()  # also a copy without the mark, or another node, sees what it is
    for verb in (("serve", "--port", "0"), ("export", str(tmp_path / "other"))):
        said, _ = evento(*verb, "--data", str(new), status=1)
        assert INCOMPLETE in said, verb
    assert "not empty" in evento("import", str(files), "--data", str(new), status=1)[0]

    evento("import", str(files), "--data", str(tmp_path / "again"))
    evento("export", str(tmp_path / "compared"), "--data", str(tmp_path / "again"))
    assert checksums(tmp_path / "compared") == checksums(files)


def wait_written(data: Path, process: "subprocess.Popen[bytes]") -> None:
    """Return in the middle of the writing."""
    give_up = time.monotonic() + START_S
    log = data / "evento.db-wal"
    while not ((data / MARK).exists() and log.exists() and log.stat().st_size > 1_000_000):
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < give_up
        time.sleep(0.005)


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
