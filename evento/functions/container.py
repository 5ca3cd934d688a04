"""Functions as containers: an image is run by Docker or Podman, locked down, as often as its calls need.

What a container may do is `lockdown`'s matter, what the engine speaks `engine_api`'s, which content an image is that of `images`,
how many run that of `replicas`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evento.clock import Clock
from evento.errors import FunctionUnavailable
from evento.functions.base import NOTHING_EXPECTED, Expected, FunctionClient
from evento.functions.connection import Address
from evento.functions.contained import Container
from evento.functions.images import Images
from evento.functions.leftovers import Belongings
from evento.functions.lockdown import SOCKET_NAME, container_config, not_in_force
from evento.functions.output import Output
from evento.functions.registries import Registries
from evento.functions.replica import Launched, ReplicaObserver
from evento.functions.replicas import kept, one_error
from evento.model.resources import FunctionSpec, Pinned, Resources, Scale

if TYPE_CHECKING:
    from evento.functions.engine_api import ContainerEngine

SWEEP_S = 20.0  # a start is not held up longer by what was left behind
_ENDING_S = 1.5  # a broken connection is followed by the news of its container's end within this, if that ended

logger = logging.getLogger(__name__)


class ContainerRuntime:
    """A FunctionRuntime for functions with an `image`. `locate` returns the engine's URL, or raises FunctionUnavailable.

    The engine is looked for, and its client loaded, when the first container is needed.
    """

    def __init__(
        self,
        clock: Clock,
        belongings: Belongings,
        locate: Callable[[], str],
        *,
        registries: Registries | None = None,
        observer: ReplicaObserver | None = None,
    ) -> None:
        self._clock = clock
        self._belongings = belongings
        self._locate = locate
        self._images = Images(registries or Registries())
        self._observer = observer or ReplicaObserver()
        self._engine: ContainerEngine | None = None
        self._connecting = asyncio.Lock()
        self._numbers = count(1)
        self._limits_known = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remove what a platform on this data folder left behind, and at the end whatever is still there."""
        if await asyncio.to_thread(lambda: self._belongings.may_exist):
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self.engine()
            except (FunctionUnavailable, TimeoutError) as error:
                logger.warning("containers of this platform may still run from before: %s", error)
        try:
            yield
        finally:
            await self._end()

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client; containers start with the first `ready` or call, and all end with the context."""
        launcher = _ContainerLauncher(self, function)
        scale = function.scale or Scale()
        async with kept(function, expected, launcher, self._clock, scale=scale, observer=self._observer) as client:
            yield client

    async def pin(self, function: FunctionSpec) -> Pinned:
        """Return which content a function's image is now. Raises FunctionUnavailable if there is no engine or no such image."""
        return await self._images.pin(await self.engine(), function)

    async def engine(self) -> "ContainerEngine":
        """Return the engine, with nothing left on it from before. Raises FunctionUnavailable."""
        async with self._connecting:
            if self._engine is None:
                from evento.functions.engine_api import ContainerEngine  # ten megabytes that most platforms need not load

                with _files_usable():
                    await asyncio.to_thread(self._belongings.take_name)
                engine = ContainerEngine(self._locate())
                try:
                    left = await self._belongings.sweep(engine)
                except BaseException:
                    await engine.close()
                    raise
                if left:
                    logger.warning("removed %d containers that this platform had left behind", left)
                self._engine = engine
        return self._engine

    @asynccontextmanager
    async def contain(self, function: FunctionSpec, output: Output) -> AsyncIterator[tuple[Container, Path]]:
        """Run a container of a function for the time of the context; give it with the path of its socket."""
        engine, number = await self.engine(), next(self._numbers)
        image = await self._images.of(engine, function)
        with _files_usable():
            folder = await asyncio.to_thread(self._belongings.make_folder, number)
        platform = self._belongings.platform
        name = f"evento-{platform}-{function.namespace}-{function.name}-{number}"
        memory_bytes = (function.resources or Resources()).memory_bytes
        container = Container(engine, name, output, self._clock, memory_bytes=memory_bytes)
        config = container_config(function, image_id=image.id, image_user=image.user, folder=str(folder), platform=platform)
        try:
            await engine.create(name, config)
            await self._look_at_limits(engine, name, config)
            with one_error():
                async with asyncio.TaskGroup() as tasks:
                    watching = tasks.create_task(container.watch())
                    try:
                        await container.start()
                        yield container, folder / SOCKET_NAME
                    finally:
                        await container.stop()
                        watching.cancel()
        finally:
            await container.remove()
            await asyncio.to_thread(self._belongings.remove_folder, folder)

    async def _look_at_limits(self, engine: "ContainerEngine", name: str, config: Mapping[str, Any]) -> None:
        """Warn, once, of limits that are asked for and not in force: that is the same for all containers of an engine."""
        if self._limits_known:
            return
        self._limits_known = True
        missing = not_in_force(config, await engine.host_config(name))
        if missing:
            logger.warning(
                "the container engine does not limit containers here: %s. `resources` are not in force for that; "
                "an engine of an ordinary user needs cgroups v2 with these controllers delegated to it",
                ", ".join(missing),
            )

    async def _end(self) -> None:
        if self._engine is not None:
            try:
                await self._belongings.sweep(self._engine)
            except FunctionUnavailable as error:
                logger.warning("containers of this platform may still run: %s", error.message)
            await self._engine.close()


class _ContainerLauncher:
    """A Launcher of a function's image."""

    def __init__(self, runtime: ContainerRuntime, function: FunctionSpec) -> None:
        self._runtime = runtime
        self._function = function

    @asynccontextmanager
    async def launch(self, number: int) -> AsyncIterator[Launched]:
        """Run a container; what it writes is in the log under the function's name and its number."""
        function = self._function
        output = Output(logging.getLogger(f"evento.function.{function.namespace}.{function.name}.{number}"))
        async with self._runtime.contain(function, output) as (container, socket):
            yield Launched(container, function, Address(socket=str(socket)), _ENDING_S)


@contextmanager
def _files_usable() -> Iterator[None]:
    """Make a file that cannot be written a reason why the function is not available: the platform itself goes on."""
    try:
        yield
    except OSError as error:
        raise FunctionUnavailable(f"a container needs a folder for its socket: {error}") from error
