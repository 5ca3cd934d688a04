"""`evento deploy`: show what would change, ask, then commit it."""

from typing import Annotated, Any

import typer

from evento.cli.connection import ask
from evento.cli.output import Form, Output, Url, fail, show_json, show_table, tell

EXAMPLE = "Example: evento deploy examples/bank --dry-run"


def deploy(
    paths: Annotated[list[str], typer.Argument(help="manifest files, folders of them, Python modules written with the SDK")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would change, and change nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="remove Commands and Functions of these namespaces that are not there")
    ] = False,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Check manifests, show what they change, and deploy them."""
    documents = _read(paths)
    plan = ask(url, lambda client: client.deploy(documents, dry_run=True, prune=prune))
    changes = [change for change in plan["changes"] if change["action"] != "unchanged"]
    if output is Form.TEXT:
        _show(plan, changes)
    if not dry_run and changes:
        if not yes and output is Form.TEXT:
            typer.confirm("Deploy this?", abort=True)
        plan = ask(url, lambda client: client.deploy(documents, dry_run=False, prune=prune))
        tell(f"deployed: catalog version {plan['version']}")
    if output is Form.JSON:
        show_json(plan)


def _read(paths: list[str]) -> list[Any]:
    from evento.errors import DeploymentRefused
    from evento.registry.reading import read_deployment

    documents = read_deployment(paths)
    if documents.problems:
        raise fail(DeploymentRefused("the manifests cannot be read", problems=[str(each) for each in documents.problems]))
    return list(documents.contents)


def _show(plan: dict[str, Any], changes: list[dict[str, Any]]) -> None:
    if not changes:
        typer.echo(f"nothing to change: catalog version {plan['version']} has all of it")
        return
    rows = [
        (
            each["action"],
            each["kind"],
            f"{each['namespace']}/{each['name']}" + (f" (of {each['entity']})" if each["entity"] else ""),
            "\n".join(each["differences"]),
        )
        for each in changes
    ]
    show_table(f"Changes to catalog version {plan['version']}", ("", "kind", "name", "differences"), rows)
    unchanged = len(plan["changes"]) - len(changes)
    if unchanged:
        typer.echo(f"{unchanged} unchanged")
