"""Calls to functions: a span for each Command in a call, and one for the call, which they share.

A call serves many traces. Its span stands in the trace of the first, and is linked with the spans of all the others, both ways.
A Command whose trace is not recorded costs a look at its context, and nothing is made for it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from msgspec.structs import replace

from evento.errors import FunctionError
from evento.functions.base import (
    NOTHING_EXPECTED,
    Expected,
    FunctionClient,
    FunctionRuntime,
    InstanceCall,
    InstanceReply,
    Item,
    Operation,
    Reply,
)
from evento.functions.calling import calling
from evento.model.resources import FunctionSpec
from evento.tracing.spans import CALLING, WITHIN, Attributes, Span, Spans, is_sampled


class TracedRuntime:
    """A FunctionRuntime whose clients trace their calls."""

    def __init__(self, inner: FunctionRuntime, spans: Spans) -> None:
        self._inner = inner
        self._spans = spans

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """See `evento.functions.base.FunctionRuntime.serve`."""
        async with self._inner.serve(function, expected) as client:
            yield TracedClient(client, f"{function.namespace}/{function.name}", self._spans)


class _Turn(NamedTuple):
    """One traced item of a call: where it stands, and its span."""

    instance: int
    item: int
    span: Span


class TracedClient:
    """A FunctionClient that traces the calls of another one."""

    def __init__(self, inner: FunctionClient, name: str, spans: Spans) -> None:
        self._inner = inner
        self._name = name
        self._spans = spans

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._inner.revision

    async def ready(self) -> None:
        """Wait for the function."""
        await self._inner.ready()

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make the call, below a span if any of its Commands is traced."""
        traces = [trace for call in calls for item in call.items if (trace := _trace_of(item))]
        if not traces:
            return await self._inner.call(operation, namespace, entity, calls)
        where = f"{namespace}/{entity}"
        attributes: Attributes = {"evento.function": self._name, "evento.entity": where, "evento.call.instances": len(calls)}
        name = f"{operation.value} {where}"
        whole = self._spans.start(name, CALLING, traces[0], attributes=attributes, links=traces[1:])
        turns, traced = self._started(operation, calls, whole)
        outcome: Reply | FunctionError | None = None
        try:
            with calling(whole.traceparent):
                outcome = await self._inner.call(operation, namespace, entity, traced)
        except FunctionError as error:
            outcome = error
            raise
        finally:
            _end(whole, turns, outcome)
        return outcome

    def _started(
        self, operation: Operation, calls: Sequence[InstanceCall], whole: Span
    ) -> tuple[list[_Turn], Sequence[InstanceCall]]:
        """Start the spans of a call's items, and return the calls with their contexts."""
        turns: list[_Turn] = []
        traced = []
        for number, call in enumerate(calls):
            items = list(call.items)
            for place, item in enumerate(items):
                context, trace = item.context, _trace_of(item)
                if context is None or not trace:
                    continue
                attributes = {"evento.command.id": item.command_id, "evento.function": self._name}
                name = f"{operation.value} {item.type}"
                span = self._spans.start(name, WITHIN, trace, attributes=attributes, links=[whole.traceparent])
                items[place] = replace(item, context=replace(context, traceparent=span.traceparent))
                turns.append(_Turn(number, place, span))
            traced.append(replace(call, items=items))
        return turns, traced


def _trace_of(item: Item) -> str:
    """Return the trace context of an item if its trace is recorded, else ""."""
    traceparent = item.context.traceparent if item.context is not None else None
    return traceparent if traceparent is not None and is_sampled(traceparent) else ""


def _end(whole: Span, turns: Sequence[_Turn], outcome: Reply | FunctionError | None) -> None:
    """End all spans of a call; with None it was given up."""
    if isinstance(outcome, Reply):
        for turn in turns:
            turn.span.end(failure=_failure(outcome.instances[turn.instance], turn.item))
        whole.end(attributes={"evento.revision": outcome.revision})
        return
    code, message = (outcome.code, outcome.message) if outcome is not None else ("cancelled", "the call was given up")
    for span in (*(turn.span for turn in turns), whole):
        span.end(failure=message, attributes={"evento.failure": code})


def _failure(reply: InstanceReply, item: int) -> str:
    """Return why an item failed, or "" if it did not."""
    if item < len(reply.results) or reply.failure is None:
        return ""
    return reply.failure.message if item == len(reply.results) else "not reached: an item before it failed"
