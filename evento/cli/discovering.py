"""`evento function discovery`: what a function has to say that it serves, as a file for a program without an SDK."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from evento.cli.output import fail, tell

EXAMPLE = "Example: evento function discovery manifests.yaml bank/savings --single -o discovery.avro"
_STDOUT = "-"


def discovery(
    manifests: Annotated[list[str], typer.Argument(help="manifest files, folders of them, Python modules written with the SDK")],
    name: Annotated[str, typer.Argument(metavar="NAMESPACE/FUNCTION", help="the Function in them")],
    *,
    single: Annotated[bool, typer.Option("--single", help="it takes one item per call")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="the file to write; -: the standard output")] = _STDOUT,
) -> None:
    """Write the discovery that a function without an SDK answers: what it serves, with all schemas, as Avro."""
    from evento.errors import EventoError

    namespace, _, function = name.partition("/")
    if not (namespace and function):
        raise typer.BadParameter(f"{name!r} is not like bank/savings", param_hint="NAMESPACE/FUNCTION")
    if output == _STDOUT and sys.stdout.isatty():
        raise typer.BadParameter("it is Avro, and this is a terminal: say which file", param_hint="--output")
    try:
        content = _content(manifests, namespace, function, single=single)
    except EventoError as error:
        raise fail(error) from error
    if output == _STDOUT:
        typer.echo(content, nl=False)
        return
    Path(output).write_bytes(content)
    tell(f"{len(content)} bytes in {output}")


def _content(manifests: list[str], namespace: str, function: str, *, single: bool) -> bytes:
    from evento.errors import DeploymentRefused
    from evento.registry.deployment import catalog_afresh, plan_afresh
    from evento.registry.reading import read_deployment
    from evento.registry.served import discovery_bytes

    plan = plan_afresh(read_deployment(manifests))
    if plan.problems:
        raise DeploymentRefused("the manifests are not sound", problems=[str(each) for each in plan.problems])
    return discovery_bytes(catalog_afresh(plan), namespace, function, single=single)
