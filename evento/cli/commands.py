"""`evento commands`: what became of a Command, and the care of those that are not finished."""

from typing import Annotated

import typer

from evento.cli.connection import ask
from evento.cli.output import Form, Output, Url, show_json, show_table, tell
from evento.cli.sending import show_outcome

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look up Commands; retry or discard those that are not finished."
)

Instance = Annotated[str, typer.Argument(help="namespace/Entity/id")]
CommandId = Annotated[str, typer.Argument(help="the command id")]


@app.command("get", epilog="Example: evento commands get bank/Checking/alice order-17")
def get(instance: Instance, command_id: CommandId, output: Output = Form.TEXT, url: Url = None) -> None:
    """Show what became of a Command."""
    outcome = ask(url, lambda client: client.outcome(instance, command_id))
    if output is Form.JSON:
        show_json(outcome)
    else:
        show_outcome(outcome)


@app.command("list", epilog="Example: evento commands list --parked")
def listing(
    *,
    parked: Annotated[
        bool | None, typer.Option("--parked/--waiting", help="only those that wait for you; or only the others")
    ] = None,
    after: Annotated[int, typer.Option(help="from the first number above this one", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="at most so many", min=1, max=1000)] = 100,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """List Commands that are accepted and not finished, in the order of acceptance."""
    page = ask(url, lambda client: client.pending(parked=parked, after=after, limit=limit))
    if output is Form.JSON:
        show_json(page)
        return
    columns = ("instance", "command", "id", "is", "attempts", "next attempt", "last failure")
    rows = [
        (
            f"{each['entity']}/{each['id']}",
            each["command"],
            each["command_id"],
            each["outcome"],
            each["attempts"],
            each["next_attempt"] or "-",
            each["failure"]["message"] if each["failure"] else "-",
        )
        for each in page["pending"]
    ]
    show_table("", columns, rows)
    if page["next"] is not None:
        tell(f"there are more: --after {page['next']}")


@app.command("retry", epilog="Example: evento commands retry bank/Checking/alice order-17")
def retry(instance: Instance, command_id: CommandId, url: Url = None) -> None:
    """Try a waiting or parked Command now."""
    ask(url, lambda client: client.retry(instance, command_id))
    tell(f"{command_id} is tried again; see: evento commands get {instance} {command_id}")


@app.command("discard", epilog="Example: evento commands discard bank/Checking/alice order-17")
def discard(
    instance: Instance,
    command_id: CommandId,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    url: Url = None,
) -> None:
    """End a waiting or parked Command without an event; what waits behind it goes on."""
    if not yes:
        typer.confirm(f"End {command_id} of {instance} for ever, without an event?", abort=True)
    ask(url, lambda client: client.discard(instance, command_id))
    tell(f"{command_id} is discarded")
