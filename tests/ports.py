"""Ports of this machine for what tests start: below those that systems give to outgoing connections, and each given once.

So a port stays free while what has it is down, or has not begun to listen. Each worker of a run has ports of its own.
"""

import os
import random
import socket

PLATFORMS = range(10_000, 20_000)
BROKERS = range(20_000, 30_000)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_given: set[int] = set()


def free_port(among: range = PLATFORMS) -> int:
    """Return a port that nobody uses, and that this process was not given before."""
    while True:
        port = random.SystemRandom().choice(among[_WORKER::_WORKERS])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
