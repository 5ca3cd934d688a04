"""Calls of the client library that do not come back: found by a thread of its own, which then ends the process.

Each call is given a time by whoever makes it. But the library has waited for ever, whatever time it was given; and a thread that is
in its C code cannot be called back. It holds the partition's replica, so no other thread can take its place. What is left is to
say so and to end: others get the partitions at once, and nothing that was told is lost.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException

STUCK_TICKS = 60  # seconds, above everything that a call is given; counted, so that a process that stood still is not taken for one
TICK_S = 1.0
EXIT_STUCK = 70  # EX_SOFTWARE: whoever started the process starts it again
_log = logging.getLogger(__name__)


_under_way: "set[ClientCall]" = set()  # of all threads of the process


class ClientCall:
    """One call of the client library, for as long as its context lasts. Made anew for each."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        """`what` is for a person to read."""
        self.what = what

    def __enter__(self) -> Self:
        _under_way.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _under_way.discard(self)
        if isinstance(error, SystemError):
            # The client raises a fatal error while it calls back; a line for its log that is next then fails, and only this is told
            # (confluent-kafka 2.16.1): "... returned a result with an exception set".
            raise KafkaException(KafkaError(KafkaError._FATAL, f"the client library failed: {error}", True)) from error


@contextmanager
def watched(leave: Callable[[], None]) -> Iterator[None]:
    """End the process if a call hangs in the time of the context; `leave` gives up before what can be given up, and soon."""
    stopping = Event()
    thread = Thread(target=_watch, args=(stopping, leave), name="journal-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()


def _watch(stopping: Event, leave: Callable[[], None]) -> None:
    ticks: dict[ClientCall, int] = {}
    while not stopping.wait(TICK_S):
        ticks = {call: ticks.get(call, 0) + 1 for call in _under_way.copy()}
        stuck = [call.what for call, count in ticks.items() if count > STUCK_TICKS]
        if stuck:
            _log.critical(
                "the Kafka client hangs in a call that was given less than %d s: %s. This process ends, so that other nodes get "
                "its partitions; whatever was told is durable",
                *(STUCK_TICKS, "; ".join(stuck)),
            )
            leave()
            logging.shutdown()
            os._exit(EXIT_STUCK)
