"""A function project in Python: a folder with a module, what it needs, and what of it belongs into an image.

It reads names and requirements. User code is not run: what it needs may not be here.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct

from evento.errors import BuildRefused

CONTAINERFILE = "Containerfile"
CONTAINERIGNORE = ".containerignore"
REQUIREMENTS = "requirements.txt"
WHEELS = "wheels"
SDK = "evento-platform"
# What is no part of a function, wherever it stands: patterns of names. Names with a dot in front often hold secrets.
IGNORED = (".*", "__pycache__", "*.pyc", "*.egg-info", "node_modules", "venv", "build", "dist", "data", CONTAINERFILE)
FILES_MAX = 5_000
PROJECT_BYTES_MAX = 512 * 1024 * 1024
_TEXT_BYTES_MAX = 1024 * 1024
_NO_FUNCTION = ("test_*.py", "conftest.py", "setup.py")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", re.ASCII)
_NAMED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", re.ASCII)
_EXACTLY = re.compile(r"(?<![=!<>~])===?[^=*]+(;.*)?$")


class Project(Struct, frozen=True):
    """What is known of a project. `target` is `module:name`; `files` are relative and sorted.

    `listed` tells that there is a requirements.txt; `requirements` are what is needed besides, sorted; `loose` are those of all
    that name no exact version; `wheels` tells that all packages are in a folder of the project.
    """

    folder: Path
    target: str
    files: tuple[str, ...]
    listed: bool
    requirements: tuple[str, ...]
    loose: tuple[str, ...]
    wheels: bool


def read_project(folder: Path, module: str | None, *, sdk_version: str) -> Project:
    """Read what is in a project's folder. Reads files: not for the event loop. Raises BuildRefused."""
    if not folder.is_dir():
        raise BuildRefused(f"{folder} is no folder: name the folder that the function's module stands in")
    files = tuple(_files(folder))
    listed = REQUIREMENTS in files
    named = _listed(folder) if listed else _declared(folder)
    sdk = () if any(_name(each) == SDK for each in named) else (f"{SDK}=={sdk_version}",)
    return Project(
        folder,
        _target(files, module),
        files,
        listed,
        tuple(sorted((*(() if listed else named), *sdk))),
        tuple(each for each in named if not _EXACTLY.search(each) and " @ " not in each),
        any(file.startswith(f"{WHEELS}/") for file in files),
    )


def _files(folder: Path) -> Iterator[str]:
    left_bytes, count = PROJECT_BYTES_MAX, 0
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            raise BuildRefused(f"{name} in {folder} is a link, or no file: an image takes files and folders only")
        left_bytes, count = left_bytes - path.stat().st_size, count + 1
        if left_bytes < 0 or count > FILES_MAX:
            raise BuildRefused(
                f"{folder} is too large for a function: more than {FILES_MAX} files or {PROJECT_BYTES_MAX} bytes. "
                "Is it the function's own folder?"
            )
        yield name


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda each: each.name):
        if any(fnmatchcase(path.name, pattern) for pattern in IGNORED):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _target(files: Sequence[str], module: str | None) -> str:
    if module is not None:
        if not _TARGET.fullmatch(module):
            raise BuildRefused(f"{module!r} is no module: write it as bank, or as bank:app")
        stem = module.partition(":")[0].replace(".", "/")
        if f"{stem}.py" not in files and f"{stem}/__init__.py" not in files:
            raise BuildRefused(f"there is no module {module.partition(':')[0]} in the project")
        return module if ":" in module else f"{module}:app"
    found = [file for file in files if "/" not in file and file.endswith(".py")]
    found = [file.removesuffix(".py") for file in found if not any(fnmatchcase(file, each) for each in _NO_FUNCTION)]
    if not found:
        raise BuildRefused("there is no module at the top of the project: name its folder, or say which with --module shop.jar")
    if len(found) > 1:
        raise BuildRefused(f"the project must have one module, and {', '.join(found[:10])} are there: say which with --module")
    return f"{found[0]}:app"


# ------------------------------------------------------------------ what it needs
def _listed(folder: Path) -> list[str]:
    """Return the requirements in requirements.txt; options, hashes and comments are pip's matter."""
    text = _text(folder / REQUIREMENTS).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)(#|--hash=).*", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _declared(folder: Path) -> list[str]:
    """Return the dependencies in pyproject.toml, none if there is no such file."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        return []
    try:
        project = tomllib.loads(_text(file)).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise BuildRefused(f"{file}: {error}") from error
    found = project.get("dependencies", []) if isinstance(project, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, str) and _name(each) for each in found):
        raise BuildRefused(f"{file}: project.dependencies must be a list of requirements")
    return found


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_TEXT_BYTES_MAX + 1)
        if len(content) > _TEXT_BYTES_MAX:
            raise BuildRefused(f"{file} is larger than {_TEXT_BYTES_MAX} bytes")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildRefused(f"{file} cannot be read: {error}") from error


def _name(requirement: str) -> str:
    """Return the name of a required package in its normal form, "" if there is none."""
    found = _NAMED.match(requirement)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""
