"""The port to one replica of a function: a process or a container, from its launch to its end. It knows no calls."""

import asyncio
import signal
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple, Protocol

from evento.functions.connection import Address
from evento.model.resources import FunctionSpec


class Replica(Protocol):
    """What was launched. It ends by itself, or is ended with the context of its launch."""

    @property
    def ended(self) -> asyncio.Event:
        """Return the event that is set when it is gone, and its output has been read."""
        ...

    @property
    def ending(self) -> str:
        """Return how it ended, as a clause, with the last lines it wrote."""
        ...

    @property
    def killed(self) -> bool:
        """Return whether `kill` was called."""
        ...

    @property
    def out_of_memory(self) -> bool:
        """Return whether it was ended because it used more memory than it may."""
        ...

    def kill(self, because: str) -> None:
        """End it now; `ended` tells when that has happened."""
        ...


class Launched(NamedTuple):
    """A replica, the function with the revision of what was launched, and where it will listen.

    `explained_s`: when it crashes, `ended` is set so long after its connections broke, at the latest.
    """

    replica: Replica
    function: FunctionSpec
    address: Address
    explained_s: float


class Launcher(Protocol):
    """Launches replicas of one function."""

    def launch(self, number: int) -> AbstractAsyncContextManager[Launched]:
        """Launch replica `number` for the time of the context; leaving it drains, stops and removes it.

        Returns when it runs, which is before it is ready. Raises FunctionUnavailable if it cannot be launched.
        """
        ...


class ReplicaObserver:
    """Hears what becomes of replicas; whoever counts overrides what it wants to hear."""

    def replicas_changed(self, function: str, change: int) -> None:
        """Hear that so many more replicas of a function are ready, or fewer if it is negative."""

    def replica_ended(self, function: str, cause: str) -> None:
        """Hear that a replica ended or was given up though it was wanted: crashed, out-of-memory, hung, not-ready."""


async def ended_within(replica: Replica, delay_s: float) -> bool:
    """Wait for the end of a replica, `delay_s` seconds at most. Return whether it has come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(delay_s):
            await replica.ended.wait()
    return replica.ended.is_set()


def how_it_ended(code: int | None, *, killed_because: str = "", tail: str = "") -> str:
    """Return as a clause how a program ended: by its exit status (128 + n, or -n, for signal n), or because it was killed."""
    number = 0 if code is None else -code if code < 0 else code - 128 if code > 128 else 0
    how = f"exited with status {code}"
    if killed_because:
        how = f"was killed because {killed_because}"
    elif number == signal.SIGKILL:
        how = "was killed by signal 9, as when memory runs out"
    elif number:
        how = f"was ended by signal {number}"
    return f"{how}; its last output: {tail}" if tail else how
