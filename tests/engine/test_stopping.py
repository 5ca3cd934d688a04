"""An engine that is stopped ends, whatever its partitions do at that moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from evento.engine.engine import Engine
from evento.errors import JournalRewind
from evento.journal.base import Partition
from evento.testing.virtual import VirtualClock, run_virtual
from tests.cluster.shared import Shared, SharedJournal, SharedPartition

HERE = "http://here:1"


class SlowToEnd(SharedPartition):
    """A partition that takes a while to wait for what it is asked, also when nobody wants to hear it any more."""

    async def wait_revoked(self) -> None:
        try:
            await super().wait_revoked()
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            raise


class Journal(SharedJournal):
    """Gives partitions that are slow to end, the first of which fails once somebody wants it."""

    rewinds = False

    @asynccontextmanager
    async def _own(self, number: int) -> AsyncIterator[Partition]:
        async with super()._own(number) as owned:
            slow = SlowToEnd(owned._inner, number, self)
            if self.rewinds:
                slow.inputs = FailingInputs(self.shared)
            yield slow


class FailingInputs:
    """Records that cannot be read once the partition is somebody else's."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def read(self, limit: int) -> list[object]:
        while self._shared.assigned.get(0) == HERE:
            await self._shared.changed.wait()
        raise JournalRewind("read again")


def stop_in_the_middle(*, rewinds: bool, after_s: float) -> None:
    async def play() -> None:
        shared = Shared(1)
        journal = Journal(shared, HERE)
        journal.rewinds = rewinds
        shared.assign(HERE, 0)
        engine = Engine(journal, VirtualClock(), lambda: 0.5)
        async with asyncio.timeout(60):
            async with engine.running(drain_s=0):
                await asyncio.sleep(1.0)
                shared.assign("http://elsewhere:1", 0)
                await asyncio.sleep(after_s)

    run_virtual(play())


def test_it_ends_while_a_partition_is_given_up() -> None:
    for step in range(40):
        stop_in_the_middle(rewinds=False, after_s=step * 0.1)


def test_it_ends_while_a_partition_is_to_be_read_again() -> None:
    for step in range(40):
        stop_in_the_middle(rewinds=True, after_s=step * 0.1)
