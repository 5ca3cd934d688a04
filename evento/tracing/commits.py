"""What becomes of turns: a span for each that is durable, and one for each that failed, in the trace of its Command."""

from collections.abc import Sequence

from evento.engine.observer import Observer
from evento.lifecycle.run import Progress
from evento.model.command import Turn
from evento.tracing.spans import Attributes, Spans, is_sampled

_US = 1_000_000


class TracedObserver(Observer):
    """Makes spans of what it hears, and lets another observer hear it too."""

    def __init__(self, inner: Observer, spans: Spans) -> None:
        self._inner = inner
        self._spans = spans

    def committed(self, turns: Sequence[Turn], commit_s: float, now_us: int) -> None:
        """Record the commit once for each traced Command in it."""
        self._inner.committed(turns, commit_s, now_us)
        for turn in turns:
            context = turn.command.context
            if context is None or context.traceparent is None or not is_sampled(context.traceparent):
                continue
            attributes = {
                "evento.outcome": turn.kind.value,
                "evento.version": turn.version,
                "evento.attempts": turn.attempts,
                "evento.commit.commands": len(turns),
            }
            name = f"commit {turn.command.key.namespace}/{turn.command.key.entity}"
            start_us = now_us - int(commit_s * _US)
            self._spans.record(name, context.traceparent, start_us=start_us, end_us=now_us, attributes=attributes)

    def failed(self, run: Progress) -> None:
        """Record that a turn failed, and why."""
        self._inner.failed(run)
        work = run.works[run.done]
        context = work.command.context
        if context is None or context.traceparent is None or not is_sampled(context.traceparent) or run.failure is None:
            return
        attributes: Attributes = {"evento.failure": run.failure.code, "evento.attempts": work.attempts}
        name = f"failed {run.key.namespace}/{run.key.entity}"
        times = {"start_us": run.now_us, "end_us": run.now_us}
        self._spans.record(name, context.traceparent, **times, attributes=attributes, failure=run.failure.message)
