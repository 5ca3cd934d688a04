"""`evento dev`, `evento serve` and `evento verify`: a platform in this process, or the audit of one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from evento.cli.connection import ask
from evento.cli.output import EXIT_REFUSED, Form, Output, Url, fail, run, show_json, tell

if TYPE_CHECKING:
    from evento.settings import Settings

DEV_EXAMPLE = "Example: evento dev examples/bank"
SERVE_EXAMPLE = "Example: evento serve --data /var/lib/evento --host 0.0.0.0"
VERIFY_EXAMPLE = """Examples:

evento verify

evento verify --data ./data
"""

# Whoever tries something out has the other half of it on the same machine.
_DEV_DEFAULTS = {"function_addresses": "public private loopback"}

Data = Annotated[str | None, typer.Option(help="the data folder [default: EVENTO_DATA, else ./data]")]
Host = Annotated[str | None, typer.Option(help="the address to listen at [default: EVENTO_HOST, else 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="the port to listen at [default: EVENTO_PORT, else 7070]")]


def dev(
    paths: Annotated[list[str] | None, typer.Argument(help="manifest files, folders of them, Python modules [default: .]")] = None,
    data: Data = None,
    host: Host = None,
    port: Port = None,
) -> None:
    """Start a platform here, deploy what is at PATHS, and deploy again whenever it changes."""
    sources = tuple(paths or (".",))
    settings = _settings(_DEV_DEFAULTS, data=data, host=host, port=port)
    _start(settings, sources, watch=True)


def serve(data: Data = None, host: Host = None, port: Port = None) -> None:
    """Start a platform with what was deployed to its data folder before."""
    _start(_settings(data=data, host=host, port=port), (), watch=False)


def verify(
    data: Annotated[str | None, typer.Option(help="check this data folder, of a platform that is not running")] = None,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Fold everything again from the events, and report every difference: checksums, versions, states, outcomes."""
    differences = ask(url, lambda client: client.verify())["differences"] if data is None else _verify_offline(data)
    if output is Form.JSON:
        show_json({"ok": not differences, "differences": differences})
    else:
        for difference in differences:
            typer.echo(difference)
        tell(f"{len(differences)} differences" if differences else "everything agrees")
    if differences:
        raise typer.Exit(EXIT_REFUSED)


def _settings(
    defaults: Mapping[str, str] | None = None, *, data: str | None = None, host: str | None = None, port: int | None = None
) -> "Settings":
    from evento.errors import SettingsError
    from evento.settings import read_settings

    try:
        return read_settings(defaults=defaults, data=data, host=host, port=port)
    except SettingsError as error:
        raise fail(error) from error


def _start(settings: "Settings", sources: tuple[str, ...], *, watch: bool) -> None:
    import uvloop

    from evento import bootstrap

    run(lambda: bootstrap.run(settings, sources=sources, watch=watch), loop_factory=uvloop.new_event_loop)


def _verify_offline(data: str) -> list[str]:
    from evento import bootstrap

    settings = _settings(data=data)
    return list(run(lambda: bootstrap.verify(settings)))
