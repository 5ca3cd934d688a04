"""The circuit breaker of one function. Pure: the time is a parameter.

It opens when calls fail as a whole, not when single instances do: those are the business of their own retries.
"""

from collections import deque

CALLS_SEEN_MAX = 20
FAILED_SHARE_MAX = 0.5
PROBE_FIRST_S = 0.5
PROBE_FACTOR = 2.0
PROBE_CAP_S = 10.0


class Breaker:
    """Closed at first: all calls are allowed. Open: calls are allowed again when the time of the next probe has come.

    The first failure after that time puts the next probe off, further each time; a call that works closes the breaker.
    """

    def __init__(self) -> None:
        self._calls: deque[bool] = deque(maxlen=CALLS_SEEN_MAX)
        self._delay_s = PROBE_FIRST_S
        self._open = False
        self._next_probe_s = 0.0

    @property
    def is_open(self) -> bool:
        """Return whether calls are held back until `next_probe_s`."""
        return self._open

    @property
    def next_probe_s(self) -> float:
        """Return from when on a call is allowed, on the scale of `now_s`; 0 while the breaker is closed."""
        return self._next_probe_s

    def allows(self, now_s: float) -> bool:
        """Return whether a call may be made now."""
        return now_s >= self._next_probe_s

    def record(self, ok: bool, now_s: float, *, unavailable: bool = False) -> None:
        """Take note of how a call ended: well, failed as a whole, or the function could not be reached, which opens at once."""
        self._calls.append(ok)
        if ok:
            self._close()
        elif not self._open:
            if unavailable or self._failing():
                self._open, self._next_probe_s = True, now_s + self._delay_s
        elif now_s >= self._next_probe_s:  # before that, it is a call made before the breaker opened, and says nothing new
            self._delay_s = min(self._delay_s * PROBE_FACTOR, PROBE_CAP_S)
            self._next_probe_s = now_s + self._delay_s

    def _close(self) -> None:
        if self._open:
            self._calls.clear()
            self._delay_s, self._open, self._next_probe_s = PROBE_FIRST_S, False, 0.0

    def _failing(self) -> bool:
        full = len(self._calls) == CALLS_SEEN_MAX
        return full and self._calls.count(False) >= FAILED_SHARE_MAX * CALLS_SEEN_MAX
