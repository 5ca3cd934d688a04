"""`evento keys`: the key that signs calls to functions which others run."""

from pathlib import Path
from typing import Annotated

import typer

from evento.cli.output import fail, tell

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and show the key that signs calls to functions.")

File = Annotated[Path, typer.Argument(help="the file of the private key, which the setting signing_key names")]


@app.command("make", epilog="Example: evento keys make signing.pem")
def make(file: File) -> None:
    """Make a private key in a new file, and print the public key that belongs to it."""
    from evento.errors import SettingsError
    from evento.keys import make_signing_key

    try:
        key = make_signing_key(file)
    except SettingsError as error:
        raise fail(error) from error
    typer.echo(key.public)
    tell(f"{file} is the private key: the platform alone may read it (setting signing_key)")
    tell("the line above is the public key: give it to the functions, in EVENTO_FUNCTION_KEYS")


@app.command("show", epilog="Example: evento keys show signing.pem")
def show(file: File) -> None:
    """Print the public key that belongs to a private key, and tell its id."""
    from evento.errors import SettingsError
    from evento.keys import read_signing_key

    try:
        key = read_signing_key(file)
    except SettingsError as error:
        raise fail(error) from error
    typer.echo(key.public)
    tell(f"its id is {key.id}")
