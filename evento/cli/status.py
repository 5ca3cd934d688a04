"""`evento status`: how a platform is doing, and why what does not work does not."""

from typing import Any

import typer

from evento.cli.connection import ask
from evento.cli.output import EXIT_UNREACHABLE, Form, Output, Url, show_json, show_table

EXAMPLE = "Example: evento status"


def status(output: Output = Form.TEXT, url: Url = None) -> None:
    """Show how the platform and its functions are doing. Exit code 4 if it takes no Commands."""
    found = ask(url, lambda client: client.status())
    if output is Form.JSON:
        show_json(found)
    else:
        _show(found)
    if not found["ready"]:
        raise typer.Exit(EXIT_UNREACHABLE)


def _show(found: dict[str, Any]) -> None:
    typer.echo(f"{found['node']} takes Commands" if found["ready"] else f"{found['node']} takes no Commands: {found['reason']}")
    typer.echo(f"  journal: {found['journal']}, catalog version {found['catalog_version']}")
    typer.echo(f"  Commands not finished: {found['pending']}, of them parked: {found['parked']}")
    if found["rebuilding"]:
        typer.echo(f"  states to be folded again: {found['rebuilding']}")
    if ownerless := [each["number"] for each in found["partitions"] if each["node"] is None]:
        typer.echo(f"  partitions that no node has: {', '.join(map(str, ownerless))}")
    for each in found["restoring"]:
        typer.echo(f"  partition {each['partition']} is being read: {each['done']} of {each['total']} records")
    for each in found["intakes_stopped"]:
        typer.echo(f"  partition {each['partition']} takes no records: {each['message']}")
    rows = [(f"{each['namespace']}/{each['name']}", each["condition"], each["message"] or "-") for each in found["functions"]]
    if rows:
        show_table("", ("function", "is", "why"), rows)
