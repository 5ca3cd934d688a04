"""Calls that may never come back, each made on a thread that can be left behind.

librdkafka's calls of a transaction have not come back while a coordinator was away, whatever time they were given (its issues 5456
and 5511). A thread that is in one cannot be called back. What it was about is given up: its producer is dropped, and fenced later.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread


class LeftBehind(Exception):
    """A call has not come back in time. The thread is still in it."""


class Aside:
    """The thread. It begins with the first call, and is of no use any more once it was left behind."""

    def __init__(self, name: str) -> None:
        self._asked: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._told: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = Thread(target=_work, args=(self._asked, self._told), name=name, daemon=True)

    def call(self, function: Callable[[], object], limit_s: float) -> None:
        """Call, and raise what is raised; LeftBehind if that lasts longer than `limit_s`. One call at a time."""
        if self._thread.ident is None:
            self._thread.start()
        self._asked.put(function)
        try:
            problem = self._told.get(timeout=limit_s)
        except Empty:
            self.end()  # should it come back after all
            raise LeftBehind from None
        if problem is not None:
            raise problem

    def end(self) -> None:
        """Let the thread end once it has nothing to do."""
        self._asked.put(None)


def _work(asked: SimpleQueue[Callable[[], object] | None], told: SimpleQueue[BaseException | None]) -> None:
    while (function := asked.get()) is not None:
        problem: BaseException | None = None
        try:
            function()
        except BaseException as error:  # noqa: BLE001  whoever asked hears it
            problem = error
        del function  # what it holds must not live until the next call
        told.put(problem)
