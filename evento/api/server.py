"""The HTTP server around the application: uvicorn in our own event loop, with the limits that a parser has to hold.

Knows no platform. Binds before it returns, so that who waits for it can connect.
"""

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from evento.api.app import App
from evento.api.body import Headers, Message
from evento.api.exchange import Exchange, whole_answer
from evento.api.paths import command_place, read_path
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
        text = b"".join([name + value for name, value in headers])
        if text.translate(None, _CONTROLS) != text:
            raise RuntimeError("a header has control characters in it")
        self.transport.write(whole_answer(head["status"], headers, body, keep_alive=self.keep_alive))
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

    def __init__(self, app: App, **options: Any) -> None:
        super().__init__(**options)
        self._posts = app.post_command
        self._refusals = app.refusals
        self._silent_bytes = 0
        self._header_bytes = 0
        self._idle_since_s: float | None = None
        self.held: Exchange | None = None

    @property
    def write_paused(self) -> bool:
        """Tell whether the client reads too slowly."""
        return self.flow.write_paused

    @property
    def default_headers(self) -> Headers:
        """The headers that every answer has."""
        return self.server_state.default_headers

    # ------------------------------------------------------------ the connection
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what would have been answered."""
        self.held = None
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()  # now the timer too

    def resume_writing(self) -> None:
        """Write the answer for which the client was too slow."""
        super().resume_writing()
        held, self.held = self.held, None
        if held is not None:
            held.write()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for long enough, or look again when it may have been."""
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return  # the end of the answer under way sets the timer
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._look_again(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _look_again(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since_s = None  # the timer runs on: setting one for each request is dear

    # ------------------------------------------------------------ the parser
    def data_received(self, data: bytes) -> None:
        """Parse, and hang up if the parser collects too much."""
        self._silent_bytes += len(data)
        super().data_received(data)
        if self._silent_bytes > _SILENT_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response(f"a target, header or trailer is larger than {HEADER_BYTES_MAX} bytes")

    def on_message_begin(self) -> None:
        """Count the headers of the next request anew."""
        self._header_bytes = 0
        self._idle_since_s = None  # also if the answer before went out while this was being parsed
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many or they are too large."""
        self._silent_bytes = 0
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX or len(self.headers) >= HEADERS_MAX:
            raise httptools.HttpParserError(f"more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of them")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Serve the request."""
        self._silent_bytes = 0
        if len(self.url) > HEADER_BYTES_MAX:
            raise httptools.HttpParserError(f"the target is larger than {HEADER_BYTES_MAX} bytes")
        place = self._command_place() if self.parser.get_method() == b"POST" else None
        if place is None:
            self._begin_scope()
            super().on_headers_complete()
        else:
            self._begin_exchange(place)

    def _begin_scope(self) -> None:
        """Let uvicorn begin the request as an ASGI one, now that it turned out to be one."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)

    def _command_place(self) -> Sequence[str] | None:
        try:
            return command_place(read_path(httptools.parse_url(self.url).path))
        except InvalidRequest:
            return None  # the application refuses it

    def _begin_exchange(self, place: Sequence[str]) -> None:
        before: Exchange | RequestResponseCycle | None = self.cycle
        exchange = Exchange(self, self._posts, self._refusals, place, self.headers)
        exchange.keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        exchange.waiting_for_100_continue = self.expect_100_continue
        self.cycle = exchange  # type: ignore[assignment]
        if before is None or before.response_complete:
            exchange.start()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        """Take a piece of body."""
        self._silent_bytes = 0
        cycle: Exchange | RequestResponseCycle = self.cycle
        if isinstance(cycle, Exchange):
            cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        self._silent_bytes = 0
        cycle: Exchange | RequestResponseCycle = self.cycle
        if isinstance(cycle, Exchange):
            cycle.end()
        else:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: Exchange | RequestResponseCycle, app: Any) -> None:
        if isinstance(cycle, Exchange):
            self.loop.call_soon(cycle.start)  # not at once: a thousand in a row may be refused without any waiting
            return
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
        "http": functools.partial(LimitedProtocol, app),
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
