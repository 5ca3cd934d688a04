"""Tells what machine a result is from, and what that machine did during a run: was the disk waited for, did others disturb?"""

import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from install import NODE, PEER_PYTHON, RESTATE_SERVER, ROOT
from processes import TICKS_PER_S, use_of

FSYNC_PROBE_S = 1.0
PAGE_BYTES = 4096
FLUSH_FIELD = 15  # of /sys/block/*/stat: flush requests completed (Documentation/block/stat.rst)


def describe(data: Path) -> dict[str, Any]:
    """Return processor, memory, system, file system, versions, and how long the disk takes to make 4 KiB durable."""
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kb / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "data_on": _output(["findmnt", "-no", "FSTYPE,SOURCE", "-T", str(data)]),
        "load_before": os.getloadavg()[0],
        "fdatasync_4k_ms": round(_fsync_ms(data), 3),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what is compared, as far as installed."""
    packages = "import importlib.metadata as m; print(*(m.version(p) for p in ('eventsourcing', 'restate-sdk', 'hypercorn')))"
    found = {
        "evento": _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "eventsourcing, restate-sdk (Python), hypercorn": _output([str(PEER_PYTHON), "-c", packages]),
        "sqlite of eventsourcing": sqlite3.sqlite_version,
        "restate-server": _output([str(RESTATE_SERVER), "--version"]),
        "node": _output(["node", "--version"]),
        "go": _output(["go", "env", "GOVERSION"]),
    }
    package = NODE / "node_modules/@restatedev/restate-sdk/package.json"
    if package.exists():
        found["restate-sdk (TypeScript)"] = package.read_text().partition('"version": "')[2].partition('"')[0]
    return {name: version for name, version in found.items() if version}


@contextmanager
def watched(data: Path, pids: list[int]) -> Iterator[dict[str, Any]]:
    """Note what the machine did during the context, in the dict that this yields.

    `flushes_per_s`: of the disk under `data`; who acknowledges without any is not durable. `others_cores`: how many cores were busy
    with what is neither the service with these pids nor a program that was run and ended: a disturbed run. `cpu_s` and `rss_mb`:
    CPU time and peak resident memory of each of the service's processes.
    """
    seen: dict[str, Any] = {}
    start, flushed, busy, ended, use = time.monotonic(), _flushes(data), _busy_s(), _ended_s(), use_of(pids)
    yield seen
    elapsed, after = time.monotonic() - start, use_of(pids)
    cpu_s = {name: seconds - use.cpu_s.get(name, 0) for name, seconds in after.cpu_s.items()}
    others = _busy_s() - busy - (_ended_s() - ended) - sum(cpu_s.values())
    seen["flushes_per_s"] = round((_flushes(data) - flushed) / elapsed, 1)
    seen["others_cores"] = round(max(0.0, others) / elapsed, 2)
    if pids:
        seen |= {"cpu_s": cpu_s, "rss_mb": after.peak_mb}


def _flushes(data: Path) -> int:
    """Return how many flushes the disk under `data` has completed since boot; 0 where the system does not tell."""
    device = os.stat(data).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not stat.exists():
        return 0
    fields = stat.read_text().split()
    return int(fields[FLUSH_FIELD]) if len(fields) > FLUSH_FIELD else 0


def _busy_s() -> float:
    """Return the seconds that all cores together have worked, stolen time included, idle and waiting for the disk not."""
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(field) for field in Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def _ended_s() -> float:
    ended, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime + ended.ru_stime + own.ru_utime + own.ru_stime


def _fsync_ms(data: Path) -> float:
    taken = []
    probe = data / "fsync-probe"
    with probe.open("wb", buffering=0) as file:
        end = time.perf_counter() + FSYNC_PROBE_S
        while (start := time.perf_counter()) < end:
            file.write(bytes(PAGE_BYTES))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    probe.unlink()
    return statistics.median(taken) * 1e3


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _output(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
