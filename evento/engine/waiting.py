"""How long who sent a Command waits for its end: one timer for all whose time is up within the same tenth of a second.

Knows of a Command only its worker and ticket.
"""

import asyncio
import math
from collections.abc import Callable

from evento.engine.ticket import Answer, Ticket, Waiter
from evento.engine.worker import Worker

_SHARED_FROM_S = 1.0  # who waits for less gets a timer of their own, and so waits no longer than asked
_PER_S = 10  # shared timers


class Waiting:
    """One who waits, between the worker and the waiter behind; keeps nothing once the answer is told."""

    __slots__ = ("_among", "_final", "_timer", "_waiter")

    def __init__(self, waiter: Waiter, final: Callable[[Answer], Answer]) -> None:
        self._waiter = waiter
        self._final = final
        self._among: dict[Waiting, tuple[Worker, Ticket]] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer and tell it on."""
        self.stop()
        self._waiter.tell(place, self._final(answer))

    def stop(self) -> None:
        """Forget how long this one wanted to wait."""
        if self._among is not None:
            self._among.pop(self, None)
            self._among = None
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def share(self, among: "dict[Waiting, tuple[Worker, Ticket]]", worker: Worker, ticket: Ticket) -> None:
        """Wait for as long as all of `among`."""
        self._among = among
        among[self] = worker, ticket

    def wait_alone(self, wait_s: float, worker: Worker, ticket: Ticket) -> None:
        """Wait for `wait_s` seconds."""
        self._timer = asyncio.get_running_loop().call_later(wait_s, worker.hurry, ticket, self)


class Patience:
    """Makes eager whose time is up: an unfinished Command is then answered as pending, once it is durable."""

    def __init__(self) -> None:
        self._shared: dict[int, dict[Waiting, tuple[Worker, Ticket]]] = {}

    def limit(self, waiting: Waiting, worker: Worker, ticket: Ticket, *, wait_s: float) -> None:
        """Let `waiting` be patient for `wait_s` seconds from now, and if they are a second or more for up to a tenth longer."""
        if wait_s >= _SHARED_FROM_S:
            loop = asyncio.get_running_loop()
            slot = math.ceil((loop.time() + wait_s) * _PER_S)
            shared = self._shared.get(slot)
            if shared is None:
                shared = self._shared[slot] = {}
                loop.call_at(slot / _PER_S, self._time_is_up, slot)
            waiting.share(shared, worker, ticket)
        elif wait_s > 0:
            waiting.wait_alone(wait_s, worker, ticket)
        else:
            worker.hurry(ticket, waiting)

    def _time_is_up(self, slot: int) -> None:
        for waiting, (worker, ticket) in list(self._shared.pop(slot).items()):
            worker.hurry(ticket, waiting)
