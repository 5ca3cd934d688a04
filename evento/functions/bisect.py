"""Isolating what spoils a call: a call that fails as a whole is split until only the guilty item is left (reliability §6).

Parts are called one after another: the item that hangs or crashes a function takes whatever runs beside it along. That is also why
one call at a time is taken apart. A function that cannot be reached is nobody's fault, and its calls are left whole.
"""

import asyncio
from collections.abc import Sequence
from math import ceil

from evento.errors import (
    FunctionCrashed,
    FunctionError,
    FunctionOutOfMemory,
    FunctionTimeout,
    FunctionUnavailable,
    InvalidFunctionResult,
)
from evento.functions.base import FunctionClient, FunctionEvent, InstanceCall, InstanceReply, Operation, Reply, version_after
from evento.model.command import Failure

PARTS = 8  # a failed call is split into so many: fewer steps down cost fewer timeouts and restarts
CALLS_MAX = 64  # for one call taken apart
FAILED_CALLS_MAX = 12
TIMEOUTS_MAX = 6
_NOT_TRIED = "not tried: too many other parts of its call failed"
_SPOILED = (FunctionCrashed, FunctionOutOfMemory, FunctionTimeout, InvalidFunctionResult)


class Bisecting:
    """A FunctionClient that takes calls apart when they fail as a whole, so that one bad item fails alone.

    When the bounds are reached first, what was not tried answers with a failure of code function-unavailable: it is as good as not
    called. When nothing at all came out well, the first error is raised: then it is the function that fails, not an item.
    """

    def __init__(self, inner: FunctionClient, name: str) -> None:
        self._inner = inner
        self._name = name
        self._one_at_a_time = asyncio.Lock()

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._inner.revision

    async def ready(self) -> None:
        """Wait for the function."""
        await self._inner.ready()

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make the call, and further ones if it fails as a whole."""
        try:
            return await self._inner.call(operation, namespace, entity, calls)
        except _SPOILED as error:
            if len(calls) == 1 and len(calls[0].items) == 1:
                raise
            async with self._one_at_a_time:
                bisection = _Bisection(self._inner, self._name, operation, (namespace, entity), calls)
                return await bisection.run(error)


class _Bisection:
    """One call being taken apart."""

    def __init__(
        self, inner: FunctionClient, name: str, operation: Operation, place: tuple[str, str], calls: Sequence[InstanceCall]
    ) -> None:
        self._inner = inner
        self._name = name
        self._operation = operation
        self._place = place
        self._calls = calls
        self._replies: list[InstanceReply] = [self._failed(FunctionUnavailable(_NOT_TRIED))] * len(calls)
        self._revision: str | None = None
        self._made = self._spoiled = self._timeouts = 0
        self._given_up = False

    async def run(self, error: FunctionError) -> Reply:
        await self._split(0, len(self._calls))
        if self._revision is None:
            raise error
        return Reply(self._revision, self._replies)

    async def _split(self, start: int, end: int) -> None:
        """Call the instances from `start` to `end`, which failed together, in parts."""
        if end - start == 1:
            self._replies[start] = await self._step(self._calls[start])
            return
        size = ceil((end - start) / PARTS)
        for first in range(start, end, size):
            last = min(first + size, end)
            result = await self._attempt(self._calls[first:last])
            if isinstance(result, Reply):
                self._replies[first:last] = result.instances
            elif result is not None and last - first == 1 and len(self._calls[first].items) == 1:
                self._replies[first] = self._failed(result)
            elif result is not None:
                await self._split(first, last)

    async def _step(self, call: InstanceCall) -> InstanceReply:
        """Call one instance, whose items failed together, in shorter and shorter runs, each from the state after the last."""
        results: list[Sequence[FunctionEvent]] = []
        state, version, size = call.state, call.version, ceil(len(call.items) / PARTS)
        failure: Failure | None = None
        while len(results) < len(call.items) and failure is None:
            items = call.items[len(results) : len(results) + size]
            part_call = InstanceCall(call.id, version, state, items)
            result = await self._attempt([part_call])
            if isinstance(result, Reply):
                part = result.instances[0]
                results.extend(part.results)
                failure = part.failure
                if part.state is not None:
                    state, version = part.state, version_after(self._operation, part_call, part)
            elif result is not None and size > 1:
                size = ceil(size / PARTS)
            else:
                failure = self._failed(result or FunctionUnavailable(_NOT_TRIED)).failure
        finished = results and self._operation is not Operation.HANDLE
        return InstanceReply(results, state if finished else None, failure)

    async def _attempt(self, calls: Sequence[InstanceCall]) -> Reply | FunctionError | None:
        """Return the reply, or why the call is spoiled, or None when no further call is made."""
        if self._given_up or self._made >= CALLS_MAX or self._spoiled >= FAILED_CALLS_MAX or self._timeouts >= TIMEOUTS_MAX:
            return None
        self._made += 1
        try:
            reply = await self._patient_call(calls)
        except _SPOILED as error:
            self._spoiled += 1
            self._timeouts += isinstance(error, FunctionTimeout)
            return error
        except FunctionUnavailable:
            self._given_up = True
            return None
        if self._revision is None:
            self._revision = reply.revision
        elif self._revision != reply.revision:  # one call is answered by one revision
            self._given_up = True
            return None
        return reply

    async def _patient_call(self, calls: Sequence[InstanceCall]) -> Reply:
        """Make a call; of a function that is being started again because the last call ended it, wait for that."""
        try:
            return await self._inner.call(self._operation, *self._place, calls)
        except FunctionUnavailable:
            await self._inner.ready()
            return await self._inner.call(self._operation, *self._place, calls)

    def _failed(self, error: FunctionError) -> InstanceReply:
        return InstanceReply((), None, Failure(error.code, error.message, self._name))
