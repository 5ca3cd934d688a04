"""Functions as local processes: one process per function, on a Unix socket in a directory of its own.

How one is started and ended is `child`'s matter; when, and what becomes of its calls, is that of `replicas` and `supervised`.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import TypeAlias

import msgspec

from evento.clock import Clock
from evento.errors import SettingsError
from evento.functions.base import NOTHING_EXPECTED, Expected, FunctionClient
from evento.functions.child import inherited, start_child
from evento.functions.connection import Address
from evento.functions.http import CONNECTIONS_MAX
from evento.functions.output import Output
from evento.functions.replica import Launched, ReplicaObserver
from evento.functions.replicas import kept
from evento.model.resources import FunctionSpec, Scale

SOCKET_BYTES_MAX = 100  # the kernel's limit is 103 to 107
_ENDING_S = 0.25  # a broken connection is followed by the end of its process within this, if it crashed
_SOCKET_NAME = "/evento-12345678/1234567.sock"
_FALLBACK_DIRECTORY = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it
# One process, that stays once it was started: its content is not pinned, and two might be of two revisions.
_ONE = Scale(least=0, most=1, idle_s=inf, concurrency=CONNECTIONS_MAX)

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
        observer: ReplicaObserver | None = None,
    ) -> None:
        self._clock = clock
        self._environment = inherited(environment)
        self._directory = directory
        self._revise = revise
        self._observer = observer or ReplicaObserver()

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client; its process starts with the first `ready` or call, and ends with the context."""
        with tempfile.TemporaryDirectory(prefix="evento-", dir=socket_directory(self._directory)) as directory:
            launcher = _ProcessLauncher(function, self._environment, Path(directory), self._revise)
            async with kept(function, expected, launcher, self._clock, scale=_ONE, observer=self._observer) as client:
                yield client


class _ProcessLauncher:
    """A Launcher of a function's command."""

    def __init__(self, function: FunctionSpec, environment: Mapping[str, str], directory: Path, revise: Revise) -> None:
        self._function = function
        self._environment = environment
        self._directory = directory
        self._revise = revise
        self._launches = 0
        self._logger = logging.getLogger(f"evento.function.{function.namespace}.{function.name}")

    @asynccontextmanager
    async def launch(self, number: int) -> AsyncIterator[Launched]:
        """Start the command; there is but one replica of it."""
        self._launches += 1
        socket = self._directory / f"{self._launches}.sock"
        function = msgspec.structs.replace(self._function, revision=await asyncio.to_thread(self._revise, self._function))
        child = await start_child(function, socket, self._environment, Output(self._logger))
        try:
            yield Launched(child, function, Address(socket=str(socket)), _ENDING_S)
        finally:
            await child.stop()
            socket.unlink(missing_ok=True)


def socket_directory(given: Path | None = None, *, name: str = _SOCKET_NAME) -> str:
    """Return where private directories can be made for sockets with paths that are short enough; `name` is the longest below it."""
    directory = str(given or tempfile.gettempdir())
    at_most = SOCKET_BYTES_MAX - len(name)
    if len(os.fsencode(directory)) <= at_most:
        return directory
    if given is None:
        return _FALLBACK_DIRECTORY
    raise SettingsError(f"the directory for sockets {directory!r} is too long: at most {at_most} bytes", value=directory)
