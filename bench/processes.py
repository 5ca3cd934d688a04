"""Starts the services that are measured, each with its data in a fresh folder on disk, and tells what they consumed."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

READY_S = 60.0
STOP_S = 15.0
POLL_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class NotReady(Exception):
    """A service did not start."""


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str | Path], log: Path, **options: object) -> Iterator[int]:
    """Run a program in a process group of its own for the time of the context; yield its pid. Its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options)  # type: ignore[call-overload]
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                print(f"{command[0]} did not stop in {STOP_S} s; killed")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_ready(url: str, log: Path) -> None:
    """Wait until `url` answers 2xx. Raises NotReady with the log's end if it does not in time."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    raise NotReady(f"{url} not ready in {READY_S} s:\n{log.read_text(errors='replace')[-2000:]}")


@dataclass
class Use:
    """What a service's processes have consumed."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, int] = field(default_factory=dict)


def use_of(roots: list[int]) -> Use:
    """Return CPU seconds and peak resident MB, by program, of these processes and all below them."""
    use = Use()
    for pid in _with_children(roots):
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        key = f"{name}-{pid}"
        use.cpu_s[key] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        use.peak_mb[key] = next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return use


def _with_children(roots: list[int]) -> list[int]:
    found = list(roots)
    for pid in found:
        for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found += [int(child) for child in tasks.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
