"""Who owns the partitions that are not owned here, as far as is known: asked while there are any, and when somebody doubts it."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from evento.clock import Clock
from evento.errors import JournalError
from evento.journal.base import Journal

logger = logging.getLogger(__name__)

ASK_EVERY_S = 1.0


class Owners:
    """The other nodes by the partitions that they own."""

    def __init__(self, journal: Journal, clock: Clock, all_here: Callable[[], bool]) -> None:
        self._journal = journal
        self._clock = clock
        self._all_here = all_here
        self._others: Mapping[int, str] = {}
        self._asking = asyncio.Lock()
        self._asked = 0  # how often the answer came

    async def run(self) -> None:
        """Keep asking, until cancelled."""
        while True:
            if self._all_here():
                self._others = {}
            else:
                await self.ask()
            await self._clock.sleep(ASK_EVERY_S)

    async def ask(self) -> None:
        """Ask now; who asks while another does shares the next answer. A journal that does not answer leaves what was known."""
        seen = self._asked
        async with self._asking:
            if self._asked > seen + 1:
                return
            try:
                self._others = await self._journal.read_owners()
            except JournalError as error:
                logger.warning("who owns the other partitions is unknown: %s", error.message)
            self._asked += 1

    def of(self, partition: int) -> str | None:
        """Return the address of the node that owns a partition; None if that is this one, or unknown."""
        return self._others.get(partition)

    @property
    def partitions(self) -> frozenset[int]:
        """Return the partitions that others own."""
        return frozenset(self._others)

    @property
    def addresses(self) -> frozenset[str]:
        """Return the other nodes that own any partition."""
        return frozenset(self._others.values())
