"""How many replicas a function wants, and which of them are to be ended. Pure: the time is a parameter."""

from collections.abc import Sequence
from math import ceil
from typing import Protocol

from evento.model.resources import Scale


class Loaded(Protocol):
    """A replica with `calls` under way; without any since `idle_since_s`."""

    calls: int
    idle_since_s: float


def wanted(scale: Scale, calls: int) -> int:
    """Return how many replicas so many calls, under way and waiting, are worth."""
    return min(max(ceil(calls / scale.concurrency), scale.least), scale.most)


def idle(scale: Scale, replicas: Sequence[Loaded], now_s: float) -> list[int]:
    """Return the places of those replicas that have been without a call for long enough, the last ones first, down to the least."""
    spare = len(replicas) - scale.least
    places = [
        place
        for place, replica in reversed(list(enumerate(replicas)))
        if not replica.calls and now_s - replica.idle_since_s >= scale.idle_s
    ]
    return places[: max(0, spare)]
