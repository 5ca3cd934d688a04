"""Functions as local processes: started when needed, watched, restarted with backoff, stopped cleanly, never orphaned.

One process per function, on a Unix socket in a directory of its own. What a process says about itself is the protocol's matter
(`http`); how one is started and ended is `child`'s. It never retries a call.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec

from evento.clock import Clock
from evento.errors import FunctionCrashed, FunctionTimeout, FunctionUnavailable, SettingsError
from evento.functions.base import NOTHING_EXPECTED, Expected, FunctionClient, InstanceCall, Operation, Reply
from evento.functions.child import Child, ended_within, inherited, start_child
from evento.functions.connection import Address
from evento.functions.http import POLL_CAP_S, POLL_FACTOR, POLL_FIRST_S, HttpFunction
from evento.functions.output import Output
from evento.model.resources import FunctionSpec

RESTART_FIRST_S = 0.1
RESTART_FACTOR = 2.0
RESTART_CAP_S = 30.0
CALL_WAIT_S = 1.0  # a call waits so long for a process that is being started; what `ready` waits is the function's start_s
HEALTH_EVERY_S = 5.0
TIMEOUTS_MAX = 3  # in a row, then the process is killed though it looks healthy
SOCKET_BYTES_MAX = 100  # the kernel's limit is 103 to 107
_SUSPECT_S = 1.0  # a process whose call timed out must answer its health endpoint within this
_ENDING_S = 0.25  # a broken connection is followed by the end of its process within this, if it crashed
_RESTARTS_COUNTED_MAX = 20
_SOCKET_NAME_BYTES = len("/evento-12345678/1234567.sock")
_FALLBACK_DIRECTORY = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it

Revise: TypeAlias = Callable[[FunctionSpec], str]


class ProcessRuntime:
    """A FunctionRuntime for functions with a `command`.

    `environment` is the platform's, of which functions get a small part; `directory` is where sockets are made, below a directory
    of mode 0700 per function (default: the system's directory for temporary files). `revise` returns the revision of a function's
    content as it is now: each process is told that of what it is started with, not of what was there when it was deployed.
    """

    def __init__(
        self,
        clock: Clock,
        environment: Mapping[str, str],
        directory: Path | None = None,
        *,
        revise: Revise = lambda spec: spec.revision,
    ) -> None:
        self._clock = clock
        self._environment = inherited(environment)
        self._directory = directory
        self._revise = revise

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client; its process starts with the first `ready` or call, and ends with the context."""
        with tempfile.TemporaryDirectory(prefix="evento-", dir=_socket_directory(self._directory)) as directory:
            client = ProcessFunction(
                function, expected, self._clock, environment=self._environment, directory=Path(directory), revise=self._revise
            )
            async with _alongside(client.run()):
                yield client


class _Running(NamedTuple):
    """A process that is ready, and the client that speaks to it."""

    child: Child
    client: HttpFunction


class _Start:
    """One start of the process as those see it who wait for it: `done`, and then either what runs or why nothing does."""

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


class ProcessFunction:
    """A FunctionClient whose function is kept running for as long as `run` runs."""

    def __init__(
        self,
        function: FunctionSpec,
        expected: Expected,
        clock: Clock,
        *,
        environment: Mapping[str, str],
        directory: Path,
        revise: Revise,
    ) -> None:
        self._function = function
        self._name = f"{function.namespace}/{function.name}"
        self._expected = expected
        self._clock = clock
        self._environment = environment
        self._directory = directory
        self._revise = revise
        self._logger = logging.getLogger(f"evento.function.{function.namespace}.{function.name}")
        self._revision = function.revision
        self._wanted = asyncio.Event()
        self._start = _Start()
        self._starts = 0
        self._last = ""  # why the last start failed
        self._restarts = 0  # since a call ended well
        self._timeouts = 0  # since a call ended well

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._revision

    async def ready(self) -> None:
        """Start the function if it is not running, and wait until it serves what is expected."""
        await self._running(self._function.start_s + CALL_WAIT_S)

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call; a process that is just being started is waited for a moment."""
        running = await self._running(CALL_WAIT_S)
        try:
            reply = await running.client.call(operation, namespace, entity, calls)
        except FunctionTimeout:
            await self._suspect(running)
            raise
        except FunctionCrashed as error:
            raise await self._explained(running, error) from error
        self._restarts = self._timeouts = 0
        self._revision = reply.revision
        return reply

    async def run(self) -> None:
        """Keep a process running from the moment it is wanted, until cancelled."""
        try:
            await self._wanted.wait()
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
        self._wanted.set()
        try:
            async with asyncio.timeout(within_s):
                await start.done.wait()
        except TimeoutError as error:
            message = f"function {self._name} is not ready: its process is being started"
            raise FunctionUnavailable(f"{message}; the last one failed: {self._last}" if self._last else message) from error
        if start.running is None:
            message = start.error.message if start.error else ""
            raise FunctionUnavailable(message, **(start.error.details if start.error else {}))
        return start.running

    # ------------------------------------------------------- one process, from its start to its end
    async def _live(self) -> None:
        self._starts += 1
        socket = self._directory / f"{self._starts}.sock"
        function = msgspec.structs.replace(self._function, revision=await asyncio.to_thread(self._revise, self._function))
        try:
            child = await start_child(function, socket, self._environment, Output(self._logger))
        except FunctionUnavailable as error:
            self._failed(error)
            return
        client = HttpFunction(function, Address(socket=str(socket)), self._expected, self._clock)
        try:
            await self._become_ready(child, client)
            self._revision, self._last = client.revision, ""
            running = _Running(child, client)
            self._start.succeed(running)
            await self._watch(running)
        except FunctionUnavailable as error:
            self._failed(error)
        finally:
            self._withdraw(client)
            client.close()
            await child.stop()
            socket.unlink(missing_ok=True)

    async def _become_ready(self, child: Child, client: HttpFunction) -> None:
        reason, delay_s = "", POLL_FIRST_S
        try:
            async with asyncio.timeout(self._function.start_s):
                while reason := await client.why_not_ready():
                    if await ended_within(child, delay_s):
                        raise FunctionUnavailable(f"function {self._name} {child.ending}")
                    delay_s = min(delay_s * POLL_FACTOR, POLL_CAP_S)
        except TimeoutError as error:
            message = f"function {self._name} was not ready within {self._function.start_s:g} s: {reason or 'no answer'}"
            raise FunctionUnavailable(message) from error

    async def _watch(self, running: _Running) -> None:
        """Return when the process has ended; end it when it does not answer its health endpoint for as long as a call may take."""
        while not await ended_within(running.child, HEALTH_EVERY_S):
            healthy = await running.client.healthy(max(HEALTH_EVERY_S, self._function.timeout_s))
            if not healthy and not await ended_within(running.child, _ENDING_S):
                self._replace(running, "it did not answer its health endpoint")
        self._logger.warning("function %s %s", self._name, running.child.ending)

    def _failed(self, error: FunctionUnavailable) -> None:
        self._logger.error("%s", error.message)
        self._last = error.message
        self._start.fail(error)
        self._start = _Start()

    # ------------------------------------------------------- what a call tells about the process
    async def _suspect(self, running: _Running) -> None:
        """After a timeout: replace a process that hangs, before the next call finds it."""
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS_MAX:
            self._replace(running, f"{self._timeouts} calls in a row timed out")
        elif not await running.client.healthy(_SUSPECT_S):
            self._replace(running, "it hung in a call")

    async def _explained(self, running: _Running, error: FunctionCrashed) -> FunctionCrashed:
        """After a broken connection: say so if the process has ended, and let the next call wait for the next one."""
        if not await ended_within(running.child, _ENDING_S):
            return error
        self._withdraw(running.client)
        return FunctionCrashed(f"function {self._name} {running.child.ending}")

    def _replace(self, running: _Running, because: str) -> None:
        self._withdraw(running.client)
        running.child.kill(because)

    def _withdraw(self, client: HttpFunction) -> None:
        if self._start.running is not None and self._start.running.client is client:
            self._start = _Start()


@asynccontextmanager
async def _alongside(background: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something for the time of the context. An error of the body comes out as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(background)
            try:
                yield
            finally:
                task.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def _socket_directory(given: Path | None) -> str:
    """Return where private directories can be made whose sockets have short enough paths."""
    directory = str(given or tempfile.gettempdir())
    if len(os.fsencode(directory)) + _SOCKET_NAME_BYTES <= SOCKET_BYTES_MAX:
        return directory
    if given is None:
        return _FALLBACK_DIRECTORY
    at_most = SOCKET_BYTES_MAX - _SOCKET_NAME_BYTES
    raise SettingsError(f"the directory for sockets {directory!r} is too long: at most {at_most} bytes", value=directory)
