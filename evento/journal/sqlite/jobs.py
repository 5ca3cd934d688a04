"""Handing work to a thread of one's own and its results back to the event loop: many at once, in order. Knows no SQL."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from msgspec import Struct

from evento.model.transition import Transition

RUNS_PER_COMMIT = 8_000  # a commit takes no further transition beyond so many runs
JOBS_PER_COMMIT = 4_000


Commit = Callable[[Sequence[Transition]], Sequence[object]]  # makes transitions durable together; what became of each


class Append(Struct, frozen=True):
    """A transition to be made durable by `commit`, with those behind it that name the same."""

    transition: Transition
    commit: Commit
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


def take(jobs: Jobs, timeout_s: float | None) -> list[Job]:
    """Wait for a job and return it with what is queued behind it, up to a good commit's worth; nothing if none came in time."""
    taken: list[Job] = []
    runs = 0
    with suppress(Empty):
        job = jobs.get(timeout=timeout_s)
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
