"""Command ids for those who send none: UUIDv7 (RFC 9562), in order also within a millisecond. Knows no clock: the time is given."""

import os

_BATCH = 512  # ids whose random bits are drawn from the system at once
_TAIL_BYTES = 8
_COUNTS = tuple(f"{count:03x}-" for count in range(4096))
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}  # two of the four bits are random


class CommandIds:
    """Makes command ids; each is greater than the one before, as text too."""

    def __init__(self) -> None:
        self._time_us = -1  # for which the last id was asked
        self._millis = -1
        self._count = len(_COUNTS) - 1  # within the millisecond: its 4096ths, or counted up
        self._head = ""
        self._tails: list[str] = []

    def next(self, now_us: int) -> str:
        """Return a new UUIDv7 for this time: 48 bits of milliseconds, 12 of their fraction (or counted up), 62 random ones."""
        count = self._count + 1
        if now_us != self._time_us or count == len(_COUNTS):
            count = self._begin(now_us)
        self._count = count
        if not self._tails:
            self._tails = _tails()
        return self._head + _COUNTS[count] + self._tails.pop()

    def _begin(self, now_us: int) -> int:
        """Return the first count for another time or millisecond: its fraction, unless an id before went that far."""
        self._time_us = now_us
        tick = max((now_us << 12) // 1000, (self._millis << 12) + self._count + 1)
        if tick >> 12 != self._millis:
            self._millis = tick >> 12
            text = f"{self._millis:012x}"
            self._head = f"{text[:8]}-{text[8:]}-7"
        return tick & 0xFFF


def _tails() -> list[str]:
    digits = os.urandom(_BATCH * _TAIL_BYTES).hex()
    size = 2 * _TAIL_BYTES
    return [f"{_VARIANT[digits[at]]}{digits[at + 1 : at + 4]}-{digits[at + 4 : at + size]}" for at in range(0, len(digits), size)]
