"""The files' surroundings: the lock that lets one process in, and the file systems that keep no promises. Knows no SQL."""

import fcntl
import logging
import os
import re
from pathlib import Path

from evento.errors import JournalBusy, JournalError

LOCK_NAME = "LOCK"
REFUSED_FILESYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "afs", "ceph", "glusterfs", "lustre"})
DOUBTFUL_FILESYSTEMS = frozenset({"overlay", "fuse", "fuseblk"})
_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the list writes blanks in paths
_log = logging.getLogger(__name__)


def acquire(directory: Path) -> int:
    """Take the directory's lock, making the directory if need be; return what `release` wants. Raises JournalBusy, JournalError.

    The kernel frees the lock when the process ends, however it ends. The file stays.
    """
    try:
        if not directory.exists():
            directory.mkdir(parents=True)
            _sync(directory.parent)
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
    except BlockingIOError as error:
        raise JournalBusy(f"somebody else has the journal in {directory} open", path=str(directory)) from error
    except OSError as error:
        raise JournalError(f"the journal's directory cannot be used: {error}", path=str(directory)) from error
    return descriptor


def release(descriptor: int) -> None:
    """Give the lock back."""
    os.close(descriptor)


def check_filesystem(directory: Path) -> None:
    """Refuse a directory on a network file system, whose locks and shared memory cannot be relied on; warn of doubtful ones.

    Raises JournalError. Where there is no list of mounts (macOS) nothing is known and nothing refused.
    """
    if not _MOUNTS.exists():
        return
    kind = filesystem_of(directory.resolve(), _MOUNTS.read_text())
    if kind in REFUSED_FILESYSTEMS or kind.startswith(("fuse.sshfs", "fuse.s3fs", "fuse.rclone")):
        raise JournalError(f"{directory} is on {kind}, which cannot hold a journal; use a local disk", path=str(directory))
    if kind in DOUBTFUL_FILESYSTEMS or kind.startswith("fuse."):
        _log.warning("the journal in %s is on %s; whether it is durable depends on what is below", directory, kind)


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds `path`, according to the text of a mountinfo file; "" if none does."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
