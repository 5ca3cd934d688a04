"""Intake to outcome: a span for each Command that is sent, whose trace context travels with the Command from there on."""

from collections.abc import Sequence

from msgspec.structs import replace

from evento.engine.base import Commands
from evento.engine.stream_order import StreamOrder
from evento.engine.ticket import Answer, Waiter
from evento.errors import EventoError
from evento.model.command import Command, Context, Outcome, OutcomeKind, Pending
from evento.model.keys import EntityKey
from evento.tracing.spans import SERVED, Span, Spans

_SERVER_FAULT = 500  # from this status on an error is ours, not the sender's


class TracedCommands:
    """Commands, with a span for each that is sent; it ends when its sender is answered."""

    def __init__(self, inner: Commands, spans: Spans) -> None:
        self._inner = inner
        self._spans = spans

    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        """See `evento.engine.base.Commands.send`."""
        traced, span = self._started(command)
        answer: Answer | None = None
        try:
            answer = await self._inner.send(traced, wait_s=wait_s)
        except EventoError as error:
            answer = error
            raise
        finally:
            _end(span, answer)
        return answer

    def submit(self, command: Command, waiter: Waiter, *, wait_s: float) -> None:
        """See `evento.engine.base.Commands.submit`."""
        traced, span = self._started(command)
        try:
            self._inner.submit(traced, _Told(waiter, span), wait_s=wait_s)
        except EventoError as error:
            _end(span, error)
            raise

    async def send_many(
        self, commands: Sequence[Command], *, wait_s: float, order: StreamOrder | None = None
    ) -> Sequence[Outcome | EventoError]:
        """See `evento.engine.base.Commands.send_many`. The spans of all end together, when all are answered."""
        started = [self._started(command) for command in commands]
        answers: Sequence[Answer | None] = [None] * len(started)
        try:
            found = await self._inner.send_many([command for command, _ in started], wait_s=wait_s, order=order)
            answers = found
        finally:
            for (_, span), answer in zip(started, answers, strict=True):
                _end(span, answer)
        return found

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        """See `evento.engine.base.Commands.pending`."""
        return await self._inner.pending(parked=parked, after=after, limit=limit)

    async def retry(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.retry`."""
        await self._inner.retry(key, command_id)

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.discard`."""
        await self._inner.discard(key, command_id)

    def _started(self, command: Command) -> tuple[Command, Span]:
        context = command.context or Context()
        attributes = {
            "evento.command": command.type,
            "evento.command.id": command.id,
            "evento.entity": f"{command.key.namespace}/{command.key.entity}",
            "evento.instance": command.key.id,
        }
        name = f"{command.type} {command.key.namespace}/{command.key.entity}"
        span = self._spans.start(name, SERVED, context.traceparent, attributes=attributes)
        return replace(command, context=replace(context, traceparent=span.traceparent)), span


class _Told:
    """A waiter who ends the span before the answer is told on."""

    def __init__(self, waiter: Waiter, span: Span) -> None:
        self._waiter = waiter
        self._span = span

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer and tell it on."""
        _end(self._span, answer)
        self._waiter.tell(place, answer)


def _end(span: Span, answer: Answer | None) -> None:
    """End a span with what its sender is told; None: nothing, because nobody waits any more."""
    if answer is None:
        span.end(attributes={"evento.outcome": "unknown"})
    elif isinstance(answer, EventoError):
        failure = answer.message if answer.status >= _SERVER_FAULT else ""
        span.end(failure=failure, attributes={"evento.outcome": answer.code})
    else:
        version = {"evento.version": answer.turn.version} if answer.turn is not None else {}
        parked = answer.pending.failure if answer.pending is not None and answer.kind is OutcomeKind.PARKED else None
        attributes = {"evento.outcome": answer.kind.value, "evento.duplicate": answer.duplicate, **version}
        span.end(failure=parked.message if parked else "", attributes=attributes)
