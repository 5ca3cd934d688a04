"""The `.avsc` files of a deployment: which may be read, and which types they share by name.

Knows files and full names; whether a definition is a good schema is `evento.schema`'s matter.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from evento.registry.limits import SCHEMA_FILE_BYTES_MAX, SCHEMA_FILES_BYTES_MAX

_SUFFIX = ".avsc"


class FileRefused(Exception):
    """The file may not or cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def read_text(file: Path, bytes_max: int) -> str:
    """Return the UTF-8 text of a regular file of at most `bytes_max` bytes. Raises FileRefused."""
    try:
        if not os.path.isfile(file):
            raise FileRefused("there is no such file")
        with file.open("rb") as opened:
            content = opened.read(bytes_max + 1)
        if len(content) > bytes_max:
            raise FileRefused(f"is larger than {bytes_max} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise FileRefused(f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError, and a NUL in the name
        raise FileRefused(f"is not UTF-8 text: {error}") from error


class SchemaFiles:
    """The schema files that manifests name, and those beside them."""

    def __init__(self) -> None:
        self._texts: dict[Path, str] = {}
        self._refused: dict[Path, str] = {}
        self._folders: set[Path] = set()
        self._types: dict[str, tuple[Path, str]] = {}
        self._ambiguous: dict[str, tuple[Path, Path]] = {}
        self._left_bytes = SCHEMA_FILES_BYTES_MAX

    @property
    def types(self) -> Mapping[str, object]:
        """Return the types that the files taken so far define at their top, by full name, without those defined in two ways."""
        return {name: definition for name, (_, definition) in self._types.items() if name not in self._ambiguous}

    def remark(self, message: str) -> str:
        """Return what else to say about a name in `message` that is not found because two files define it differently."""
        for name, (one, other) in self._ambiguous.items():
            if name in message:
                return f"; {one.name} and {other.name} define {name} differently"
        return ""

    def take(self, root: Path, reference: str) -> None:
        """Read the file that a manifest in `root` names and all schema files beside it; `text` tells what may not be read."""
        try:
            file = _allowed(root, reference)
        except FileRefused:
            return
        self._read(file)
        if file.parent in self._folders:
            return
        self._folders.add(file.parent)
        limit = Path(os.path.realpath(root))
        for beside in sorted(file.parent.glob(f"*{_SUFFIX}")) if file.parent.is_dir() else ():
            resolved = Path(os.path.realpath(beside))
            if resolved.is_relative_to(limit):
                self._read(resolved)

    def text(self, root: Path, reference: str) -> str:
        """Return the text of the file that a manifest in `root` names. Raises FileRefused."""
        file = _allowed(root, reference)
        if file in self._refused:
            raise FileRefused(self._refused[file])
        return self._texts[file]

    def _read(self, file: Path) -> None:
        if file in self._texts or file in self._refused:
            return
        try:
            text = read_text(file, min(SCHEMA_FILE_BYTES_MAX, self._left_bytes))
        except FileRefused as refused:
            self._refused[file] = refused.message
            return
        self._texts[file] = text
        self._left_bytes -= len(text)
        name = full_name(text)
        if name is not None:
            other, known = self._types.setdefault(name, (file, text))
            if known != text:
                self._ambiguous.setdefault(name, (other, file))


def _allowed(root: Path, reference: str) -> Path:
    """Return the real path of a schema file, or raise FileRefused: relative, below the manifest's folder, `.avsc`."""
    if not reference or "\0" in reference:
        raise FileRefused("the name of a schema file must not be empty or hold a NUL")
    path = Path(reference)
    if path.is_absolute():
        raise FileRefused("a schema file must be named relative to the manifest's folder")
    if path.suffix != _SUFFIX:
        raise FileRefused(f"a schema file must end in {_SUFFIX}")
    file = Path(os.path.realpath(root / path))
    if ".." in path.parts or not file.is_relative_to(Path(os.path.realpath(root))):
        raise FileRefused("a schema file must stand below the manifest's folder, also behind symbolic links")
    return file


def full_name(text: str) -> str | None:
    """Return the full name of the type that a schema file defines at its top; None if it defines none, or is no schema."""
    try:
        definition = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(definition, dict) or not isinstance(definition.get("name"), str):
        return None
    name: str = definition["name"]
    namespace = definition.get("namespace")
    return name if "." in name or not isinstance(namespace, str) or not namespace else f"{namespace}.{name}"
