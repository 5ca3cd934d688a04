"""The HTTP server around the application: uvicorn in our own event loop, with the limits that a parser has to hold.

Knows no platform. Binds before it returns, so that who waits for it can connect.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from evento.api.app import App
from evento.api.body import Message
from evento.api.problems import PROBLEM_TYPE, problem_response
from evento.errors import InvalidRequest, SettingsError
from evento.model.limits import HEADER_BYTES_MAX, HEADERS_MAX

KEEP_ALIVE_S = 75
BACKLOG = 2048
_SILENT_BYTES_MAX = 2 * HEADER_BYTES_MAX  # that may come in before the parser has a whole header or a piece of body to show for it
_CONTROLS = bytes((*range(32), 127))


class WholeAnswers(RequestResponseCycle):
    """uvicorn's request and answer, but an answer that is there as a whole goes out in one write: each is a call to the system.

    A head that tells the length of its body is held until the body comes, at once. All that is not so plain is left to uvicorn.
    """

    held: Message | None = None

    async def send(self, message: Any) -> None:
        """Take a part of the answer. Raises RuntimeError if it is not one."""
        if message["type"] == "http.response.start" and not self.response_started:
            names = dict(message["headers"])
            if b"content-length" in names and b"connection" not in names and self.scope["method"] != "HEAD":
                self.held = message
                return
        head, self.held = self.held, None
        if head is not None and message["type"] == "http.response.body":
            body = message.get("body", b"")
            if not message.get("more_body", False) and self._write(head, body):
                return
            await super().send(head)  # type: ignore[arg-type]
        await super().send(message)

    def _write(self, head: Message, body: bytes) -> bool:
        """Write head and body and end the answer; False if uvicorn has to."""
        headers = [*self.default_headers, *head["headers"]]
        if (b"content-length", b"%d" % len(body)) not in headers or self.flow.write_paused or self.disconnected:
            return False
        lines = [name + b": " + value for name, value in headers]
        if not self.keep_alive:
            lines.append(b"connection: close")
        text = b"".join(lines)
        if text.translate(None, _CONTROLS) != text:
            raise RuntimeError("a header has control characters in it")
        self.transport.write(STATUS_LINE[head["status"]] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounds on targets, headers and trailers, and problems for what is not HTTP.

    The parser collects a target, a header or a trailer until its end is there, however long that takes. So the bytes are counted
    for which it has shown nothing yet.
    """

    _silent_bytes = 0
    _header_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse, and hang up if the parser collects too much."""
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > _SILENT_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(f"a target, header or trailer is larger than {HEADER_BYTES_MAX} bytes")

    def on_message_begin(self) -> None:
        """Count the headers of the next request anew."""
        self._header_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many or they are too large."""
        self._silent_bytes = 0
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX or len(self.headers) >= HEADERS_MAX:
            raise httptools.HttpParserError(f"more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of them")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._silent_bytes = 0
        if len(self.url) > HEADER_BYTES_MAX:
            raise httptools.HttpParserError(f"the target is larger than {HEADER_BYTES_MAX} bytes")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of body."""
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        self._silent_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = WholeAnswers  # uvicorn has no place to name another class
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not a request with a problem, and hang up."""
        _, _, body = problem_response(InvalidRequest(f"the HTTP request is malformed or too large: {msg}"))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (PROBLEM_TYPE, len(body)) + body)
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn without its own handling of signals: whoever starts the platform ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


@contextlib.asynccontextmanager
async def listening(app: App, *, host: str, port: int, shutdown_s: float = 10.0) -> AsyncIterator[int]:
    """Serve `app` for the time of the context; gives the port (another than asked for if that was 0).

    Leaving takes no new requests, and waits up to `shutdown_s` seconds for those under way. Raises SettingsError if it cannot
    listen.
    """
    config = _config(app, shutdown_s)
    try:
        sockets = await _bind(host, port)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host} port {port}: {error}", setting="host, port", value=f"{host}:{port}"
        ) from error
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=sockets))
        try:
            yield sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


def _config(app: App, shutdown_s: float) -> uvicorn.Config:
    options: dict[str, Any] = {
        "http": LimitedProtocol,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": True,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": max(1, round(shutdown_s)),
    }
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(app, **options)


async def _bind(host: str, port: int) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return [bound]
