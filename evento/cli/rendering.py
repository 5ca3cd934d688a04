"""`evento render`: a deployment as files for somebody else who runs it."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evento.cli.output import fail, tell

if TYPE_CHECKING:
    from evento.kubernetes.options import Object, Options

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Render a deployment for somebody else who runs it.")

EXAMPLE = """Examples:

evento render kubernetes manifests/ -o cluster/ --key signing.pem

evento render kubernetes bank.py --image bank/bank-functions=registry.example.com/bank@sha256:…
"""
_STDOUT = "-"


@app.callback()
def render() -> None:
    """Render a deployment for somebody else who runs it."""


@app.command("kubernetes", epilog=EXAMPLE)
def kubernetes(
    sources: Annotated[list[str], typer.Argument(help="manifest files, folders of them, Python modules written with the SDK")],
    *,
    output: Annotated[str, typer.Option("--output", "-o", help="the folder for files; -: all on the standard output")] = _STDOUT,
    image: Annotated[list[str] | None, typer.Option(help="NAMESPACE/FUNCTION=IMAGE: run this Function in this image")] = None,
    key: Annotated[Path | None, typer.Option(help="the private key that signs calls; only its public key is rendered")] = None,
    node_image: Annotated[str, typer.Option(help="the image of Evento itself")] = f"evento:{version('evento-platform')}",
    namespace: Annotated[str, typer.Option(help="the namespace for Evento itself")] = "evento",
    storage: Annotated[str, typer.Option(help="the size of Evento's disk")] = "10Gi",
) -> None:
    """Render resources, their functions and Evento itself as objects of Kubernetes."""
    from evento.errors import EventoError
    from evento.kubernetes import Options, yaml_text

    try:
        options = Options(namespace=namespace, image=node_image, storage=storage, public_key=_public_key(key))
        files = _rendered(sources, _images(image or []), options)
    except EventoError as error:
        raise fail(error) from error
    if not options.public_key:
        tell("calls to functions are not signed: make a key with evento keys make, and render with --key")
    if output == _STDOUT:
        typer.echo(yaml_text([each for objects in files.values() for each in objects]), nl=False)
        return
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, objects in files.items():
        (folder / name).write_text(yaml_text(objects), encoding="utf-8")
    tell(f"{sum(map(len, files.values()))} objects in {len(files)} files in {folder}")


def _rendered(sources: list[str], images: dict[str, str], options: "Options") -> "dict[str, list[Object]]":
    from evento.errors import DeploymentRefused
    from evento.kubernetes import render, with_images
    from evento.registry.deployment import plan_afresh
    from evento.registry.reading import read_deployment

    documents = with_images(read_deployment(sources), images)
    plan = plan_afresh(documents)
    if plan.problems:
        raise DeploymentRefused("the deployment is not sound", problems=[str(each) for each in plan.problems])
    return render(documents, plan.declared, options)


def _public_key(file: Path | None) -> str:
    from evento.keys import read_signing_key

    return read_signing_key(file).public if file else ""


def _images(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    wrong = [each for each, pair in zip(given, pairs, strict=True) if not (pair[0] and pair[2])]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is not NAMESPACE/FUNCTION=IMAGE", param_hint="--image")
    return {name: image for name, _, image in pairs}
