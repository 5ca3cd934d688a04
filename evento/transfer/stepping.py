"""Long blocking work in steps on a thread: the event loop goes on between them, and so does whoever wants to stop it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


# Hears how far a stage is: its name, how many records are done, and of how many (None: nobody knows yet).
Progress = Callable[[str, int, int | None], None]


def silent(stage: str, done: int, total: int | None) -> None:
    """Tell nobody."""


async def stepped(work: Iterator[T]) -> AsyncIterator[T]:
    """Yield what the iterator yields; each of its steps is made on a thread."""
    end = object()
    while (step := await asyncio.to_thread(next, work, end)) is not end:
        yield step  # type: ignore[misc]  # it is no end, so it is a T
