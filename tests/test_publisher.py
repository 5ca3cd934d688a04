"""The publisher goes on after a refusal, and publishes the newest catalog only."""

import asyncio
from collections.abc import Sequence

from evento.errors import RegistryRefused
from evento.publisher import AGAIN_FIRST_S, Publisher
from evento.registry.catalog import Catalog
from evento.registry.contents import Contents
from evento.registry.records import CatalogChange, SchemaRecord
from evento.schema.registered import RegisteredSchema


def catalog(version: int) -> Catalog:
    """Return a catalog with as many schemas as its version says."""
    contents = Contents()
    text = '{{"type":"record","name":"R{}","fields":[]}}'
    contents.absorb(version, CatalogChange(schemas=[SchemaRecord(n, text.format(n)) for n in range(1, version + 1)]))
    return Catalog(version, contents)


class Sleeper:
    """A clock that does not wait, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now_us(self) -> int:
        return 0

    async def sleep(self, delay_s: float) -> None:
        self.slept_s.append(delay_s)
        await asyncio.sleep(0)


async def test_what_is_refused_is_tried_again_and_only_the_newest_is_published() -> None:
    asked: list[int] = []
    done, clock = asyncio.Event(), Sleeper()

    async def publish(schemas: Sequence[RegisteredSchema]) -> int:
        asked.append(len(schemas))
        if len(asked) < 3:
            raise RegistryRefused("it is closed on Sundays")
        done.set()
        return len(schemas)

    publisher = Publisher(publish, clock, "acme.")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        publisher.show(catalog(1))
        publisher.show(catalog(2))
        await done.wait()
        await asyncio.sleep(0.05)
        running.cancel()
    assert clock.slept_s == [AGAIN_FIRST_S, AGAIN_FIRST_S * 2]
    assert asked == [asked[0]] * 3
