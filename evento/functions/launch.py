"""The guard of one local function: starts its command, and takes it along, with all it started, when the platform is gone.

Run as a program of its own with nothing but the standard library: `python -I -S launch.py SOCKET COMMAND ARGUMENT...`, as the
leader of a session, with a pipe as standard input whose other end only the platform holds. That end closes however the platform
ends. It speaks no protocol: it hands output, signals and exit status through, and removes the socket nobody will call any more.
"""

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_LIFELINE = 0
_EXIT_NOT_STARTED = 127


def main(socket: str, command: list[str]) -> NoReturn:
    """Run `command` to its end and exit as it did, 128 + n if signal n ended it; or end everything when the lifeline is cut."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the command has them too, and decides
        signal.signal(number, _note)
    signal.set_wakeup_fd(wake)
    os.putenv("EVENTO_PARENT_PID", str(os.getpid()))
    child = os.fork()
    if child == 0:
        _become(command)
    while True:
        readable, _, _ = select.select([_LIFELINE, woken], [], [])
        if _LIFELINE in readable and not os.read(_LIFELINE, 1):
            with suppress(OSError):
                os.unlink(socket)
                os.rmdir(os.path.dirname(socket))
            os.killpg(0, signal.SIGKILL)  # this process too
        if woken in readable:
            os.read(woken, 4096)
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                sys.exit(128 - code if code < 0 else code)


def _become(command: list[str]) -> NoReturn:
    if sys.platform == "linux":  # should this guard itself be killed
        guard = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:
            os._exit(_EXIT_NOT_STARTED)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command of the manifest; there is no shell
    except OSError as error:
        os.write(2, f"cannot run {command[0]!r}: {error.strerror}\n".encode(errors="backslashreplace"))
    os._exit(_EXIT_NOT_STARTED)


def _note(number: int, frame: FrameType | None) -> None:
    """Do nothing; the wakeup pipe tells."""


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
