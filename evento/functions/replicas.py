"""The replicas of one function: as many as its calls need, from none on, each call to the one that has the least to do.

It knows no protocol, and nothing of how a replica is launched (`replica`) or kept running (`supervised`). Who calls sees to it that
no instance is in two calls at once; then it does not matter which replica serves which.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import inf

from evento.clock import Clock
from evento.errors import FunctionUnavailable
from evento.functions.base import Expected, FunctionClient, InstanceCall, Operation, Reply
from evento.functions.replica import Launcher, ReplicaObserver
from evento.functions.scaling import idle, wanted
from evento.functions.supervised import Supervised
from evento.model.resources import FunctionSpec, Scale

logger = logging.getLogger(__name__)

CALL_WAIT_S = 1.0  # a call waits so long for what is being started again
LAUNCH_S = 10.0  # who waits for a first start waits so long for its launch, and then the function's start_s
_LOOK_S = 1.0  # how often somebody looks for replicas that idle
_LOOKS_MIN = 4  # within the time after which they do


@asynccontextmanager
async def kept(
    function: FunctionSpec, expected: Expected, launcher: Launcher, clock: Clock, *, scale: Scale, observer: ReplicaObserver
) -> AsyncIterator[FunctionClient]:
    """Keep replicas of a function for the time of the context. Leaving it lets calls under way end, and then stops them all."""
    with one_error():
        async with asyncio.TaskGroup() as tasks:
            replicas = Replicas(function, expected, launcher, clock, scale=scale, observer=observer, tasks=tasks)
            try:
                yield replicas
            finally:
                await replicas.end()


class Replicas:
    """A FunctionClient that starts replicas with the first `ready` or call, more when calls wait, and ends those that idle."""

    def __init__(
        self,
        function: FunctionSpec,
        expected: Expected,
        launcher: Launcher,
        clock: Clock,
        *,
        scale: Scale,
        observer: ReplicaObserver,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._function = function
        self._name = f"{function.namespace}/{function.name}"
        self._expected = expected
        self._launcher = launcher
        self._clock = clock
        self._scale = scale
        self._observer = observer
        self._revision = function.revision
        self._replicas: list[Supervised] = []
        self._running: dict[Supervised, asyncio.Task[None]] = {}
        self._tasks = tasks
        self._queued = 0  # calls that wait for a replica
        self._starting = 0  # who waits for one to be ready
        self._ready_ones = 0
        self._asleep = False  # all were ended for idling, and none has been started since
        self._stopped = False
        self._change = asyncio.Event()
        self._watching = None if scale.idle_s == inf else tasks.create_task(self._end_idle_ones())
        self._grow(scale.least)

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._revision

    async def ready(self) -> None:
        """Wait until a replica serves what is expected; start one if there is none."""
        await self._wait_ready(LAUNCH_S + self._function.start_s)

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call; for a replica to be started again it waits a moment, for the first one after idling as long as `ready`."""
        replica = self._free() or await self._wait_free()
        replica.calls += 1
        try:
            reply = await replica.call(operation, namespace, entity, calls)
        finally:
            replica.calls -= 1
            replica.idle_since_s = asyncio.get_running_loop().time()
            if self._queued or self._stopped:
                self._tell_change()
        self._revision = reply.revision
        return reply

    async def end(self) -> None:
        """Take no more calls, wait for those under way as long as one may take, and let all replicas end with the task group."""
        self._stopped = True
        self._tell_change()
        if self._watching is not None:
            self._watching.cancel()
        try:
            async with asyncio.timeout(self._function.timeout_s):
                while any(replica.calls for replica in self._replicas):
                    await self._change.wait()
        except TimeoutError:
            logger.warning("function %s is stopped with calls under way", self._name)
        finally:
            for task in self._running.values():
                task.cancel()

    # ------------------------------------------------------- more and fewer
    def _grow(self, count: int) -> None:
        """Have so many replicas, if there are fewer."""
        while len(self._replicas) < count:
            number = min(set(range(1, count + 1)) - {replica.number for replica in self._replicas})
            replica = Supervised(
                self._function,
                self._expected,
                self._launcher,
                self._clock,
                number=number,
                changed=self._tell_change,
                observer=self._observer,
            )
            replica.idle_since_s = asyncio.get_running_loop().time()
            self._replicas.append(replica)
            self._running[replica] = self._tasks.create_task(replica.run())

    async def _end_idle_ones(self) -> None:
        while True:
            await self._clock.sleep(min(_LOOK_S, self._scale.idle_s / _LOOKS_MIN))
            if self._queued or self._starting:
                continue
            for place in idle(self._scale, self._replicas, asyncio.get_running_loop().time()):
                self._running.pop(self._replicas.pop(place)).cancel()
                self._asleep = not self._replicas
            self._tell_change()

    # ------------------------------------------------------- who is called
    def _free(self) -> Supervised | None:
        """Return the replica with the fewest calls, if it may have one more."""
        free = None
        for replica in self._replicas:
            if replica.ready and replica.calls < (self._scale.concurrency if free is None else free.calls):
                free = replica
        return None if self._stopped else free

    async def _wait_free(self) -> Supervised:
        """Return a replica that may have one more call, as soon as there is one; start more while calls wait."""
        start_s, timeout_s = self._function.start_s, self._function.timeout_s
        self._queued += 1
        try:
            async with asyncio.timeout(LAUNCH_S + start_s + timeout_s):
                while (replica := self._free()) is None:
                    under_way = sum(replica.calls for replica in self._replicas)
                    self._grow(wanted(self._scale, under_way + self._queued))
                    if any(replica.ready for replica in self._replicas):
                        await self._change.wait()
                    else:
                        await self._wait_ready(LAUNCH_S + start_s if self._asleep else CALL_WAIT_S)
        except TimeoutError as error:
            message = f"function {self._name} is busy: {len(self._replicas)} replicas with {self._scale.concurrency} calls each"
            raise FunctionUnavailable(message) from error
        finally:
            self._queued -= 1
        return replica

    async def _wait_ready(self, within_s: float) -> None:
        if self._stopped:
            raise FunctionUnavailable(f"function {self._name} is stopped")
        if any(replica.ready for replica in self._replicas):
            return
        self._grow(1)
        self._starting += 1
        try:
            await self._replicas[0].wait_ready(within_s)
            self._revision = self._replicas[0].revision
        finally:
            self._starting -= 1
            self._asleep = False

    def _tell_change(self) -> None:
        """Wake all who wait for a replica, and tell how many there are."""
        self._change.set()
        self._change = asyncio.Event()
        ready_ones = sum(replica.ready for replica in self._replicas)
        if ready_ones != self._ready_ones:
            self._observer.replicas_changed(self._function.name, ready_ones - self._ready_ones)
            self._ready_ones = ready_ones


@contextmanager
def one_error() -> Iterator[None]:
    """Let a single error come out of a task group as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
