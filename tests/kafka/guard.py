"""The guard of one broker: starts it, tells its process id, and ends it when the process that wanted it is gone, however it went.

Run as a program: `python -I -S guard.py OWNER_PID COMMAND ARGUMENT...`. The broker ends with the guard too (on Linux).
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_ASK_AGAIN_S = 0.5


def main(owner: int, command: list[str]) -> int:
    """Run `command` to its end, or until the process `owner` ends. Return its exit status."""
    # What it says goes where the guard's own errors go: nobody reads its output once the id is told.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, preexec_fn=_die_with_the_guard)
    os.write(1, f"{child.pid}\n".encode())
    os.close(1)
    threading.Thread(target=_follow, args=(owner, child), daemon=True).start()
    return child.wait()


def _die_with_the_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _follow(owner: int, child: subprocess.Popen[bytes]) -> None:
    _wait_for_the_end_of(owner)
    child.kill()


def _wait_for_the_end_of(owner: int) -> None:
    try:
        if hasattr(os, "pidfd_open"):  # it sees the end also of a process that nobody has waited for
            select.select([os.pidfd_open(owner)], [], [])
            return
        while True:
            os.kill(owner, 0)
            time.sleep(_ASK_AGAIN_S)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
