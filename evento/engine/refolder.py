"""Bringing stored states up to date in the background after an apply or an Entity's schema changed (design §3.8).

Nobody depends on it: a state that is not folded as it should be is folded before it is used. It only makes that rare.
"""

import asyncio
import logging
from collections.abc import Callable, Collection

from evento.engine.engine import Engine
from evento.engine.refolding import EntityName, Refolding
from evento.errors import FunctionError, JournalFenced, JournalRewind, JournalUnreachable, NotReady
from evento.journal.base import Journal

logger = logging.getLogger(__name__)

_SAMPLE = 200  # instances looked at to tell whether an Entity's states are of its apply
_STORE_STATES = 2000
_RETRY_S = 5.0


class Refolder:
    """Watches what is deployed, and folds again what was folded otherwise."""

    def __init__(self, journal: Journal, engine: Engine) -> None:
        self._journal = journal
        self._engine = engine
        self._wake = asyncio.Event()
        engine.on_owned = self.wake  # whoever owned the partition before may not have come to it
        self.rebuilding = 0  # Entities being folded again

    def wake(self) -> None:
        """Look again: something else is deployed."""
        self._wake.set()

    async def run(self) -> None:
        """Fold again whatever needs it, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.refold_stale()
            except (FunctionError, NotReady, JournalRewind, JournalFenced, JournalUnreachable) as error:  # or a partition moved
                logger.warning("states are not folded again yet: %s", error.message)
                asyncio.get_running_loop().call_later(_RETRY_S, self._wake.set)

    async def refold_stale(self, *, everything: bool = False, progress: Callable[[int], None] | None = None) -> int:
        """Fold again the Entities whose states are of another apply or schema, or all, as far as their partitions are owned here;
        return how many states were stored."""
        catalog, callers = self._engine.configuration
        here = self._engine.here
        stale = [name for name in catalog.entities if everything or await self._is_stale(name, here)]
        if not stale:
            return 0
        self.rebuilding = len(stale)
        stored = 0
        try:
            refolding = Refolding(self._journal.history, here, catalog, callers)
            async for folded, broken in refolding.fold(stale, progress=progress):
                for item in broken:
                    logger.error("%s cannot be folded: %s", item.key, item.reason)
                states = list(folded.items())
                for start in range(0, len(states), _STORE_STATES):
                    await self._engine.store_states(states[start : start + _STORE_STATES])
                stored += len(states)
        finally:
            self.rebuilding = 0
        logger.info("%d states were folded again", stored)
        return stored

    async def _is_stale(self, name: EntityName, partitions: Collection[int]) -> bool:
        catalog, callers = self._engine.configuration
        entries = await self._journal.history.read_instances(*name, partitions=partitions, limit=_SAMPLE)
        if not entries:
            return False
        spec = catalog.entity(*name)
        caller = callers[spec.namespace, spec.apply]
        if not caller.usable:
            await caller.ready()
        return any(
            entry.state.payload is None or entry.state.revision != caller.revision or entry.state.schema_id != spec.schema_id
            for entry in entries
        )
