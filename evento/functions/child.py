"""One process of a local function: started under its guard (`launch`), stopped with all it started. It knows no protocol."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from evento.errors import FunctionUnavailable
from evento.functions.output import Output
from evento.functions.replica import ended_within, how_it_ended
from evento.model.resources import FunctionSpec

DRAIN_S = 5.0  # between SIGTERM and SIGKILL
_KILL_S = 5.0  # until a killed process must be gone
_LAST_OUTPUT_S = 0.5  # after the end of a process, whoever still holds its output open is not waited for longer
_GUARD = str(Path(__file__).with_name("launch.py"))
_PYTHON = ("python", "python3")
_INHERITED = frozenset(["PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH"])
_INHERITED_PREFIXES = ("LC_", "PYTHON", "SSL_CERT_")


class Child(asyncio.SubprocessProtocol):
    """A process that runs. `ended` is set when it is gone, and all that it started in its group, and its output has been read."""

    def __init__(self, output: Output) -> None:
        self.ended = asyncio.Event()
        self._output = output
        self._transport: asyncio.SubprocessTransport | None = None
        self._pid = 0
        self._exited = False
        self._killed_because = ""

    @property
    def ending(self) -> str:
        """Return how the process ended, as a clause, with the last lines it wrote."""
        code = self._transport.get_returncode() if self._transport else None
        return how_it_ended(code, killed_because=self._killed_because, tail=self._output.tail())

    @property
    def killed(self) -> bool:
        """Return whether `kill` was called."""
        return bool(self._killed_because)

    @property
    def out_of_memory(self) -> bool:
        """Return False: a process has no limit of its own, and who sent it signal 9 is not known."""
        return False

    def kill(self, because: str) -> None:
        """End the process and all that it started, now."""
        self._killed_because = self._killed_because or because
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask the process to end, wait DRAIN_S for that at most, then kill what is left. Nothing runs when this returns."""
        try:
            self._signal(signal.SIGTERM)
            await ended_within(self, DRAIN_S)
        finally:
            self._signal(signal.SIGKILL)
            await ended_within(self, _KILL_S)
            if self._transport is not None:
                self._transport.close()

    def _signal(self, number: signal.Signals) -> None:
        if not self._exited:
            self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            os.killpg(self._pid, number)

    # ------------------------------------------------------- called by the event loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        self._output.feed(cast(bytes, data))

    def process_exited(self) -> None:
        self._exited = True
        self._signal_group(signal.SIGKILL)  # what the command left behind
        asyncio.get_running_loop().call_later(_LAST_OUTPUT_S, self._end)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.is_set():
            self._output.finish()
            self.ended.set()


async def start_child(function: FunctionSpec, socket: Path, environment: Mapping[str, str], output: Output) -> Child:
    """Start a function's command, told to serve `socket`. Raises FunctionUnavailable if it cannot be started.

    `python` and `python3` mean the interpreter that runs the platform, so that manifests are portable. The command's environment is
    `environment`, over it the function's own, over that what the protocol tells it.
    """
    command, directory = function.command, function.directory
    told = {"EVENTO_SOCKET": str(socket), "EVENTO_REVISION": function.revision}
    program = sys.executable if command[0] in _PYTHON else command[0]
    arguments = (sys.executable, "-I", "-S", _GUARD, str(socket), program, *command[1:])
    try:
        _, child = await asyncio.get_running_loop().subprocess_exec(
            lambda: Child(output),
            *arguments,
            stdin=asyncio.subprocess.PIPE,  # the lifeline
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=directory or None,
            env={"PYTHONUNBUFFERED": "1", **environment, **function.env, **told},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no such directory; a NUL in an argument
        raise FunctionUnavailable(f"cannot run {command[0]!r} in {directory or '.'!r}: {error}") from error
    return child


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the platform's environment that functions get: how to find programs, language, time zone; no secret."""
    return {name: value for name, value in environment.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}
