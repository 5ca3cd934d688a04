"""The one module that may ask for the time. Everything else takes a Clock; simulation brings its own."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, loop time for waiting."""

    def now_us(self) -> int:
        """Return the wall time in microseconds since the Unix epoch, UTC."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
