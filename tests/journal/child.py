"""A process that appends without end and says what it was told; others kill it. `python -m tests.journal.child FILE [BYTES]`.

With BYTES no file may grow beyond that size, as on a full disk: it then says FAILED, and REFUSED if it may not go on.
"""

import asyncio
import resource
import signal
import sys
from pathlib import Path

from evento.errors import JournalError
from evento.journal.sqlite import indexing, open_sqlite, tail
from evento.model.command import State
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Run, Transition
from evento.testing.journal_samples import run, turn

KEYS = [EntityKey("bank", "Account", f"acc-{number}") for number in range(20)]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def made(number: int, version: int) -> Run:
    key = KEYS[number % len(KEYS)]
    if number % 10 == 0:
        return Run(key, version, (turn(key, f"c{version}", version),), State(version + 1, bytes(10_000), 5, "r1"))
    return run(key, version, f"c{version}")


async def main(path: Path) -> None:
    async with open_sqlite(path) as journal, journal.own(0) as partition:
        say("OPEN")
        states = await partition.read_states(KEYS)
        versions = {key: states[key].version if key in states else 0 for key in KEYS}
        number = 0
        while True:
            group = [made(number + more, versions[KEYS[(number + more) % len(KEYS)]]) for more in range(4)]
            results = await asyncio.gather(*(partition.append(Transition(runs=(item,))) for item in group), return_exceptions=True)
            if all(isinstance(result, JournalError) for result in results):
                say("FAILED")
                try:
                    await partition.append(Transition(runs=(group[0],)))
                except JournalError:
                    say("REFUSED")
                return
            for item, result in zip(group, results, strict=True):
                assert isinstance(result, Appended), result
                versions[item.key] = item.version
                say(f"{item.key.id} {item.version}")
            number += 4


if __name__ == "__main__":
    tail.ROUND_RUNS = 50
    indexing.CHUNK_POSITIONS = 20
    if len(sys.argv) > 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    asyncio.run(main(Path(sys.argv[1])))
