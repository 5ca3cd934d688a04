"""The revision of a local function: a hash of its content, computed at deployment and again at each start.

Knows files and nothing of what is in them. What an image's content is, its digest tells; what a url's is, only discovery does.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from evento.errors import DeploymentRefused
from evento.model.resources import FunctionSpec
from evento.registry.limits import CONTENT_BYTES_MAX, CONTENT_FILES_MAX

logger = logging.getLogger(__name__)

_DIGITS = 16  # 64 bits: two versions of one function differ
_CHUNK_BYTES = 1024 * 1024
_SKIPPED = {"__pycache__", "node_modules", "venv", "target"}  # made from the content, or not the function's own


def function_revision(function: FunctionSpec) -> str:
    """Return the revision of a function's content as it is now, an image's as it was pinned; "" if it is not known here.

    Reads files: not for the event loop. Raises DeploymentRefused if the content cannot be read or is beyond the limits.
    """
    if function.command:
        return content_revision(function.directory, function.command, function.files, env=function.env)
    return function.image.rpartition("@")[2] if "@sha256:" in function.image else function.revision


def as_they_are(functions: Mapping[tuple[str, str], FunctionSpec]) -> Mapping[tuple[str, str], FunctionSpec]:
    """Return functions with the revision that their content has now: it may have changed since it was deployed.

    Reads files: not for the event loop.
    """
    return {name: msgspec.structs.replace(spec, revision=revision_now(spec)) for name, spec in functions.items()}


def revision_now(function: FunctionSpec) -> str:
    """Return the revision that a function's content has now; if it cannot be read, that is logged, and it stays what it was."""
    try:
        return function_revision(function)
    except DeploymentRefused as error:
        logger.warning("function %s/%s: %s", function.namespace, function.name, error.message)
        return function.revision


def content_revision(
    directory: str, command: Sequence[str], files: Sequence[str] = (), *, env: Mapping[str, str] | None = None
) -> str:
    """Return `sha256:` and 16 hex digits over the command, its environment, and the relative paths and contents of its files.

    `files` are globs below `directory`. Without any, the files are those that the command names (`bank.py`, `./bank`, or the module
    in `bank:app`) and every file below the directory with the same suffix as one of these, so that what they import is in it.
    Raises DeploymentRefused if there is no such directory, a glob matches nothing, or it is too much.
    """
    root = Path(os.path.realpath(directory))
    if not os.path.isdir(root):
        raise DeploymentRefused(f"the function's directory {directory} does not exist", field="directory", value=directory)
    digest = hashlib.sha256()
    for part in command:
        _add(digest, b"argument", part.encode())
    for name, value in sorted((env or {}).items()):
        _add(digest, b"env", f"{name}={value}".encode())
    left = CONTENT_BYTES_MAX
    for path in _sorted(root, _matching(root, files) if files else _named(root, command)):
        content = _content_digest(path, left)
        left -= content[1]
        _add(digest, path.relative_to(root).as_posix().encode(), content[0])
    return f"sha256:{digest.hexdigest()[:_DIGITS]}"


def _add(digest: "hashlib._Hash", name: bytes, value: bytes) -> None:
    """Lengths first, so that no two contents give the same bytes."""
    digest.update(len(name).to_bytes(8, "big") + name + len(value).to_bytes(8, "big") + value)


def _content_digest(path: Path, bytes_max: int) -> tuple[bytes, int]:
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > bytes_max:
                    raise DeploymentRefused(f"the function's files are more than {CONTENT_BYTES_MAX} bytes: name them in files")
                digest.update(chunk)
    except OSError as error:
        raise DeploymentRefused(f"{path} cannot be read: {error.strerror}", field="files", value=str(path)) from error
    return digest.digest(), size


def _sorted(root: Path, paths: Iterator[Path]) -> list[Path]:
    found: set[Path] = set()
    for path in paths:
        found.add(path)
        if len(found) > CONTENT_FILES_MAX:
            raise DeploymentRefused(f"the function at {root} has more than {CONTENT_FILES_MAX} files: name them in files")
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _matching(root: Path, globs: Sequence[str]) -> Iterator[Path]:
    for glob in globs:
        if ".." in Path(glob).parts:
            raise DeploymentRefused(f"files: {glob!r} leads out of the directory", field="files", value=glob)
        matched = False
        try:
            for path in root.glob(glob):
                if os.path.isfile(path):
                    matched = True
                    yield path
        except (OSError, ValueError, NotImplementedError, IndexError) as error:
            raise DeploymentRefused(
                f"files: {glob!r} is no glob below the directory: {error}", field="files", value=glob
            ) from error
        if not matched:
            raise DeploymentRefused(f"files: {glob!r} matches no file below {root}", field="files", value=glob)


def _named(root: Path, command: Sequence[str]) -> Iterator[Path]:
    named = [path for argument in command for path in _candidates(root, argument) if os.path.isfile(path)]
    yield from named
    suffixes = {path.suffix for path in named} - {""}
    if suffixes:
        yield from (path for path in _below(root) if path.suffix in suffixes)


def _candidates(root: Path, argument: str) -> Iterator[Path]:
    """What an argument may mean: a path below the directory, or a Python module there, with or without `:attribute`."""
    if not argument or argument.startswith("-"):
        return
    module = argument.partition(":")[0].replace(".", "/")
    for relative in (argument, f"{module}.py", f"{module}/__init__.py"):
        path = Path(os.path.normpath(root / relative))
        if path.is_relative_to(root):
            yield path


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        yield from (path for name in names if not name.startswith(".") and os.path.isfile(path := Path(folder, name)))
