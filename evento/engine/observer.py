"""What a worker tells of its doings, for whoever counts."""

from collections.abc import Sequence

from evento.lifecycle.run import Progress
from evento.model.command import Turn


class Observer:
    """Hears what a worker does; telemetry overrides what it wants to hear."""

    def committed(self, turns: Sequence[Turn], commit_s: float, now_us: int) -> None:
        """Hear that these turns are durable, after a commit that took so long, and that those who wait are being told."""

    def failed(self, run: Progress) -> None:
        """Hear that a turn failed, and is to be tried again or parked."""
