"""Calling functions for the engine: by name, through a circuit breaker each (reliability §6), measured."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from evento.engine.base import FunctionStatus
from evento.errors import FunctionError, FunctionUnavailable
from evento.functions.base import FunctionClient, InstanceCall, Operation, Reply
from evento.functions.breaker import Breaker

_TAKEN_MIN_S = 1e-4
_PACE_WEIGHT = 0.2  # of the last call
CallObserver = Callable[[str, str, str, float], None]  # function, operation, result, seconds


class Caller:
    """One function as the engine sees it. `calls_max`: it is made for so many calls at a time; 0 if it does not say."""

    def __init__(self, namespace: str, name: str, client: FunctionClient, *, observe: CallObserver, calls_max: int = 0) -> None:
        self.namespace = namespace
        self.name = name
        self.calls_max = calls_max
        self.pace = 0.0  # items in a second of a call, as in the last few calls
        self._client = client
        self._breaker = Breaker()
        self._observe = observe
        self._ready = False
        self._starting = 0  # who waits for it to be ready
        self._message = ""

    @property
    def revision(self) -> str:
        """Return the revision of the function last seen."""
        return self._client.revision

    @property
    def usable(self) -> bool:
        """Tell whether it was ready at the last call, so that `ready` need not be awaited."""
        return self._ready

    async def ready(self) -> None:
        """Wait until the function serves. Raises FunctionUnavailable; no attempt is counted."""
        self._admit()
        await self._get_ready()

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call. Raises FunctionError; FunctionUnavailable also while the breaker is open."""
        self._admit()
        if not self._ready:
            await self._get_ready()
        now = asyncio.get_running_loop().time
        started = now()
        try:
            reply = await self._client.call(operation, namespace, entity, calls)
        except FunctionError as error:
            self._failed(error)
            self._observe(self.name, operation.value, error.code, now() - started)
            raise
        taken_s = now() - started
        self._breaker.record(True, started + taken_s)
        self._observe(self.name, operation.value, "ok", taken_s)
        self._learn_pace(sum([len(call.items) for call in calls]), taken_s)
        return reply

    def _learn_pace(self, items: int, taken_s: float) -> None:
        pace = items / max(taken_s, _TAKEN_MIN_S)
        self.pace += (pace - self.pace) * (_PACE_WEIGHT if self.pace else 1.0)

    def delay_s(self) -> float:
        """Return how long to wait before this function is worth another try."""
        probe_s = self._breaker.next_probe_s
        return 0.0 if probe_s is None else max(0.0, probe_s - asyncio.get_running_loop().time())

    def status(self) -> FunctionStatus:
        """Return how the function is doing."""
        return FunctionStatus(self.namespace, self.name, self._condition(), self.revision, "" if self._ready else self._message)

    def _condition(self) -> str:
        if self._breaker.is_open:
            return "failing"
        if self._ready:
            return "ready"
        return "starting" if self._starting else "stopped"

    async def _get_ready(self) -> None:
        self._starting += 1
        try:
            await self._client.ready()
        except FunctionUnavailable as error:
            self._failed(error)
            raise
        finally:
            self._starting -= 1
        self._ready = True
        self._breaker.record(True, asyncio.get_running_loop().time())

    def _admit(self) -> None:
        if not self._breaker.allows(asyncio.get_running_loop().time()):
            raise FunctionUnavailable(f"{self.name} keeps failing; it is tried again soon. Last: {self._message}")

    def _failed(self, error: FunctionError) -> None:
        self._message = error.message
        self._ready = False
        unavailable = isinstance(error, FunctionUnavailable)
        self._breaker.record(False, asyncio.get_running_loop().time(), unavailable=unavailable)


Callers = Mapping[tuple[str, str], Caller]
