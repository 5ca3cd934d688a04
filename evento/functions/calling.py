"""The trace context of the call under way: set by who traces calls, read where a request is written, known to nobody between."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


@contextmanager
def calling(traceparent: str) -> Iterator[None]:
    """Let the calls that are made within carry this trace context."""
    token = _traceparent.set(traceparent)
    try:
        yield
    finally:
        _traceparent.reset(token)


def traceparent() -> str:
    """Return the trace context that a request made now should carry; "" if there is none."""
    return _traceparent.get()
