"""Owning all partitions of a journal at once, so that nobody else writes meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from evento.errors import JournalBusy
from evento.journal.base import Journal, Partition

OWN_S = 600.0  # in all; a journal may have to read a long store before it lets anybody own a partition


async def refuse_while_owned(journal: Journal) -> None:
    """Raise JournalBusy if a node owns a partition; one that was killed does until its session is over."""
    if nodes := sorted(set((await journal.read_owners()).values())):
        raise JournalBusy(f"{', '.join(nodes)} works on this journal: stop all nodes that use it", nodes=nodes)


@asynccontextmanager
async def owning_all(journal: Journal, *, within_s: float = OWN_S) -> AsyncIterator[Sequence[Partition]]:
    """Own all partitions for the time of the context, in the order of their numbers. Raises JournalBusy if one cannot be had."""
    async with AsyncExitStack() as owning:
        owned: list[Partition] = []
        try:
            async with asyncio.timeout(within_s):
                for number in range(journal.partitions):
                    owned.append(await owning.enter_async_context(journal.own(number)))
        except TimeoutError as error:
            message = f"partition {len(owned)} could not be owned within {within_s:.0f} s: stop all nodes that use this journal"
            raise JournalBusy(message, partition=len(owned)) from error
        yield owned
