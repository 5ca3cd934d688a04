"""How long a thread waits, by the machine's own count of seconds, which nobody sets.

For threads only: tasks wait by the event loop.
"""

import time
from pathlib import Path
from threading import Event


class Patience:
    """So many seconds from now on."""

    def __init__(self, limit_s: float) -> None:
        self._end_s = time.monotonic() + limit_s

    @property
    def left_s(self) -> float:
        """Return what is left of it, not below 0."""
        return max(0.0, self._end_s - time.monotonic())

    @property
    def over_s(self) -> float:
        """Return for how long nothing has been left of it."""
        return max(0.0, time.monotonic() - self._end_s)

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left."""
        return time.monotonic() >= self._end_s

    def pause(self, delay_s: float) -> None:
        """Wait a moment, not longer than what is left."""
        Event().wait(min(delay_s, self.left_s))


def age_s(path: Path) -> float:
    """Return how long ago a file was written, as far as the clocks can be believed; 0 if there is none."""
    return max(0.0, time.time() - path.stat().st_mtime) if path.exists() else 0.0
