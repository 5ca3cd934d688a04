"""What a local function writes, line by line into the log under the function's name. It is always drained, and never trusted.

Lines are bounded in length and in number per second, and control characters are shown, not obeyed.
"""

import asyncio
import logging
from collections import deque

LINE_BYTES_MAX = 4096
LINES_PER_S_MAX = 200
_TAIL_LINES = 5
_TAIL_CHARS_MAX = 600


class Output:
    """The output of one process. `tail` keeps its last lines for the message when it fails."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._rest = b""
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._second = 0
        self._lines = 0
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take what was written, in pieces of any size."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._rest) > LINE_BYTES_MAX:
            self._line(self._rest)
            self._rest = b""

    def finish(self) -> None:
        """Take what was written last, though no line end follows."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""
        self._tell_dropped()

    def tail(self) -> str:
        """Return the last lines, or "" if there are none."""
        return " | ".join([_shown(line).strip() for line in self._tail if line.strip(b" ^~\r")])[-_TAIL_CHARS_MAX:]

    def _line(self, line: bytes) -> None:
        line = line[:LINE_BYTES_MAX]
        self._tail.append(line)
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._tell_dropped()
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= LINES_PER_S_MAX:
            self._logger.info("%s", _shown(line))
        else:
            self._dropped += 1

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._logger.warning("%d lines were dropped: more than %d in a second", self._dropped, LINES_PER_S_MAX)
            self._dropped = 0


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace").rstrip("\r")
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text])
