"""The program `evento`: puts the nouns together. Imports as little as it can; each command imports what it needs when it runs."""

from typing import Annotated

import typer

from evento.cli import commands, deploying, functions, keys, reading, rendering, running, sending, status, transferring

app = typer.Typer(
    name="evento",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"evento {version('evento-platform')}")
        raise typer.Exit


@app.callback(epilog="Exit codes: 0 done, 1 refused or wrong, 2 usage, 3 rejected by the business, 4 not reachable or not ready.")
def evento(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")] = False,
) -> None:
    """Event sourcing: Commands in, Events out, nothing lost."""


app.command("dev", epilog=running.DEV_EXAMPLE)(running.dev)
app.command("serve", epilog=running.SERVE_EXAMPLE)(running.serve)
app.command("deploy", epilog=deploying.EXAMPLE)(deploying.deploy)
app.command("send", epilog=sending.EXAMPLE)(sending.send)
app.command("get", epilog=reading.GET_EXAMPLE)(reading.get)
app.command("events", epilog=reading.EVENTS_EXAMPLE)(reading.events)
app.add_typer(commands.app, name="commands")
app.command("status", epilog=status.EXAMPLE)(status.status)
app.command("verify", epilog=running.VERIFY_EXAMPLE)(running.verify)
app.command("export", epilog=transferring.EXPORT_EXAMPLE)(transferring.export)
app.command("import", epilog=transferring.IMPORT_EXAMPLE)(transferring.import_)
app.add_typer(functions.app, name="function")
app.add_typer(keys.app, name="keys")
app.add_typer(rendering.app, name="render")
