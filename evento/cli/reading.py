"""`evento get` and `evento events`: the state of an instance, and its history."""

from typing import Annotated, Any

import typer

from evento.cli.connection import ask
from evento.cli.output import Form, Output, Url, compact, show_json, tell

GET_EXAMPLE = """Examples:

evento get bank/Checking/alice --version 3

evento get bank/Checking/alice --at 2026-05-31T12:00:00Z

evento get bank/Checking
"""
EVENTS_EXAMPLE = """Example: evento events bank/Checking/alice --after 10 --limit 5"""


def get(
    instance: Annotated[str, typer.Argument(help="namespace/Entity/id; namespace/Entity lists instances")],
    *,
    version: Annotated[int | None, typer.Option(help="as it was at this version")] = None,
    at: Annotated[str | None, typer.Option(help="as it was at this ISO 8601 time, for example 2026-05-31T12:00:00Z")] = None,
    after: Annotated[str, typer.Option(help="in a listing: from the first id above this one")] = "",
    limit: Annotated[int, typer.Option(help="in a listing: at most so many", min=1, max=1000)] = 100,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Show the state of an instance, or the instances of an Entity."""
    if instance.count("/") == 1:
        if version is not None or at is not None:
            raise typer.BadParameter("--version and --at are for one instance: namespace/Entity/id")
        page = ask(url, lambda client: client.instances(instance, after=after, limit=limit))
        _show_page(page, "instances", output, ("id", "version", "state"))
        return
    found = ask(url, lambda client: client.get(instance, version=version, at=at))
    if output is Form.JSON:
        show_json(found)
    else:
        typer.echo(f"{instance}, version {found['version']}")
        for name, value in (found["state"] or {}).items():
            typer.echo(f"  {name}: {value if isinstance(value, str) else compact(value)}")


def events(
    instance: Annotated[str, typer.Argument(help="namespace/Entity/id")],
    *,
    after: Annotated[int, typer.Option(help="from the first version above this one", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="at most so many", min=1, max=1000)] = 100,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Show the history of an instance."""
    page = ask(url, lambda client: client.events(instance, after=after, limit=limit))
    _show_page(page, "events", output, ("version", "time", "type", "data"))


def _show_page(page: dict[str, Any], member: str, output: Form, columns: tuple[str, ...]) -> None:
    """Print a line for each row: that is what can be searched and cut."""
    if output is Form.JSON:
        show_json(page)
        return
    for row in page[member]:
        typer.echo("  ".join(_cell(row.get(column)) for column in columns))
    if page["next"] is not None:
        tell(f"there are more: --after {page['next']}")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else compact(value)
