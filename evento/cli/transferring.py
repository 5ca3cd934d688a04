"""`evento export` and `evento import`: the journal of a stopped platform as files, and files as the journal of a new one."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evento.cli.output import Form, Output, run, show_json, tell
from evento.cli.running import Journal, settings_of

if TYPE_CHECKING:
    from evento.settings import Settings

EXPORT_EXAMPLE = "Example: evento export ./moving --data /var/lib/evento"
IMPORT_EXAMPLE = """Examples:

evento import ./moving --data /srv/evento

evento import ./moving --journal 'kafka://broker1:9092' --data /srv/evento
"""

Data = Annotated[
    str | None, typer.Option(help="the data folder, of a platform that is not running [default: EVENTO_DATA, else ./data]")
]
Work = Callable[["Settings", Path, Callable[[str, int, int | None], None]], Awaitable[Mapping[str, int]]]


def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="a folder that is new or empty")],
    *,
    data: Data = None,
    journal: Journal = None,
    output: Output = Form.TEXT,
) -> None:
    """Write everything that a journal holds into a folder of Avro files, for another journal to import."""
    from evento import bootstrap

    counts = _run(
        folder,
        settings_of(data=data, journal=journal),
        lambda settings, path, progress: bootstrap.export_data(settings, path, progress=progress),
    )
    _show(counts, output)


def import_(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="a folder that evento export has written")],
    *,
    data: Data = None,
    journal: Journal = None,
    output: Output = Form.TEXT,
) -> None:
    """Check an export as a whole, then make it the journal of a new platform."""
    from evento import bootstrap

    counts = _run(
        folder,
        settings_of(data=data, journal=journal),
        lambda settings, path, progress: bootstrap.import_data(settings, path, progress=progress),
    )
    _show(counts, output)
    tell("start it, deploy your functions from where they are now, and let evento verify read it")


def _run(folder: str, settings: "Settings", work: Work) -> Mapping[str, int]:
    with _Bar() as progress:
        return run(lambda: work(settings, Path(folder), progress))


def _show(counts: Mapping[str, int], output: Form) -> None:
    if output is Form.JSON:
        show_json(counts)
    else:
        for name, count in counts.items():
            typer.echo(f"{name}: {count}")


class _Bar:
    """A bar on stderr, if that is a terminal; a stage follows the other on the same line."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self._bar.update(self._task, description=stage, completed=done, total=total)
