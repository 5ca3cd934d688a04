"""One replica of a function, kept running: launched when wanted, watched, launched again with backoff, never left behind.

What a replica says about itself is the protocol's matter (`http`); how one is launched and ended is its `Launcher`'s. It never
retries a call.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from evento.clock import Clock
from evento.errors import FunctionCrashed, FunctionOutOfMemory, FunctionTimeout, FunctionUnavailable
from evento.functions.base import Expected, InstanceCall, Operation, Reply
from evento.functions.http import POLL_CAP_S, POLL_FACTOR, POLL_FIRST_S, HttpFunction
from evento.functions.replica import Launched, Launcher, ReplicaObserver, ended_within
from evento.model.resources import FunctionSpec

RESTART_FIRST_S = 0.1
RESTART_FACTOR = 2.0
RESTART_CAP_S = 30.0
HEALTH_EVERY_S = 5.0
TIMEOUTS_MAX = 3  # in a row, then the replica is killed though it looks healthy
_SUSPECT_S = 1.0  # a replica whose call timed out must answer its health endpoint within this
_RESTARTS_COUNTED_MAX = 20


class _Running(NamedTuple):
    """A replica that is ready, and the client that speaks to it."""

    launched: Launched
    client: HttpFunction


class _Start:
    """One launch as those see it who wait for it: `done`, and then either what runs or why nothing does."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.running: _Running | None = None
        self.error: FunctionUnavailable | None = None

    def succeed(self, running: _Running) -> None:
        self.running = running
        self.done.set()

    def fail(self, error: FunctionUnavailable) -> None:
        self.error = error
        self.done.set()


