"""Handing work to a thread of one's own and its results back to the event loop: many at once, in order. Knows no SQL."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from msgspec import Struct

from evento.model.transition import Transition

RUNS_PER_COMMIT = 8_000  # a commit takes no further transition beyond so many runs
JOBS_PER_COMMIT = 4_000


class Committer(Protocol):
    """Makes transitions durable. Both are called on the thread."""

    def await_turn(self) -> None:
        """Return when a commit may begin: what is appended until then goes into it, too."""
        ...

    def commit(self, transitions: Sequence[Transition]) -> Sequence[object]:
        """Make transitions durable together, and return what became of each."""
        ...


class Append(Struct, frozen=True):
    """A transition to be made durable by `committer`, with those behind it that name the same."""

    transition: Transition
    committer: Committer
    future: asyncio.Future[Any]


class Call(Struct, frozen=True):
    """A function to be called on the thread."""

    function: Callable[[], object]
    future: asyncio.Future[Any]


class Stop(Struct, frozen=True):
    """The end of the thread."""


Job = Append | Call | Stop
Jobs = SimpleQueue[Job]
Answer = tuple[asyncio.Future[Any], object]


def _go_on(_: Job) -> None:
    """Wait for nothing."""


def take(jobs: Jobs, timeout_s: float | None, ready: Callable[[Job], None] = _go_on) -> list[Job]:
    """Wait for a job and return it with what is queued behind it, up to a good commit's worth; nothing if none came in time.

    What comes while `ready` is called with the first is queued behind it.
    """
    taken: list[Job] = []
    runs = 0
    with suppress(Empty):
        job = jobs.get(timeout=timeout_s)
        ready(job)
        while True:
            taken.append(job)
            runs += len(job.transition.runs) if isinstance(job, Append) else 0
            if runs >= RUNS_PER_COMMIT or len(taken) >= JOBS_PER_COMMIT:
                break
            job = jobs.get_nowait()
    return taken


def answer(answers: Sequence[Answer]) -> None:
    """Give results (an exception is one, too) to whoever waits for them, with one wake-up of the loop."""
    if answers:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            answers[0][0].get_loop().call_soon_threadsafe(_settle, answers)


def _settle(answers: Sequence[Answer]) -> None:
    for future, result in answers:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
