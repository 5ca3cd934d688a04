"""One keep-alive HTTP/1.1 connection to a function, over a Unix socket, TCP or TLS.

httptools parses; this file bounds what it parses and says how a connection ended. It knows bytes, not Avro, and never follows a
redirect, decompresses or retries. It exists because a call is on the way of every Command and a full client costs four times as
much.
"""

import asyncio
from ssl import SSLContext
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from evento.errors import FunctionCrashed, FunctionError, FunctionUnavailable, InvalidFunctionResult
from evento.functions.addresses import Guard
from evento.model.limits import HEADER_BYTES_MAX, HEADERS_MAX

CONNECT_S = 1.0
_INFORMATIONAL_MAX = 8  # 1xx answers before the real one


class Address(Struct, frozen=True):
    """Where a function listens: a Unix socket's path, or host and port (with TLS if `tls` is given). `base` precedes every path.

    `guard` says which addresses of the host may be connected to; without one the platform itself chose the host.
    """

    socket: str = ""
    host: str = ""
    port: int = 0
    tls: SSLContext | None = None
    base: str = ""
    guard: Guard | None = None

    @property
    def authority(self) -> str:
        """Return what stands in the Host header."""
        if self.socket:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"{self.authority}{self.base}"


class Response(NamedTuple):
    """An answer as it came; header names are lower-case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Connection(asyncio.Protocol):
    """A connection for one exchange at a time. One that fails or is cancelled closes it: no late answer is ever read."""

    def __init__(self) -> None:
        self.alive = False
        self.answering = False  # a byte of the answer under way has come
        self.made_s = 0.0
        self.idle_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._begin(0)

    async def exchange(self, request: bytes, bytes_max: int) -> Response:
        """Send a request and return its answer, whose body has at most `bytes_max` bytes; the caller limits the time.

        Raises FunctionCrashed if the connection ends first, InvalidFunctionResult for what is not HTTP or too large.
        """
        if self._transport is None or not self.alive:
            raise FunctionCrashed("the function ended the connection before the call")
        self._begin(bytes_max)
        self._waiter = asyncio.get_running_loop().create_future()
        answered = False
        try:
            self._transport.write(request)
            response = await self._waiter
            answered = True
        finally:
            self._waiter = None
            if not answered or not self._reusable:
                self.close()
        return response

    def close(self) -> None:
        """End the connection now; what is still on its way is dropped."""
        self.alive = False
        if self._transport is not None:
            self._transport.abort()

    def _begin(self, bytes_max: int) -> None:
        self._parser = HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_bytes_max = bytes_max
        self._informational = 0
        self._in_head = True
        self._reusable = False
        self._refusal: InvalidFunctionResult | None = None
        self.answering = False

    def _refuse(self, what: str) -> None:
        """Give up the answer from inside a callback of the parser: whatever is raised there makes it stop."""
        self._refusal = InvalidFunctionResult(f"the function's answer {what}")
        raise self._refusal

    def _fail(self, error: FunctionError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    # ------------------------------------------------------- called by the event loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.made_s = asyncio.get_running_loop().time()
        self.alive = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():  # bytes that nobody asked for
            self._reusable = False
            self.close()
            return
        self.answering = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._reusable = False
            self._fail(self._refusal or InvalidFunctionResult(f"the function's answer is not HTTP/1.1: {error}"))
            return
        if self._in_head:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES_MAX:
                self._fail(InvalidFunctionResult(f"the function's answer has more than {HEADER_BYTES_MAX} bytes of headers"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        when = "in the middle of its answer" if self.answering else "without an answer"
        self._fail(FunctionCrashed(f"the function ended the connection {when}"))

    # ------------------------------------------------------- called by the parser
    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if len(self._headers) >= HEADERS_MAX or self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(f"has more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of them")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        if self._parser.get_status_code() == 200 and not framed:
            self._refuse("has no Content-Length: a whole answer could not be told from a broken one")
        if int(self._headers.get(b"content-length", b"0")) > self._body_bytes_max:
            self._refuse(f"is too large: {self._headers[b'content-length'].decode()} bytes, at most {self._body_bytes_max}")

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > self._body_bytes_max:
            self._refuse(f"is too large: more than {self._body_bytes_max} bytes")
        self._body.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._informational += 1
            if self._informational > _INFORMATIONAL_MAX or status == 101:
                self._refuse(f"begins with {self._informational} informational ones, the last of them {status}")
            self._headers, self._in_head = {}, True
            return
        if self._waiter is None or self._waiter.done():  # a second answer
            self._refuse("is followed by another one")
        else:
            self._reusable = self._parser.should_keep_alive()
            self._waiter.set_result(Response(status, self._headers, b"".join(self._body)))


async def connect(address: Address) -> Connection:
    """Return a new connection. Raises FunctionUnavailable if there is none within CONNECT_S, or none is allowed."""
    try:
        async with asyncio.timeout(CONNECT_S):
            if address.socket:
                _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, address.socket)
            else:
                connection = await _connect_host(address)
    except TimeoutError as error:
        raise FunctionUnavailable(f"no connection to {address} within {CONNECT_S} s") from error
    except (OSError, UnicodeError) as error:  # refused, no such socket, no such host, a certificate that does not verify
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise FunctionUnavailable(f"no connection to {address}: {why}") from error
    return connection


async def _connect_host(address: Address) -> Connection:
    """Connect to the first of the host's addresses that answers: to those that the guard looked at, and to nothing else."""
    hosts = await address.guard.addresses(address.host, address.port) if address.guard else (address.host,)
    name = address.host if address.tls else None
    for place, host in enumerate(hosts, 1):
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                Connection, host, address.port, ssl=address.tls, server_hostname=name
            )
        except OSError:
            if place == len(hosts):
                raise
        else:
            return connection
    raise AssertionError("a guard returns at least one address")
