"""`evento function`: work on functions, in any language."""

from typing import Annotated

import typer

from evento.cli.output import EXIT_REFUSED, Form, Output, run, show_json, show_table, tell

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work on functions, in any language.")