class Supervised:
    """A replica that is kept running for as long as `run` runs. `changed` is called when it becomes ready or no longer is."""

    def __init__(
        self,
        function: FunctionSpec,
        expected: Expected,
        launcher: Launcher,
        clock: Clock,
        *,
        number: int,
        changed: Callable[[], None],
        observer: ReplicaObserver,
    ) -> None:
        self._function = function
        self._name = f"{function.namespace}/{function.name}"
        self._expected = expected
        self._launcher = launcher
        self._clock = clock
        self._changed = changed
        self._observer = observer
        self._logger = logging.getLogger(f"evento.function.{function.namespace}.{function.name}")
        self._start = _Start()
        self._last = ""  # why the last launch failed
        self._restarts = 0  # since a call ended well
        self._timeouts = 0  # since a call ended well
        self.number = number
        self.revision = function.revision
        self.calls = 0  # under way, counted by whoever makes them
        self.idle_since_s = 0.0  # on the event loop's clock

    @property
    def ready(self) -> bool:
        """Return whether a call can be made at once."""
        return self._start.running is not None

    async def wait_ready(self, within_s: float) -> None:
        """Wait until it serves what is expected. Raises FunctionUnavailable: not in time, or why its launch failed."""
        await self._running(within_s)

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call. Raises FunctionError, FunctionUnavailable when it is not ready."""
        running = await self._running(0.0)
        try:
            reply = await running.client.call(operation, namespace, entity, calls)
        except FunctionTimeout:
            await self._suspect(running)
            raise
        except FunctionCrashed as error:
            raise await self._explained(running, error) from error
        self._restarts = self._timeouts = 0
        self.revision = reply.revision
        return reply

    async def run(self) -> None:
        """Keep a replica running until cancelled."""
        try:
            while True:
                await self._live()
                delay_s = min(RESTART_FIRST_S * RESTART_FACTOR**self._restarts, RESTART_CAP_S)
                self._restarts = min(self._restarts + 1, _RESTARTS_COUNTED_MAX)
                await self._clock.sleep(delay_s)
        finally:
            self._start.fail(FunctionUnavailable(f"function {self._name} is stopped"))

    async def _running(self, within_s: float) -> _Running:
        start = self._start
        if start.running is not None:
            return start.running
        try:
            async with asyncio.timeout(within_s):
                await start.done.wait()
        except TimeoutError as error:
            message = f"function {self._name} is not ready: it is being started"
            raise FunctionUnavailable(f"{message}; the last start failed: {self._last}" if self._last else message) from error
        if start.running is None:
            message = start.error.message if start.error else ""
            raise FunctionUnavailable(message, **(start.error.details if start.error else {}))
        return start.running

    # ------------------------------------------------------- one replica, from its launch to its end
    async def _live(self) -> None:
        try:
            async with self._launcher.launch(self.number) as launched:
                client = HttpFunction(launched.function, launched.address, self._expected, self._clock)
                try:
                    await self._serve(launched, client)
                finally:
                    self._withdraw(client)
                    client.close()
        except FunctionUnavailable as error:
            self._failed(error)

    async def _serve(self, launched: Launched, client: HttpFunction) -> None:
        try:
            await self._become_ready(launched, client)
        except FunctionUnavailable as error:
            launched.replica.kill("it did not get ready")  # it has nothing to finish
            self._failed(error)
            return
        running = _Running(launched, client)
        self.revision, self._last = client.revision, ""
        self.idle_since_s = asyncio.get_running_loop().time()
        self._start.succeed(running)
        self._changed()
        await self._watch(running)

    async def _become_ready(self, launched: Launched, client: HttpFunction) -> None:
        reason, delay_s = "", POLL_FIRST_S
        try:
            async with asyncio.timeout(self._function.start_s):
                while reason := await client.why_not_ready():
                    if await ended_within(launched.replica, delay_s):
                        raise FunctionUnavailable(f"function {self._name} {launched.replica.ending}")
                    delay_s = min(delay_s * POLL_FACTOR, POLL_CAP_S)
        except TimeoutError as error:
            message = f"function {self._name} was not ready within {self._function.start_s:g} s: {reason or 'no answer'}"
            raise FunctionUnavailable(message) from error

    async def _watch(self, running: _Running) -> None:
        """Return when the replica has ended; end it when it does not answer its health endpoint for as long as a call may take."""
        replica = running.launched.replica
        while not await ended_within(replica, HEALTH_EVERY_S):
            healthy = await running.client.healthy(max(HEALTH_EVERY_S, self._function.timeout_s))
            if not healthy and not await ended_within(replica, running.launched.explained_s):
                self._replace(running, "it did not answer its health endpoint")
        self._logger.warning("function %s %s", self._name, replica.ending)
        cause = "out-of-memory" if replica.out_of_memory else "hung" if replica.killed else "crashed"
        self._observer.replica_ended(self._function.name, cause)

    def _failed(self, error: FunctionUnavailable) -> None:
        self._logger.error("%s", error.message)
        self._observer.replica_ended(self._function.name, "not-ready")
        self._last = error.message
        self._start.fail(error)
        self._start = _Start()

    # ------------------------------------------------------- what a call tells about the replica
    async def _suspect(self, running: _Running) -> None:
        """After a timeout: replace a replica that hangs, before the next call finds it."""
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS_MAX:
            self._replace(running, f"{self._timeouts} calls in a row timed out")
        elif not await running.client.healthy(_SUSPECT_S):
            self._replace(running, "it hung in a call")

    async def _explained(self, running: _Running, error: FunctionCrashed) -> FunctionCrashed | FunctionOutOfMemory:
        """After a broken connection: say so if the replica has ended, and let the next call wait for the next one."""
        replica = running.launched.replica
        if not await ended_within(replica, running.launched.explained_s):
            return error
        self._withdraw(running.client)
        kind = FunctionOutOfMemory if replica.out_of_memory else FunctionCrashed
        return kind(f"function {self._name} {replica.ending}")

    def _replace(self, running: _Running, because: str) -> None:
        self._withdraw(running.client)
        running.launched.replica.kill(because)

    def _withdraw(self, client: HttpFunction) -> None:
        if self._start.running is not None and self._start.running.client is client:
            self._start = _Start()
            self._changed()
