"""Keeps an external schema registry up with the catalog, in the background: what it refuses is told, and stops nothing.

Knows no registry: it is given a function that publishes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from evento.clock import Clock
from evento.errors import RegistryRefused, SettingsError
from evento.registry.catalog import Catalog
from evento.registry.subjects import Subjects
from evento.schema.registered import RegisteredSchema

AGAIN_FIRST_S = 5.0
AGAIN_CAP_S = 300.0
_log = logging.getLogger(__name__)

Publish = Callable[[Sequence[RegisteredSchema]], Awaitable[int]]


class Publisher:
    """Publishes the newest catalog that it was shown."""

    def __init__(self, publish: Publish, clock: Clock, topic_prefix: str) -> None:
        self._publish = publish
        self._clock = clock
        self._topic_prefix = topic_prefix
        self._catalog: Catalog | None = None
        self._shown = asyncio.Event()

    def show(self, catalog: Catalog) -> None:
        """Let this catalog be published, and forget about those before: it holds all their schemas."""
        self._catalog = catalog
        self._shown.set()

    async def run(self) -> None:
        """Publish whatever is shown, until cancelled; what fails is tried again with growing pauses."""
        delay_s = AGAIN_FIRST_S
        while True:
            await self._shown.wait()
            self._shown.clear()
            if await self._published():
                delay_s = AGAIN_FIRST_S
                continue
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, AGAIN_CAP_S)
            self._shown.set()

    async def _published(self) -> bool:
        catalog = self._catalog
        if catalog is None:
            return True
        subjects = await asyncio.to_thread(Subjects, catalog.contents, self._topic_prefix)
        try:
            added = await self._publish(subjects.of_topics())
        except (RegistryRefused, SettingsError) as error:
            _log.error("the schemas are not in the schema registry: %s", error.message)
            return False
        if added:
            _log.info("%d schemas were written to the schema registry", added)
        return True
