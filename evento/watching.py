"""What `evento dev` watches: the files beside its sources, not what is made while it runs. Knows neither clock nor deployment."""

import os
from collections.abc import Sequence
from pathlib import Path

_UNWATCHED = {"__pycache__", "node_modules", "venv", "target"}  # made from what is watched, or not the user's own
_UNWATCHED_SUFFIXES = (".log", ".tmp", "~")


def stamps(sources: Sequence[str], *, data_dir: Path) -> dict[str, int]:
    """Return the time of the last change of every file below the folders of these sources, in nanoseconds.

    Hidden folders, those of packages and builds, and the platform's own data folder are left out. Reads the disk: not for the event
    loop. A file that vanishes meanwhile is not there.
    """
    found: dict[str, int] = {}
    data = os.path.realpath(data_dir)
    for source in sources:
        path = Path(source.partition(":")[0])
        for folder, folders, files in os.walk(path if path.is_dir() else path.parent):
            folders[:] = [name for name in folders if _is_watched(name) and os.path.realpath(Path(folder, name)) != data]
            for name in files:
                if not name.startswith(".") and not name.endswith(_UNWATCHED_SUFFIXES):
                    _stamp(os.path.join(folder, name), found)
    return found


def _is_watched(folder: str) -> bool:
    return not folder.startswith(".") and folder not in _UNWATCHED


def _stamp(path: str, found: dict[str, int]) -> None:
    try:
        found[path] = os.stat(path).st_mtime_ns
    except OSError:
        return  # gone, or a link to nowhere
