"""Calls to a function that takes one item at a time (function.md, rule 46): taken apart into single ones, and put together again.

The items of an instance go one after another, each with the state and version that the last one ended in; instances go side by
side. It knows neither connections nor time: how one call is made, it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NoReturn, TypeAlias

from evento.errors import FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Operation, Reply, version_after
from evento.functions.codec import RESPONSE_BYTES_MAX
from evento.model.command import Failure

Ask: TypeAlias = Callable[[Sequence[InstanceCall]], Awaitable[Reply]]


class Singles:
    """One call to such a function. `ask` makes a call, `function` names the function in failures."""

    def __init__(self, ask: Ask, function: str, operation: Operation, calls: Sequence[InstanceCall]) -> None:
        self._ask = ask
        self._function = function
        self._operation = operation
        self._calls = calls
        self._replies: dict[int, InstanceReply] = {}
        self._revisions: set[str] = set()
        self._bytes = 0

    async def run(self, revision: str, *, at_once: int) -> Reply:
        """Make the single calls, `at_once` at a time, and return their replies as one, of `revision` if there is none.

        Raises FunctionError: that which spoils a call of one item spoils the whole call, and ends what is under way.
        """
        left = iter(enumerate(self._calls))
        if len(self._calls) == 1:
            await self._work(left)
        else:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(min(at_once, len(self._calls))):
                        tasks.create_task(self._work(left))
            except BaseExceptionGroup as group:
                _raise_first(group)
        if len(self._revisions) > 1:
            raise FunctionUnavailable(f"function {self._function} was replaced while it worked")
        return Reply(next(iter(self._revisions), revision), [self._replies[index] for index in range(len(self._calls))])

    async def _work(self, left: Iterator[tuple[int, InstanceCall]]) -> None:
        for index, call in left:
            self._replies[index] = await self._step(call)

    async def _step(self, call: InstanceCall) -> InstanceReply:
        """Call one instance, item by item, until one fails."""
        results: list[Sequence[FunctionEvent]] = []
        state, version = call.state, call.version
        failure: Failure | None = None
        for item in call.items:
            single = InstanceCall(call.id, version, state, (item,))
            try:
                reply = await self._ask([single])
            except InvalidFunctionResult as error:
                failure = self._failure(error)
                break
            self._revisions.add(reply.revision)
            (part,) = reply.instances
            if part.failure is not None:
                failure = part.failure
                break
            results.extend(part.results)
            self._keep(sum(len(event.payload) for events in part.results for event in events))
            if part.state is not None:
                state, version = part.state, version_after(self._operation, single, part)
        after = state if results and self._operation is not Operation.HANDLE else None
        self._keep(len(after or b""))
        return InstanceReply(results, after, failure)

    def _keep(self, size: int) -> None:
        """Count bytes that are kept until the call is done: all together they are not more than one answer may have."""
        self._bytes += size
        if self._bytes > RESPONSE_BYTES_MAX:
            raise InvalidFunctionResult(
                f"the function's answers to one call are too large together: over {RESPONSE_BYTES_MAX} bytes"
            )

    def _failure(self, error: InvalidFunctionResult) -> Failure:
        """Return what an answer other than 200 means: that this item failed. Raises any other error again."""
        if "answered" not in error.details:
            raise error
        code = "apply-failed" if self._operation is Operation.APPLY else "handler-failed"
        return Failure(code, error.details["said"] or error.message, self._function)


def _raise_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise the first of several errors, and one that tells of the item before one that tells that nobody was there any more.

    A function that crashes in one item is gone for all that were to be sent just then.
    """
    told = [error for error in group.exceptions if not isinstance(error, FunctionUnavailable)]
    raise (told or group.exceptions)[0] from None
