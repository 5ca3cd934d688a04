"""Command ids for those who send none: UUIDv7 (RFC 9562), in order also within a millisecond. Knows no clock: the time is given."""

import os

_BATCH = 512  # ids whose random bits are drawn from the system at once
_TAIL_BYTES = 8


class CommandIds:
    """Makes command ids; each is greater than the one before, as text too."""

    def __init__(self) -> None:
        self._last = 0
        self._pool = b""
        self._at = 0

    def next(self, now_us: int) -> str:
        """Return a new UUIDv7 for this time: 48 bits of milliseconds, 12 of their fraction (or counted up), 62 random ones."""
        millis, micros = divmod(now_us, 1000)
        tick = max((millis << 12) | (micros << 12) // 1000, self._last + 1)
        self._last = tick
        if self._at >= len(self._pool):
            self._pool, self._at = os.urandom(_BATCH * _TAIL_BYTES), 0
        tail = int.from_bytes(self._pool[self._at : self._at + _TAIL_BYTES]) >> 2
        self._at += _TAIL_BYTES
        number = ((tick >> 12) << 80) | 0x7000_0000_0000_0000_0000 | ((tick & 0xFFF) << 64) | 0x8000_0000_0000_0000 | tail
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
