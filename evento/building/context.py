"""What an engine is sent to build an image: a tar archive whose bytes depend on the project's content alone.

Names are sorted, everything belongs to root, times are one, and of a file's mode only counts whether it can be executed.
"""

import io
import tarfile
from typing import IO

from evento.building.project import CONTAINERFILE, Project
from evento.errors import BuildRefused

_EXECUTABLE = 0o100


def write_context(target: IO[bytes], project: Project, containerfile: str, *, epoch_s: int) -> None:
    """Write the archive. Reads the project's files: not for the event loop. Raises BuildRefused."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, CONTAINERFILE, containerfile.encode(), mode=0o644, epoch_s=epoch_s)
        for name in project.files:
            path = project.folder / name
            try:
                content, executable = path.read_bytes(), path.stat().st_mode & _EXECUTABLE
            except OSError as error:
                raise BuildRefused(f"{path} cannot be read: {error.strerror}") from error
            _add(tar, name, content, mode=0o755 if executable else 0o644, epoch_s=epoch_s)


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int, epoch_s: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), mode, epoch_s
    tar.addfile(entry, io.BytesIO(content))
