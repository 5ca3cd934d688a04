"""A collector of traces: a real HTTP server that takes OTLP as protobuf, and gives the spans back."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S = 90.0


class Received(NamedTuple):
    """A span as it came over the wire; ids in hex."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    failed: str
    start_ns: int
    end_ns: int
    resource: dict[str, Any]


class Collector:
    """What came in so far."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def wait(self, count: int) -> list[Received]:
        """Return the spans once there are so many."""
        until = time.monotonic() + WAIT_S
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.spans) >= count, f"{len(self.spans)} of {count}: {[span.name for span in self.spans]}"
        return list(self.spans)

    def take(self, path: str, media_type: str, body: bytes) -> None:
        self.requests.append((path, media_type))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_received(span, about) for span in scope.spans]


def _received(span: Any, resource: dict[str, Any]) -> Received:
    values = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    return Received(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=values,
        failed=span.status.message if span.status.code == 2 else "",
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        resource=resource,
    )


@contextmanager
def collecting(*, hang: threading.Event | None = None) -> Iterator[Collector]:
    """Run a collector; with `hang` it does not answer before that is set."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if hang is not None:
                hang.wait()
            collector.take(self.path, self.headers["Content-Type"], body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        if hang is not None:
            hang.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
