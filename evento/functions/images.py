"""Images as functions need them: pinned at deployment, found or fetched again, and never another content than was deployed.

An image's id is the digest of its configuration, which names all its content: it is the same wherever the image was built, pushed
and pulled. A registry does not know it, but gives the image under the digest of its manifest: kept beside, to fetch it again.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from evento.errors import FunctionUnavailable
from evento.functions.registries import Registries, full_name
from evento.model.resources import FunctionSpec, Pinned

if TYPE_CHECKING:
    from evento.functions.engine_api import ContainerEngine, Image

PULL_S = 300.0  # for all that is tried to get one image
TOLD_EVERY_S = 10.0
DIGESTS_MAX = 8  # of one image in one repository; more than one is rare
_PINNED = "@sha256:"
_HERE = ("Already exists", "Download complete", "Pull complete")

logger = logging.getLogger(__name__)


class Images:
    """Gets images from engines, and by them from registries."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._pulling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # what several replicas need is pulled once

    async def pin(self, engine: "ContainerEngine", function: FunctionSpec) -> Pinned:
        """Return which content a function's image is now, pulled if it is not here or always to be. Raises FunctionUnavailable."""
        reference = function.image
        if function.pull_always and _PINNED not in reference:
            image = await self._pulled(engine, reference)
        else:
            image = await self.found_or_pulled(engine, reference)
        if _PINNED in reference:
            return Pinned(reference.rpartition("@")[2])
        repository = full_name(reference)
        digests = {digest for name, _, digest in (each.partition("@") for each in image.digests) if full_name(name) == repository}
        return Pinned(image.id, tuple(sorted(digests)[:DIGESTS_MAX]))

    async def of(self, engine: "ContainerEngine", function: FunctionSpec) -> "Image":
        """Return exactly the image that was deployed, whatever its name stands for today. Raises FunctionUnavailable."""
        if _PINNED in function.image or not function.revision:
            return await self.found_or_pulled(engine, function.image)
        image = await engine.image(function.revision)
        return image or await self._fetched_again(engine, function)

    async def found_or_pulled(self, engine: "ContainerEngine", reference: str) -> "Image":
        """Return an image that the engine has, or gets. Raises FunctionUnavailable."""
        return await engine.image(reference) or await self._pulled(engine, reference, unless_here=True)

    async def _fetched_again(self, engine: "ContainerEngine", function: FunctionSpec) -> "Image":
        """Return the image that was deployed and is here no more: by its digests, then by its name, which may stand for another."""
        repository = full_name(function.image)
        reasons: list[str] = []
        try:
            async with asyncio.timeout(PULL_S):
                for reference in (*(f"{repository}@{digest}" for digest in function.digests), function.image):
                    try:
                        image = await self.found_or_pulled(engine, reference)
                    except FunctionUnavailable as error:
                        reasons.append(error.message)
                        continue
                    if image.id == function.revision:
                        return image
                    reasons.append(f"{reference} is now {image.id}")
        except TimeoutError:
            reasons.append(f"it was not pulled within {PULL_S:g} s")
        raise FunctionUnavailable(
            f"image {function.image} was deployed as {function.revision}, which the container engine does not have: {reasons[0]}. "
            "Bring it back, or deploy again what there is now"
        )

    async def _pulled(self, engine: "ContainerEngine", reference: str, *, unless_here: bool = False) -> "Image":
        lock = self._pulling.setdefault(reference, asyncio.Lock())
        async with lock:
            image = await engine.image(reference) if unless_here else None
            if image is None:
                await self._pull(engine, reference)
                image = await engine.image(reference)
        if image is None:
            raise FunctionUnavailable(f"the container engine has no image {reference}, not even after pulling it")
        return image

    async def _pull(self, engine: "ContainerEngine", reference: str) -> None:
        credentials = await asyncio.to_thread(self._registries.credentials, reference)
        loop = asyncio.get_running_loop()
        logger.info("pulling image %s", reference)
        began_s, progress = loop.time(), _Progress(reference, loop)
        await engine.pull(reference, credentials=credentials, within_s=PULL_S, hear=progress.hear)
        logger.info("pulled image %s in %.1f s", reference, loop.time() - began_s)


class _Progress:
    """Tells now and then how far a pull is. Engines speak of parts, one by one, and not all of how large they are."""

    def __init__(self, reference: str, loop: asyncio.AbstractEventLoop) -> None:
        self._reference = reference
        self._loop = loop
        self._told_s = loop.time()
        self._here: dict[str, bool] = {}

    def hear(self, said: Mapping[str, object]) -> None:
        """Take one line of what the engine says."""
        if part := said.get("id"):
            self._here[str(part)] = said.get("status") in _HERE or self._here.get(str(part), False)
        if self._loop.time() - self._told_s > TOLD_EVERY_S:
            self._told_s = self._loop.time()
            logger.info("pulling image %s: %d of %d parts are here", self._reference, sum(self._here.values()), len(self._here))
