"""`evento send`: one Command from the command line, or a file of many."""

from typing import Annotated

import msgspec
import typer

from evento.cli.connection import ask
from evento.cli.output import EXIT_REJECTED, Form, Output, Url, compact, show_json, tell

EXAMPLE = """Examples:

evento send bank/Checking/alice WithdrawCash amount=40.00

evento send --file commands.ndjson
"""


def send(  # noqa: PLR0913  each is an option of the command
    instance: Annotated[str | None, typer.Argument(help="namespace/Entity/id, for example bank/Checking/alice")] = None,
    command: Annotated[str | None, typer.Argument(help="the Command, for example WithdrawCash")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="its data; values are read as JSON if they are JSON, else as text"),
    ] = None,
    *,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="send the Commands in this NDJSON file; - is the standard input")
    ] = None,
    command_id: Annotated[str | None, typer.Option("--id", help="the command id; the same id is executed once")] = None,
    expect: Annotated[int | None, typer.Option(help="only at this version of the instance (0: it does not exist yet)")] = None,
    wait: Annotated[int | None, typer.Option(help="seconds to wait for the end, 0 to 60; 0 returns once it is accepted")] = None,
    due: Annotated[str | None, typer.Option(help="not before this ISO 8601 time")] = None,
    output: Output = Form.TEXT,
    url: Url = None,
) -> None:
    """Send one Command, or with --file many in one stream."""
    if file is not None:
        if instance is not None:
            raise typer.BadParameter("give either --file or one Command")
        from evento.cli.sending_many import send_file

        send_file(file, url=url, wait_s=wait, output=output)
        return
    if instance is None or command is None:
        raise typer.BadParameter("give an instance and a Command, or --file")
    data = read_fields(fields or [])
    outcome = ask(
        url,
        lambda client: client.send(instance, command, data, command_id=command_id, expected=expect, wait_s=wait, due=due),
    )
    if output is Form.JSON:
        show_json(outcome)
    else:
        show_outcome(outcome)
    if outcome["outcome"] == "rejected":
        raise typer.Exit(EXIT_REJECTED)


def read_fields(fields: list[str]) -> dict[str, msgspec.Raw]:
    """Return the data of a Command from NAME=VALUE arguments; numbers keep every digit they were given."""
    data: dict[str, msgspec.Raw] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{field!r}: must be NAME=VALUE")
        if name in data:
            raise typer.BadParameter(f"{name!r} is given twice")
        try:
            msgspec.json.decode(value)
            data[name] = msgspec.Raw(value.encode())
        except msgspec.DecodeError:
            data[name] = msgspec.Raw(msgspec.json.encode(value))
    return data


def show_outcome(outcome: dict[str, object]) -> None:
    """Print an outcome for a person."""
    version = "" if outcome["version"] is None else f", version {outcome['version']}"
    duplicate = " (sent before; this is what became of it then)" if outcome.get("duplicate") else ""
    typer.echo(f"{outcome['outcome']}{version}{duplicate}")
    events = outcome["events"]
    for event in events if isinstance(events, list) else ():
        typer.echo(f"  {event['version']} {event['type']} {compact(event['data'])}")
    if outcome["outcome"] in ("pending", "parked"):
        failure = outcome.get("failure")
        if isinstance(failure, dict):
            typer.echo(f"  attempts {outcome.get('attempts')}, last failure: {failure['message']}")
        tell(f"command id {outcome['command_id']}")
