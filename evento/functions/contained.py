"""One container of a function: started, its output read, its end noticed and named, stopped. It knows no protocol and no image."""

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from evento.clock import Clock
from evento.errors import FunctionUnavailable
from evento.functions.memory_watch import MemoryWatch, watch_memory
from evento.functions.output import Output
from evento.functions.replica import ended_within, how_it_ended

if TYPE_CHECKING:
    from evento.functions.engine_api import ContainerEngine, State

DRAIN_S = 5  # between SIGTERM and SIGKILL
_LOOKS_S = (0.0, 0.02, 0.05, 0.1, 0.3)  # after the end of its output a container ends within this
_AGAIN_S = 1.0  # until an engine that did not answer is asked again
_TOLD_S = 0.05  # after an end the kernel has told why within this
_KILLED = 128 + signal.SIGKILL
_MIB = 1024 * 1024

logger = logging.getLogger(__name__)


class Container:
    """A Replica that is a container, made already. `watch` is its task, from before `start` until after `stop`."""

    def __init__(self, engine: "ContainerEngine", name: str, output: Output, clock: Clock, *, memory_bytes: int) -> None:
        self._engine = engine
        self._name = name
        self._output = output
        self._clock = clock
        self._memory = f"{memory_bytes // _MIB}Mi"
        self._ended = asyncio.Event()
        self._heard = asyncio.Event()  # its output is being read, or cannot be
        self._started = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._killed_because = ""
        self._stopping = False
        self._state: State | None = None
        self._watch: MemoryWatch | None = None
        self._kernel_acted: bool | None = None  # for its memory; not known if there is no watch

    @property
    def ended(self) -> asyncio.Event:
        """Return the event that is set when it does not run any more, and its output has been read."""
        return self._ended

    @property
    def killed(self) -> bool:
        """Return whether `kill` was called."""
        return bool(self._killed_because)

    @property
    def out_of_memory(self) -> bool:
        """Return whether the engine or the kernel says so. When that cannot be asked, whoever killed it is taken for the kernel.

        Engines do not always notice what the kernel did, so their flag alone would say no too often.
        """
        if self._state is None or self._killed_because or self._stopping:
            return False
        return self._state.out_of_memory or (self._state.exit_code == _KILLED and self._kernel_acted is not False)

    @property
    def ending(self) -> str:
        """Return how it ended, as a clause, with the last lines it wrote."""
        because = self._killed_because
        if self.out_of_memory:
            surely = bool(self._kernel_acted) or (self._state is not None and self._state.out_of_memory)
            how = "it used" if surely else "somebody sent signal 9, and not the platform: most likely it used"
            because = f"{how} more memory than its limit of {self._memory}"
        elif self._state is None:
            because = because or "somebody removed its container"
        elif self._state.exit_code == _KILLED and self._kernel_acted is False:
            because = because or "somebody sent signal 9: not the platform, and not the kernel for its memory"
        return how_it_ended(self._state.exit_code if self._state else None, killed_because=because, tail=self._output.tail())

    def kill(self, because: str) -> None:
        """End the container now."""
        self._killed_because = self._killed_because or because
        self._unwanted.set()

    async def start(self) -> None:
        """Run it. Raises FunctionUnavailable if the engine refuses."""
        await self._heard.wait()  # before the first word
        await self._engine.start(self._name)
        self._started.set()
        await self._watch_memory()

    async def stop(self) -> None:
        """Ask it to end, wait DRAIN_S for that at most, then kill it; its last words are read."""
        if not self._started.is_set() or self._ended.is_set():
            return
        self._stopping = True
        try:
            if not self._killed_because:
                await self._engine.stop(self._name, within_s=DRAIN_S)
        except FunctionUnavailable as error:
            logger.warning("%s", error.message)
        await ended_within(self, _AGAIN_S)

    async def remove(self) -> None:
        """Remove it, however it is doing. What cannot be removed now is swept at the next start."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        try:
            await self._engine.remove(self._name)
        except FunctionUnavailable as error:
            logger.warning("%s", error.message)

    async def watch(self) -> None:
        """Read its output and notice its end, and kill it when that is asked for."""
        async with asyncio.TaskGroup() as tasks:
            killing = tasks.create_task(self._kill_when_unwanted())
            while not self._ended.is_set():
                await self._read_output()
                await self._started.wait()
                await self._notice_end()
            killing.cancel()

    async def _read_output(self) -> None:
        try:
            async with self._engine.attached(self._name) as pieces:
                self._heard.set()
                async for piece in pieces:
                    self._output.feed(piece)
        except FunctionUnavailable as error:
            logger.warning("the output of container %s is lost for a moment: %s", self._name, error.message)
            self._heard.set()
            await self._clock.sleep(_AGAIN_S)

    async def _notice_end(self) -> None:
        """See whether it ended, now that its output did. When it did not, the engine was restarted, and its output goes on."""
        for look_s in _LOOKS_S:
            await self._clock.sleep(look_s)
            try:
                state = await self._engine.state(self._name)
            except FunctionUnavailable:
                continue
            if state is None or not state.running:
                self._state = state
                await self._ask_kernel()
                self._output.finish()
                self._ended.set()
                return

    async def _watch_memory(self) -> None:
        try:
            state = await self._engine.state(self._name)
        except FunctionUnavailable:
            return
        if state is not None and state.running:
            self._watch = await asyncio.to_thread(watch_memory, state.pid, state.container_id)

    async def _ask_kernel(self) -> None:
        """Look whether the kernel ended it for its memory: what happened is told within a moment."""
        if self._watch is None:
            return
        self._kernel_acted = await asyncio.to_thread(self._watch.acted)
        if not self._kernel_acted:
            await self._clock.sleep(_TOLD_S)
            self._kernel_acted = await asyncio.to_thread(self._watch.acted)

    async def _kill_when_unwanted(self) -> None:
        await self._unwanted.wait()
        while True:
            try:
                await self._engine.kill(self._name)
            except FunctionUnavailable as error:
                logger.warning("%s", error.message)
            await self._clock.sleep(_AGAIN_S)
