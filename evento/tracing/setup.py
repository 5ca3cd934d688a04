"""Whether to trace, as the standard environment variables of OpenTelemetry say, and where the layers go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from evento.engine.base import Commands
from evento.engine.observer import Observer
from evento.errors import SettingsError
from evento.functions.base import FunctionRuntime

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from evento.tracing.spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_FLUSH_S = 5.0  # at the end, for spans not sent yet; what is not sent then is lost


class Tracing:
    """Puts the layers around what they trace; without spans it gives everything back as it is."""

    def __init__(self, spans: "Spans | None" = None) -> None:
        self._spans = spans

    def commands(self, inner: Commands) -> Commands:
        """Return Commands whose intake is traced."""
        if self._spans is None:
            return inner
        from evento.tracing.commands import TracedCommands

        return TracedCommands(inner, self._spans)

    def runtime(self, inner: FunctionRuntime) -> FunctionRuntime:
        """Return a runtime whose calls are traced."""
        if self._spans is None:
            return inner
        from evento.tracing.calls import TracedRuntime

        return TracedRuntime(inner, self._spans)

    def observer(self, inner: Observer) -> Observer:
        """Return an observer that traces commits."""
        if self._spans is None:
            return inner
        from evento.tracing.commits import TracedObserver

        return TracedObserver(inner, self._spans)


@asynccontextmanager
async def open_tracing(environment: Mapping[str, str]) -> AsyncIterator[Tracing]:
    """Trace for the time of the context, if an endpoint is named. Raises SettingsError if that is not possible.

    The library reads the rest of its variables itself: sampler, headers, timeouts, sizes of batches.
    """
    if not _is_wanted(environment):
        yield Tracing()
        return
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        raise SettingsError(f"{_PROTOCOLS[1]} is {protocol}; traces are sent as {_PROTOCOL} only", value=protocol)
    provider = _provider(environment)
    from evento.tracing.spans import Spans

    try:
        yield Tracing(Spans(provider, version("evento-platform")))
    finally:
        await _flushed(provider)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    return not disabled and any(environment.get(name) for name in _ENDPOINTS)


def _provider(environment: Mapping[str, str]) -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        message = f"{_ENDPOINTS[1]} is set; to send traces, install the extra: pip install 'evento-platform[otlp]'"
        raise SettingsError(message) from error
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "evento"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


async def _flushed(provider: "TracerProvider") -> None:
    """Send what is left, for _FLUSH_S seconds at most: a collector that hangs does not hold up the end."""
    loop, sent = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # nobody waited so long, and the loop is closed
            loop.call_soon_threadsafe(sent.set)

    threading.Thread(target=shut_down, name="evento-traces", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(_FLUSH_S):
            await sent.wait()
