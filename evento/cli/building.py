"""`evento function build` and `scaffold`: the image of a function project in Python."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from evento.cli.output import Form, Output, fail, run, show_json, tell

BUILD_EXAMPLE = """Examples:

evento function build . -t localhost/bank:1

evento function build bank/ -t registry.example.com/bank:1 --base registry.example.com/python:3.13
"""
SCAFFOLD_EXAMPLE = "Example: evento function scaffold bank/ && podman build -t localhost/bank:1 bank/"

Project = Annotated[Path, typer.Argument(help="the folder of the project, with the function's module at its top")]
Module = Annotated[str | None, typer.Option(help="module:name of the Namespace [default: the only module at the top]")]
Base = Annotated[str | None, typer.Option(help="an image with Python 3.11 or later, and pip [default: python:3.13-slim]")]


def build(
    project: Project,
    *,
    tag: Annotated[str, typer.Option("--tag", "-t", help="the name of the image")],
    module: Module = None,
    base: Base = None,
    output: Output = Form.TEXT,
) -> None:
    """Build the image of a function project in Python, with the container engine at hand."""
    from evento.building import Built, build_image
    from evento.settings import read_settings, read_source_date

    async def work() -> Built:
        settings = read_settings()
        return await build_image(
            project,
            tag,
            engine=settings.container_engine,
            registry_auth=settings.registry_auth,
            sdk_version=version("evento-platform"),
            module=module,
            base=base,
            epoch_s=read_source_date(),
        )

    built = run(work)
    if built.loose:
        tell(f"not named exactly, so that the next image may be another: {', '.join(built.loose)}; pin with NAME==VERSION")
    if output is Form.JSON:
        show_json({"image": built.name, "digest": built.digest})
    else:
        typer.echo(f"{built.name} {built.digest}")
    tell(f"name it in the manifest of its Function: image: {built.name}")


def scaffold(project: Project, *, module: Module = None, base: Base = None) -> None:
    """Write the Containerfile that `evento function build` would use, and .containerignore, to build by hand or change."""
    from evento.building import scaffold as write
    from evento.errors import EventoError

    try:
        files = write(project, sdk_version=version("evento-platform"), module=module, base=base)
    except EventoError as error:
        raise fail(error) from error
    for file in files:
        typer.echo(str(file))
    tell(f"build it with: podman build -t NAME {project}, or docker build -f {files[0]} -t NAME {project}")
