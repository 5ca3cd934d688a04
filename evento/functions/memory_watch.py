"""Whether the kernel ended a container for its memory, asked of the kernel: engines do not always notice.

With cgroups v1 the kernel tells whoever asked for it before, and may; with cgroups v2 engines look at the kernel's own count, and
are believed. It knows no engine.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup/memory")
_CONTROL = "memory.oom_control"
_REGISTER = "cgroup.event_control"


class MemoryWatch:
    """A watch over the cgroup of one container. Its methods read and write files of the kernel: not for the event loop."""

    def __init__(self, folder: Path, events: int) -> None:
        self._folder = folder
        self._events: int | None = events
        self._heard = 0
        self._lock = threading.Lock()  # a number that was closed may be another file's already

    def acted(self) -> bool:
        """Return whether the kernel has killed for memory in there; to be asked again a moment later if not, when all has ended."""
        there = self._folder.exists()
        with self._lock, suppress(BlockingIOError):
            self._heard += 0 if self._events is None else os.eventfd_read(self._events)
        # The end of the cgroup is one event, too.
        return self._heard > (0 if there else 1)

    def close(self) -> None:
        """Watch no longer."""
        with self._lock:
            if self._events is not None:
                os.close(self._events)
            self._events = None


def watch_memory(pid: int, container_id: str, *, mount: Path = _MOUNT, proc: Path = Path("/proc")) -> MemoryWatch | None:
    """Watch the memory of the container whose first process this is; None if that cannot be done here."""
    try:
        folder = _folder(pid, container_id, mount, proc)
        if folder is None:
            return None
        events = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with (folder / _CONTROL).open("rb") as control:
                (folder / _REGISTER).write_text(f"{events} {control.fileno()}")
        except OSError:
            os.close(events)
            raise
    except (OSError, AttributeError):  # no such file, no right; not Linux
        return None
    return MemoryWatch(folder, events)


def _folder(pid: int, container_id: str, mount: Path, proc: Path) -> Path | None:
    """Return the folder of a process's memory, if it is the container's own: numbers of processes are used again."""
    for line in (proc / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") and container_id and container_id in path:
            return mount / path.lstrip("/")
    return None
