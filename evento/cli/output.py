"""How the CLI speaks: results on stdout, everything else on stderr, and an exit code that a script can rely on.

Rich is imported when a table is drawn, not before: starting up should not be felt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from evento.errors import EventoError, NotReady, Overloaded, Unreachable

EXIT_REFUSED = 1  # Evento refused, or something is wrong
EXIT_USAGE = 2
EXIT_REJECTED = 3  # the business said no: a rejection event
EXIT_UNREACHABLE = 4  # no server, or one that is not ready: try again

WIDTH_OF_FILES = 200  # columns of a table that is not on a terminal

T = TypeVar("T")


class Form(StrEnum):
    """What results look like."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="text for people, json for programs")]
Url = Annotated[str | None, typer.Option("--url", help="address of the server [default: EVENTO_URL, else http://127.0.0.1:7070]")]

_HINTS = {
    "unreachable": "is Evento running? Start it with: evento dev (or say where it is: --url or EVENTO_URL)",
    "not-ready": "it is starting or stopping; try again in a moment",
    "overloaded": "it has as much work as it can hold; send again later, with the same id",
    "id-reused": "a command id stands for one Command for ever; use another one",
    "version-conflict": "somebody was faster; look at the instance again with: evento get",
    "payload-refused": "values are read as JSON if they are JSON; to force text, quote twice: note='\"42\"'",
    "build-refused": "what a project must have, and what the engine must: docs/how-to/build-a-function-image.md",
    "transfer-refused": "what an export holds and how it is read: docs/reference/export-format.md",
    "journal-incomplete": "begin again with an empty journal: docs/how-to/move-to-another-journal.md#if-an-import-is-interrupted",
    "journal-corrupt": "put right what is named (a topic, or a file from a backup) and start again: docs/how-to/watch-a-cluster.md",
    "journal-lost": "restore what is gone, and start again: docs/how-to/watch-a-cluster.md",
    "journal-refused": "what a cluster must have and allow: docs/how-to/run-on-an-existing-kafka-cluster.md",
    "journal-unreachable": "are brokers and security.protocol right? docs/how-to/run-on-an-existing-kafka-cluster.md",
    "journal-busy": "another Evento uses this data folder or this journal; stop it, or choose another with --data or --journal",
}


def show_json(value: Any) -> None:
    """Print a result for programs."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows for people; nothing in them is taken for markup."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_FILES
    console.print(table)


def compact(value: Any) -> str:
    """Return a value as JSON on one line."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def tell(message: str) -> None:
    """Say something that is not a result."""
    typer.echo(message, err=True)


def fail(error: EventoError) -> typer.Exit:
    """Tell an error with a hint, and return what to raise."""
    tell(f"error: {error.message}")
    for each in error.details.get("problems", ()):
        tell(f"  - {_problem(each)}")
    if hint := _HINTS.get(error.code):
        tell(f"hint: {hint}")
    return typer.Exit(EXIT_UNREACHABLE if isinstance(error, Unreachable | NotReady | Overloaded) else EXIT_REFUSED)


def run(work: Callable[[], Awaitable[T]], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> T:
    """Run asynchronous work to its end; an error of Evento's becomes a message and an exit code."""

    async def main() -> T:
        return await work()

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(main())
    except EventoError as error:
        raise fail(error) from error
    except ExceptionGroup as group:
        # Work in parallel fails in groups; one cause is what a person wants to read. Anything that is not ours is a bug, and shown.
        told, bugs = group.split(EventoError)
        if told is None or bugs is not None:
            raise
        first = _first(told)
        raise fail(first) from first
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(130) from interrupt


def _first(group: ExceptionGroup[EventoError]) -> EventoError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def _problem(problem: Any) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    place = f"{problem['file']}:{problem.get('line', '')}" if problem.get("file") else ""
    subject = ", ".join(str(problem[name]) for name in ("resource", "path") if problem.get(name))
    text = str(problem.get("message") or problem.get("rule") or problem)
    value = f" (got {problem['value']})" if problem.get("value") else ""
    return ": ".join(part for part in (place, subject, text + value) if part)
