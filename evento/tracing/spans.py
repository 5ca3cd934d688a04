"""Spans by OpenTelemetry's SDK, spoken of in W3C trace contexts: the one module that knows the library. It knows no Commands."""

from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SERVED, CALLING, WITHIN = SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL
LINKS_MAX = 100  # of one call; beyond that its spans link to it and not it to them

Attributes = Mapping[str, str | int | bool]

_HEADER = "traceparent"
_FLAGS_AT = 54  # the last hex digit of the flags: 00-<32>-<16>-0F
_SAMPLED = frozenset("13579bdf")
_W3C = TraceContextTextMapPropagator()
_NS_PER_US = 1000


def is_sampled(traceparent: str | None) -> bool:
    """Tell whether a trace context is that of a span that is recorded."""
    return traceparent is not None and traceparent[_FLAGS_AT : _FLAGS_AT + 1] in _SAMPLED


class Span:
    """One span that runs. End it, whatever happens."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        here = span.get_span_context()
        self.traceparent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"

    def end(self, *, failure: str = "", attributes: Attributes | None = None) -> None:
        """End it now; with a `failure`, in an error of that description."""
        _end(self._span, failure, attributes, None)


class Spans:
    """Makes spans."""

    def __init__(self, provider: TracerProvider, version: str) -> None:
        self._tracer = provider.get_tracer("evento", version)

    def start(self, name: str, kind: SpanKind, parent: str | None, *, attributes: Attributes, links: Sequence[str] = ()) -> Span:
        """Start a span below `parent` (a traceparent; None: of a trace of its own), with links to others."""
        linked = [Link(get_current_span(_context(link)).get_span_context()) for link in links[:LINKS_MAX]]
        return Span(self._tracer.start_span(name, _context(parent), kind, attributes, linked))

    def record(self, name: str, parent: str, *, start_us: int, end_us: int, attributes: Attributes, failure: str = "") -> None:
        """Make a span of something that is over."""
        span = self._tracer.start_span(name, _context(parent), WITHIN, attributes, start_time=start_us * _NS_PER_US)
        _end(span, failure, None, end_us * _NS_PER_US)


def _context(traceparent: str | None) -> Context:
    """Return a context with this trace context and nothing of the task's own; an empty one for what is none."""
    return _W3C.extract({_HEADER: traceparent}, Context()) if traceparent else Context()


def _end(span: OtelSpan, failure: str, attributes: Attributes | None, end_ns: int | None) -> None:
    if attributes:
        span.set_attributes(attributes)
    if failure:
        span.set_status(StatusCode.ERROR, failure)
    span.end(end_ns)
