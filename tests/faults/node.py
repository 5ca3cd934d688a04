"""A platform as an operator has it: the program `evento` in a process of its own, on a folder and a port that outlive it.

Knows what an operator knows: how to start, stop and kill it, which processes it has, and what it has logged.
"""

import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
EVENTO = str(Path(sys.executable).with_name("evento"))
START_S = 180.0  # on a machine with much else to do
STOP_S = 90.0
SAY_S = 1800.0  # for what the command line is asked: to prove a million Commands took five minutes on a slow machine
_POLL_S = 0.02
_FUNCTION_KILLED = "was killed by signal 9"


class Node:
    """One platform with its data, again and again. As a context it is killed at the end, with its log shown if it was needed.

    That it ended by itself is told as soon as anything is wanted of it, unless the test has waited for that, or looked.
    """

    def __init__(self, folder: Path, *, env: dict[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.starts = 0
        self._folder = folder
        self._log = folder / "platform.log"
        self.env = dict(env or {})  # what it is told besides where its data and its port are
        self._process: subprocess.Popen[bytes] | None = None
        self._end_known = True  # to the test

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended = "" if self._alive else f", which ended with {self._running().returncode}" if self._process else ", never started"
        if self._alive or error is None:
            self.kill()
        if error is not None:
            print(f"---- the end of the log of the platform{ended}:\n{self.log()[-4000:]}")

    # ------------------------------------------------------------ life
    def start(self, *sources: Path, file_bytes_max: int | None = None) -> None:
        """Start it and return when it takes Commands: `evento dev` with sources, else `evento serve`."""
        self.spawn(*sources, file_bytes_max=file_bytes_max)
        self.wait_ready()

    def spawn(self, *sources: Path, file_bytes_max: int | None = None) -> None:
        """Start it and do not wait. `file_bytes_max`: no file of it may grow beyond, as on a disk that is full."""

        def limit() -> None:
            if file_bytes_max is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, resource.RLIM_INFINITY))

        assert not self._alive
        self._insist_on_known_end()
        verb = ["dev", *map(str, sources)] if sources else ["serve"]
        command = [EVENTO, *verb, "--data", str(self.data), "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment(**self.env), cwd=self._folder, preexec_fn=limit
            )
        self._end_known = False
        self.starts += 1

    def wait_ready(self, path: str = "/readyz") -> None:
        """Return when it takes Commands."""
        give_up = time.monotonic() + START_S
        while not _answers(self.url + path):
            if not self._alive or time.monotonic() > give_up:
                raise AssertionError(f"the platform does not get ready:\n{self.log()[-4000:]}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it with kill -9, and return when it is gone. It may have ended before, if the test knows."""
        self._insist_on_known_end()
        if self._process is not None:
            self._end_known = True
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it stand still, as a machine that swaps, or a virtual one that is moved, does."""
        self._insist_on_known_end()
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self._insist_on_known_end()
        self._running().terminate()

    def stop(self) -> int:
        """Ask it to end, wait for that, and return its exit status."""
        self.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its exit status. If it does not end, what its threads are at is told."""
        try:
            status = self._running().wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._running().send_signal(signal.SIGABRT)
            self._running().wait()
            raise AssertionError(f"the platform did not end in {STOP_S} s:\n{self.log()[-20_000:]}") from None
        finally:
            self._end_known = True
        return status

    @property
    def running(self) -> bool:
        """Tell whether the process is there."""
        self._end_known = self._end_known or not self._alive
        return self._alive

    @property
    def pid(self) -> int:
        """Return the process's id."""
        return self._running().pid

    def log(self) -> str:
        """Return all it has ever logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _insist_on_known_end(self) -> None:
        if not (self._alive or self._end_known):
            raise AssertionError(f"the platform ended by itself, with {self._running().returncode}:\n{self.log()[-4000:]}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    # ------------------------------------------------------------ its processes
    def descendants(self) -> list[int]:
        """Return all processes that it has started, and those that they have started."""
        parents = _parents()
        found = [self._running().pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def functions(self) -> list[int]:
        """Return the processes of its functions: those that have started no other."""
        parents = _parents()
        return [pid for pid in self.descendants() if pid not in parents.values()]

    def end_function(self) -> None:
        """End its function with kill -9, and return when the platform knows: a call that found it dead would be an attempt."""
        known = self.log().count(_FUNCTION_KILLED)
        assert self.kill_function()
        for _ in eventually("the platform knows that its function is gone"):
            if self.log().count(_FUNCTION_KILLED) > known:
                return

    def kill_function(self, number: int = 0) -> bool:
        """End a function's process with kill -9; return whether there was one."""
        found = self.functions()
        if not found:
            return False
        with _gone_is_fine():
            os.kill(found[number % len(found)], signal.SIGKILL)
            return True
        return False

    # ------------------------------------------------------------ the command line
    def evento(self, *arguments: str, status: int = 0) -> str:
        """Run the command line against it; return what it says, and insist on the exit status."""
        done = subprocess.run(
            [EVENTO, *arguments],
            capture_output=True,
            text=True,
            timeout=SAY_S,
            env=environment(EVENTO_URL=self.url, **self.env),
            cwd=self._folder,
            check=False,
        )
        assert done.returncode == status, f"evento {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def deploy(self, *sources: Path, prune: bool = False) -> str:
        """Deploy sources as an operator does."""
        return self.evento("deploy", *map(str, sources), "--yes", *(["--prune"] if prune else []))

    def verify(self) -> None:
        """Insist that `evento verify` finds nothing."""
        assert "everything agrees" in self.evento("verify")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without the settings and colours of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVENTO_")}
    return {**clean, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200", "PYTHONFAULTHANDLER": "1", **more}


def alive(pids: Sequence[int]) -> list[int]:
    """Return those processes that still run."""
    parents = _parents()
    return [pid for pid in pids if pid in parents]


def eventually(fact: str, within_s: float = 90.0) -> Iterator[None]:
    """Give turns, with a pause between them, until the caller breaks out of the loop; fail when the time is over."""
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        yield
        time.sleep(_POLL_S)
    raise AssertionError(f"not within {within_s:g} s: {fact}")


def _parents() -> dict[int, int]:
    """Return each process's parent; those that have ended and wait to be noticed are left out."""
    if Path("/proc/self/stat").exists():
        lines = [_status(path) for path in Path("/proc").glob("[0-9]*/stat")]
    else:
        command = ["ps", "-A", "-o", "pid=,ppid=,stat="]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = (line.split() for line in lines if line)
    return {int(pid): int(parent) for pid, parent, status, *_ in rows if not status.startswith("Z")}


def _status(path: Path) -> str:
    try:
        pid, _, rest = path.read_text().partition(" (")
    except OSError:
        return ""
    status, parent = rest.rpartition(") ")[2].split()[:2]
    return f"{pid} {parent} {status}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return
