"""`evento dev`, `evento serve` and `evento verify`: a platform in this process, or the audit of one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evento.cli.connection import ask
from evento.cli.output import EXIT_REFUSED, Form, Output, Url, fail, run, show_json, tell

if TYPE_CHECKING:
    from evento.settings import Settings

DEV_EXAMPLE = "Example: evento dev examples/bank"
SERVE_EXAMPLE = """Examples:

evento serve --data /var/lib/evento --host 0.0.0.0

evento serve --journal 'kafka://broker1:9092,broker2:9092?prefix=acme.' --data /var/lib/evento
"""
VERIFY_EXAMPLE = """Examples:

evento verify

evento verify --data ./data

evento verify --journal 'kafka://broker1:9092?prefix=acme.'
"""

# Whoever tries something out has the other half of it on the same machine.
_DEV_DEFAULTS = {"function_addresses": "public private loopback"}

Data = Annotated[str | None, typer.Option(help="the data folder [default: EVENTO_DATA, else ./data]")]
Journal = Annotated[
    str | None, typer.Option(help="where everything is kept: sqlite, or kafka://… [default: EVENTO_JOURNAL, else sqlite]")
]
Host = Annotated[str | None, typer.Option(help="the address to listen at [default: EVENTO_HOST, else 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="the port to listen at [default: EVENTO_PORT, else 7070]")]


def dev(
    paths: Annotated[list[str] | None, typer.Argument(help="manifest files, folders of them, Python modules [default: .]")] = None,
    data: Data = None,
    journal: Journal = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Start a platform here, deploy what is at PATHS, and deploy again whenever it changes."""
    sources = tuple(paths or (".",))
    settings = settings_of(_DEV_DEFAULTS, data=data, journal=journal, host=host, port=port)
    _start(settings, sources, watch=True)


def serve(data: Data = None, journal: Journal = None, host: Host = None, port: Port = None) -> None:
    """Start a platform with what was deployed to its journal before."""
    _start(settings_of(data=data, journal=journal, host=host, port=port), (), watch=False)


def verify(
    data: Annotated[str | None, typer.Option(help="check this data folder, of a platform that is not running")] = None,
    journal: Annotated[
        str | None, typer.Option(help="check this journal, with no node running; --data is then for replicas")
    ] = None,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Fold everything again from the events, and report every difference: checksums, versions, states, outcomes."""
    running = data is None and journal is None
    found = ask(url, lambda client: client.verify()) if running else _verify_offline(data, journal)
    differences, stale = found["differences"], found.get("stale", 0)  # a node of an earlier version does not count them
    if output is Form.JSON:
        show_json({"ok": not differences, "differences": differences, "stale": stale})
    else:
        for difference in differences:
            typer.echo(difference)
        if stale:
            tell(f"{stale} states are of an earlier apply or schema: they are shown to nobody, and not compared with their events")
        tell(f"{len(differences)} differences" if differences else "everything agrees")
    if differences:
        raise typer.Exit(EXIT_REFUSED)


def settings_of(defaults: Mapping[str, str] | None = None, **given: Any) -> "Settings":
    """Return the settings: what was given on the command line over the rest; what is wrong with them ends the program."""
    from evento.errors import SettingsError
    from evento.settings import read_settings

    try:
        return read_settings(defaults=defaults, **given)
    except SettingsError as error:
        raise fail(error) from error


def _start(settings: "Settings", sources: tuple[str, ...], *, watch: bool) -> None:
    import uvloop

    from evento import bootstrap

    run(lambda: bootstrap.run(settings, sources=sources, watch=watch), loop_factory=uvloop.new_event_loop)


def _verify_offline(data: str | None, journal: str | None) -> dict[str, Any]:
    from evento import bootstrap

    settings = settings_of(data=data, journal=journal)
    verdict = run(lambda: bootstrap.verify(settings))
    return {"differences": list(verdict.differences), "stale": verdict.stale}
