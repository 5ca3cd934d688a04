"""Tells what machine a result is from, and counts what its disk was asked for: the proof that a peer waits for it."""

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from install import NODE, PEER_PYTHON, RESTATE_SERVER, ROOT

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


def flushes(data: Path) -> int:
    """Return how many flushes the disk under `data` has completed since boot; 0 where the system does not tell."""
    device = os.stat(data).st_dev
    stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not stat.exists():
        return 0
    fields = stat.read_text().split()
    return int(fields[FLUSH_FIELD]) if len(fields) > FLUSH_FIELD else 0


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
