"""A node that carries out a fixed list of Commands on a journal on Kafka, from its beginning at each start; others kill or stop it.

`python -m tests.journal.kafka_child ADDRESS FOLDER COUNT`. Every seventh Command comes twice. It says what became durable.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from evento.clock import SystemClock
from evento.errors import JournalRewind
from evento.journal.base import CommandRef, EntityPlace, Journal, Partition
from evento.journal.kafka.address import parse_address
from evento.journal.kafka.clients import Cluster, Times
from evento.journal.kafka.journal import open_kafka
from evento.journal.kafka.security import Properties
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Transition
from evento.testing.journal_samples import run

KEYS = [EntityKey("bank", "Account", f"acc-{number}") for number in range(20)]
ENTITIES = [EntityPlace("bank", "Account")]
QUICK = Times(session_ms=2_000, heartbeat_ms=300, transaction_ms=6_000, message_ms=5_000, request_ms=4_000)
BATCH = 25


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def cluster_at(address: str, name: str = "http://127.0.0.1:7070") -> Cluster:
    return Cluster(address=parse_address(address), security=Properties(), client_id=name, times=QUICK)


def commands(count: int) -> list[CommandRef]:
    """Return the Commands in the order in which they come."""
    refs: list[CommandRef] = []
    for number in range(count):
        refs.append(CommandRef(KEYS[number * 7 % len(KEYS)], f"c{number}"))
        if number % 7 == 0:
            refs.append(refs[-1])
    return refs


async def carry_out(partition: Partition, refs: Sequence[CommandRef], revoked: asyncio.Future[None]) -> None:
    """Carry out what is not finished yet; end early, with what is begun, when the partition must be given up."""
    states = await partition.read_states(KEYS)
    versions = {key: state.version for key, state in states.items()}
    for start in range(0, len(refs), BATCH):
        if revoked.done():
            return
        part = list(dict.fromkeys(refs[start : start + BATCH]))
        done = await partition.read_turns(part)
        appends = []
        for ref in part:
            if ref not in done:
                before = versions.get(ref.key, 0)
                versions[ref.key] = before + 1
                appends.append(partition.append(Transition(runs=(run(ref.key, before, ref.command_id),))))
        results = await asyncio.gather(*appends, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            assert isinstance(result, Appended), result
        say(f"DONE {partition.number} {' '.join(ref.command_id for ref in part)}")


async def be_owner(journal: Journal, number: int, refs: Sequence[CommandRef]) -> None:
    while True:
        try:
            async with journal.own(number) as partition:
                say(f"OWN {number}")
                revoked = asyncio.ensure_future(partition.wait_revoked())
                await carry_out(partition, refs, revoked)
                if not revoked.done():
                    say(f"END {number}")
                await revoked
                say(f"GIVEN {number}")
        except JournalRewind as error:
            say(f"REWIND {number} {error}")


async def main(address: str, folder: Path, count: int) -> None:
    async with open_kafka(cluster_at(address, f"http://{folder.name}"), folder, SystemClock()) as journal:
        await journal.provide(ENTITIES)
        refs = commands(count)
        async with asyncio.TaskGroup() as group:
            for number in range(journal.partitions):
                mine = [ref for ref in refs if journal.partition_of(ref.key) == number]
                group.create_task(be_owner(journal, number, mine))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
