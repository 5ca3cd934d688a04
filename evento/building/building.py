"""The two things that can be done with a project: build its image, or write down how that is done by hand."""

import asyncio
import os
import re
import tempfile
from pathlib import Path

from msgspec import Struct

from evento.building.containerfile import BASE, containerfile, containerignore
from evento.building.context import write_context
from evento.building.engine_build import build, put_in, take_out
from evento.building.normal import write_normal
from evento.building.project import CONTAINERFILE, CONTAINERIGNORE, Project, read_project
from evento.errors import BuildRefused, FunctionUnavailable
from evento.functions.engine_api import ContainerEngine, Image
from evento.functions.engine_place import engine_url
from evento.functions.images import Images
from evento.functions.registries import Registries
from evento.settings import read_environment

_NAME = re.compile(r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?", re.ASCII)
_MADE = "localhost/evento-build"  # what is being built, under a tag that nobody else has
_SPOOLED_BYTES = 16 * 1024 * 1024


class Built(Struct, frozen=True):
    """An image that was built: its digest, and the requirements that name no exact version, so that the next one may be another."""

    name: str
    digest: str
    loose: tuple[str, ...]


async def build_image(
    folder: Path,
    name: str,
    *,
    engine: str,
    registry_auth: str,
    sdk_version: str,
    module: str | None,
    base: str | None,
    epoch_s: int,
) -> Built:
    """Build the image of a project: by its own Containerfile if it has one. `engine` and `registry_auth` are as they are set.

    Raises BuildRefused, and FunctionUnavailable if there is no engine.
    """
    if not _NAME.fullmatch(name):
        raise BuildRefused(f"{name!r} is no name for an image: give it one such as jar:1 or registry.example.com/team/jar:1")
    project = await asyncio.to_thread(read_project, folder, module, sdk_version=sdk_version)
    text, own = await asyncio.to_thread(_text, project, module)
    url = engine_url(engine, read_environment())
    connected = ContainerEngine(url)
    made = f"{_MADE}:{os.urandom(8).hex()}"
    try:
        on = None
        if base or not own:
            on = await _base(connected, Registries(Path(registry_auth) if registry_auth else None), base or BASE)
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as context:
            await asyncio.to_thread(write_context, context, project, text, epoch_s=epoch_s)
            context.seek(0)
            arguments = {"SOURCE_DATE_EPOCH": str(epoch_s), **({"BASE": base} if base else {})}
            await build(url, context, name=made, arguments=arguments, epoch_s=epoch_s)
        try:
            digest = await _normalised(connected, url, made, base=on, epoch_s=epoch_s)
            await connected.name_image(made, name)
        finally:
            await connected.forget_image(made)
    finally:
        await connected.close()
    return Built(name, digest, project.loose)


async def _normalised(engine: ContainerEngine, url: str, made: str, *, base: Image | None, epoch_s: int) -> str:
    """Put an image in its normal form in the place of what was built, and return its id."""
    image = await _there(engine, made)
    of_base = 0 if base is None else len(base.layers)
    own = base is not None and image.layers[:of_base] == base.layers
    with tempfile.TemporaryFile() as built, tempfile.TemporaryFile() as normal:
        await take_out(url, made, built)
        built.seek(0)
        kept = of_base if own else len(image.layers)  # of a base that is not known nothing is touched
        await asyncio.to_thread(write_normal, built, normal, name=made, base_layers=kept, epoch_s=epoch_s)
        normal.seek(0)
        await put_in(url, normal)
    found = await _there(engine, made)
    if found.id != image.id:
        await engine.forget_image(image.id)
    return found.id


async def _there(engine: ContainerEngine, name: str) -> Image:
    image = await engine.image(name)
    if image is None:
        raise BuildRefused("the container engine says that it built the image, and does not have it")
    return image


async def _base(engine: ContainerEngine, registries: Registries, base: str) -> Image:
    try:
        return await Images(registries).found_or_pulled(engine, base)
    except FunctionUnavailable as error:
        raise BuildRefused(
            f"the base image {base} is not here: {error.message}. Name another, with Python 3.11 or later and pip: --base"
        ) from error


def _text(project: Project, module: str | None) -> tuple[str, bool]:
    """Return the Containerfile's text, and whether it is the project's own."""
    own = project.folder / CONTAINERFILE
    if not own.exists():
        return containerfile(project), False
    if module is not None:
        raise BuildRefused(f"{own} says which module is served: leave --module away, or remove the file")
    return own.read_text(encoding="utf-8"), True


def scaffold(folder: Path, *, sdk_version: str, module: str | None, base: str | None) -> list[Path]:
    """Write the Containerfile and what is ignored with it, and return both files. Raises BuildRefused if one is there."""
    project = read_project(folder, module, sdk_version=sdk_version)
    texts = {folder / CONTAINERFILE: containerfile(project, base or BASE), folder / CONTAINERIGNORE: containerignore()}
    for file in texts:
        if file.exists():
            raise BuildRefused(f"{file} is there already, and is not overwritten")
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return list(texts)
