"""A VFS that writes down what SQLite does to its files, and the images that a power loss could leave of them."""

import random
from pathlib import Path
from typing import Any

import apsw

SECTOR_BYTES = 512
ENDINGS = ("", "-wal", "-journal")


class Recorder(apsw.VFS):
    """Everything goes to the real file system; writes, syncs, truncations and deletions are kept in `steps` as well."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str, int, bytes]] = []  # (what, file's ending, offset or size, bytes)
        super().__init__("recorder", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.steps.append(("delete", _ending(filename), 0, b""))
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: Any, flags: list[int]) -> None:
        self.kept = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL)
        self.steps = recorder.steps
        self.ending = _ending(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self.kept:
            self.steps.append(("write", self.ending, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        if self.kept:
            self.steps.append(("truncate", self.ending, size, b""))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self.kept:
            self.steps.append(("sync", self.ending, 0, b""))


def image(steps: list[tuple[str, str, int, bytes]], crash: int, chance: random.Random | None, keep: float) -> dict[str, bytes]:
    """Return the files after a power loss before step `crash`: what was synced, and of the rest each sector with chance `keep`."""
    files: dict[str, bytes] = {}
    for ending in ENDINGS:
        mine = [step for step in steps[:crash] if step[1] == ending]
        synced = max((place + 1 for place, step in enumerate(mine) if step[0] in ("sync", "delete")), default=0)
        content = bytearray()
        for place, step in enumerate(mine):
            _apply(content, step, place < synced, chance, keep)
        if mine:
            files[ending] = bytes(content)
    return files


def write_image(files: dict[str, bytes], path: Path) -> None:
    """Put an image where a journal is to be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending, content in files.items():
        if content:
            path.with_name(path.name + ending).write_bytes(content)


def _apply(content: bytearray, step: tuple[str, str, int, bytes], durable: bool, chance: random.Random | None, keep: float) -> None:
    what, _, offset, data = step

    def happens() -> bool:
        return durable or (chance.random() < keep if chance else keep >= 1)

    if what == "delete":
        content.clear()
    elif what == "truncate" and happens():
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    elif what == "write":
        for start in range(0, len(data), SECTOR_BYTES):
            if happens():
                part = data[start : start + SECTOR_BYTES]
                if len(content) < offset + start + len(part):
                    content.extend(bytes(offset + start + len(part) - len(content)))
                content[offset + start : offset + start + len(part)] = part


def _ending(filename: str) -> str:
    return next((ending for ending in ENDINGS[1:] if filename.endswith(ending)), "")
