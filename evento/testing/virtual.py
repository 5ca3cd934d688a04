"""An event loop on virtual time: waiting costs nothing, and the same seed gives the same run.

When nothing is ready the clock jumps to the next timer. Real I/O is not for this loop: there is no time in which it could happen.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_START_US = 1_700_000_000_000_000


_STEPS_MAX = 1_000_000  # rounds of the loop; a history that needs more goes round in circles


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, or time goes on and on without an end: whoever waits, waits for ever."""


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting, let the loop's time jump by as much."""

    loop: "VirtualLoop"
    steps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.steps += 1
        if self.steps > _STEPS_MAX:
            self.steps = 0  # what is cancelled now has time to end
            raise Deadlock(f"no end after {_STEPS_MAX} steps")
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("nothing is ready and no timer is set")
        self.loop.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now_s


class VirtualClock:
    """Evento's clock on virtual time; `skew_us` plays a wall clock that is set."""

    def __init__(self) -> None:
        self.skew_us = 0

    def now_us(self) -> int:
        """Return the virtual wall time in microseconds."""
        return _START_US + int(asyncio.get_running_loop().time() * 1_000_000) + self.skew_us

    async def sleep(self, delay_s: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(delay_s)


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end on a fresh virtual loop. Raises Deadlock if it can never end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
