"""A file of Commands sent in one stream, with a progress bar on stderr and the tally at the end."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import typer

from evento.cli.connection import ask
from evento.cli.output import EXIT_REFUSED, Form, compact, fail, tell
from evento.client import Client
from evento.errors import EventoError, InvalidRequest, Unreachable

BLOCK_BYTES = 64 * 1024
ERRORS_SHOWN_MAX = 10
_KINDS = ("succeeded", "rejected", "pending", "parked", "failed")


class Tally:
    """Counts what became of the Commands; duplicates are counted beside."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.duplicates = 0

    def add(self, answer: dict[str, Any] | EventoError) -> None:
        """Count one answer, and tell of the first errors."""
        if isinstance(answer, EventoError):
            self.kinds["failed"] += 1
            if self.kinds["failed"] <= ERRORS_SHOWN_MAX:
                tell(f"line {answer.details.get('line', '?')}: {answer.message}")
            return
        self.kinds[answer["outcome"]] += 1
        self.duplicates += bool(answer["duplicate"])

    @property
    def total(self) -> int:
        """Return how many answers came."""
        return self.kinds.total()

    def __str__(self) -> str:
        parts = [f"{self.kinds[kind]} {kind}" for kind in _KINDS if self.kinds[kind] or kind in ("succeeded", "rejected", "failed")]
        return f"{self.total} Commands: {', '.join(parts)}; {self.duplicates} duplicates"


def send_file(name: str, *, url: str | None, wait_s: int | None, output: Form) -> None:
    """Send every line of an NDJSON file (`-`: stdin). With json output each answer is a line on stdout."""
    tally = Tally()
    with ExitStack() as stack:
        source = _opened(name, stack)
        advance = stack.enter_context(_Progress(None if name == "-" else _count_lines(name)))

        async def work(client: Client) -> None:
            async for answer in client.send_many(_blocks(source), wait_s=wait_s):
                tally.add(answer)
                advance(tally)
                if output is Form.JSON:
                    typer.echo(compact(_shown(answer)))

        try:
            ask(url, work)
        except typer.Exit as ended:
            if tally.total and isinstance(ended.__cause__, Unreachable):
                tell(f"{tally}; Commands with an id can be sent again: what was executed comes back as a duplicate")
            raise
    tell(str(tally))
    if tally.kinds["failed"]:
        raise typer.Exit(EXIT_REFUSED)


class _Progress:
    """A bar on stderr, if that is a terminal; it is drawn ten times a second, whatever the rate."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        rate, tally = TextColumn("{task.fields[rate]}/s"), TextColumn("{task.fields[tally]}")
        columns = (BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn(), tally)
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, rate="0", tally="")

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, tally: Tally) -> None:
        if not self._bar.disable and tally.total % 100 == 0:
            rate = f"{self._bar.tasks[0].speed or 0:,.0f}"
            text = f"{tally.kinds['rejected']} rejected, {tally.duplicates} duplicates, {tally.kinds['failed']} failed"
            self._bar.update(self._task, completed=tally.total, rate=rate, tally=text)


def _opened(name: str, stack: ExitStack) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return stack.enter_context(Path(name).open("rb"))
    except OSError as error:
        raise fail(InvalidRequest(f"cannot read {name}: {error.strerror}")) from error


def _count_lines(name: str) -> int:
    with Path(name).open("rb") as source:
        return sum(block.count(b"\n") for block in iter(lambda: source.read(BLOCK_BYTES), b""))


async def _blocks(source: IO[bytes]) -> AsyncIterator[bytes]:
    # read1 returns what is there: lines from a pipe are sent as they come, and waiting for them holds up nothing.
    read = getattr(source, "read1", source.read)
    while block := await asyncio.to_thread(read, BLOCK_BYTES):
        yield block


def _shown(answer: dict[str, Any] | EventoError) -> dict[str, Any]:
    if isinstance(answer, EventoError):
        return {"outcome": "failed", "code": answer.code, "detail": answer.message, **answer.details}
    return answer
