"""What belongs to this platform among the containers of an engine that others use too, and removing what it left behind.

A platform is known by its data folder: a name kept in it, together with the folder's place, so that a copy is another platform.
"""

import asyncio
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from evento.functions.lockdown import PLATFORM_LABEL

if TYPE_CHECKING:
    from evento.functions.engine_api import ContainerEngine

NAME_FILE = "platform-name"
LONGEST_SOCKET = "/evento-0123456789-1234567/s/f.sock"
_NAME_BYTES = 16
_DIGITS = 10


class Belongings:
    """The containers and socket folders of the platform with this data folder. Sockets are made below `directory`."""

    def __init__(self, data_dir: Path, directory: Path) -> None:
        self._name_file = data_dir / NAME_FILE
        self._directory = directory
        self.platform = ""  # known once `take_name` was called

    @property
    def may_exist(self) -> bool:
        """Return whether this platform ever started a container. Reads the data folder."""
        return self._name_file.exists()

    def take_name(self) -> None:
        """Read the platform's name, or make one. Reads and writes files: not for the event loop."""
        if not self._name_file.exists():
            made = self._name_file.with_suffix(".new")
            made.write_text(os.urandom(_NAME_BYTES).hex())
            os.replace(made, self._name_file)
        place = os.path.realpath(self._name_file)
        self.platform = hashlib.sha256(f"{self._name_file.read_text()} {place}".encode()).hexdigest()[:_DIGITS]

    def make_folder(self, number: int) -> Path:
        """Make a folder that only this platform reaches from here, and in it one that a container's user may write to.

        Not for the event loop. Whoever the container's user is on this machine, he needs no right of the platform's.
        """
        outer = self._directory / f"evento-{self.platform}-{number}"
        outer.mkdir(mode=0o700)
        inner = outer / "s"
        inner.mkdir()
        inner.chmod(0o777)
        return inner

    def remove_folder(self, inner: Path) -> None:
        """Remove a folder that `make_folder` made, with whatever a function has put there. Not for the event loop."""
        shutil.rmtree(inner.parent, ignore_errors=True)

    async def sweep(self, engine: "ContainerEngine") -> int:
        """Remove every container and folder of this platform, and return how many containers there were.

        For a time when none is wanted: at the start and at the end. Raises FunctionUnavailable if the engine does.
        """
        names = await engine.names(f"{PLATFORM_LABEL}={self.platform}")
        for name in names:
            await engine.remove(name)
        await asyncio.to_thread(self._remove_folders)
        return len(names)

    def _remove_folders(self) -> None:
        for folder in self._directory.glob(f"evento-{self.platform}-*"):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
