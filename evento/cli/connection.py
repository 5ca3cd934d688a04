"""The CLI's way to a running platform: one client for one invocation."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from evento.cli.output import run

if TYPE_CHECKING:
    from evento.client import Client

T = TypeVar("T")


def ask(url: str | None, question: "Callable[[Client], Awaitable[T]]") -> T:
    """Connect, ask, and return the answer; errors become messages and exit codes."""
    from evento.client import Client
    from evento.settings import read_url

    async def work() -> T:
        async with Client(url or read_url()) as client:
            return await question(client)

    return run(work)
