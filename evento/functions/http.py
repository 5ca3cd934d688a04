"""The client's side of the function protocol (design §5): a pool of connections to one function, and what each answer means.

It classifies and does not retry; that is the engine's. The one exception is a connection that the function closed because it was
idle: nothing can have been done on it, or only what may be done again, since functions are pure.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from evento.clock import Clock
from evento.errors import FunctionCrashed, FunctionError, FunctionTimeout, FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import Expected, InstanceCall, Operation, Reply
from evento.functions.calling import traceparent
from evento.functions.codec import decode_reply, encode_call, response_bytes_max
from evento.functions.connection import Address, Connection, Response, connect
from evento.functions.discovery import DISCOVERY_BYTES_MAX, check_discovery, read_discovery
from evento.functions.single import Singles
from evento.keys import SigningKey
from evento.model.resources import FunctionSpec
from evento.protocol.envelope import HEALTH_PATH, MEDIA_TYPE, WORK_PATH

CONNECTIONS_MAX = 16  # calls under way to one function; the next one waits for one of them
DISCOVERY_S = 5.0
POLL_FIRST_S = 0.01
POLL_FACTOR = 1.5
POLL_CAP_S = 0.1
_IDLE_MAX_S = 4.0  # below the 5 s after which common servers close
LIFE_MAX_S = 60.0  # of a connection to a host: behind one name replicas come and go, and what it resolves to changes
_IDLE_SUSPECT_S = 1.0  # a connection lost after so long was closed for being idle; one lost sooner was not
_HEALTH_BYTES_MAX = 64 * 1024
_EXCERPT_BYTES = 200
_SAID_BYTES_MAX = 1000
_RETRY_AFTER_CAP_S = 60
_US = 1_000_000


class HttpFunction:
    """A FunctionClient for a function that listens at `address`, expected to serve what `expected` says.

    With a `key`, every request but that for the health is signed (function.md, rule 36).
    """

    def __init__(
        self, function: FunctionSpec, address: Address, expected: Expected, clock: Clock, *, key: SigningKey | None = None
    ) -> None:
        self._function = function
        self._name = f"{function.namespace}/{function.name}"
        self._address = address
        self._expected = expected
        self._clock = clock
        self._key = key
        self._logger = logging.getLogger(f"evento.function.{function.namespace}.{function.name}")
        self._revision = function.revision
        self._single = False
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._closed = False
        self._work_head = _head("POST", WORK_PATH, address) + b"Content-Type: " + MEDIA_TYPE.encode() + b"\r\n"
        self._discovery_head = _head("GET", WORK_PATH, address)

    @property
    def revision(self) -> str:
        """Return the revision last seen."""
        return self._revision

    async def ready(self) -> None:
        """Ask for the discovery until it comes, for `start_s` seconds at most, and check it. Why it is not ready is logged."""
        try:
            await self._wait_ready()
        except FunctionUnavailable as error:
            self._logger.error("%s", error.message)
            raise

    async def _wait_ready(self) -> None:
        reason, delay_s = "", POLL_FIRST_S
        try:
            async with asyncio.timeout(self._function.start_s):
                while reason := await self.why_not_ready():
                    await self._clock.sleep(delay_s)
                    delay_s = min(delay_s * POLL_FACTOR, POLL_CAP_S)
        except TimeoutError as error:
            message = f"function {self._name} was not ready within {self._function.start_s:g} s: {reason or 'no answer'}"
            raise FunctionUnavailable(message) from error

    async def why_not_ready(self) -> str:
        """Ask for the discovery once. Return "" if it is as expected, or why it has not come yet.

        Raises FunctionUnavailable if asking again would not help: it came and is wrong, or asking is not allowed.
        """
        request = b"%b%b\r\n" % (self._discovery_head, self._signed("GET", b""))
        try:
            response = await self._exchange(request, DISCOVERY_BYTES_MAX, DISCOVERY_S)
            discovery = read_discovery(_checked_body(response))
        except InvalidFunctionResult as error:
            raise FunctionUnavailable(f"function {self._name}: {error.message}") from error
        except FunctionError as error:
            if error.details.get("final"):
                raise FunctionUnavailable(f"function {self._name}: {error.message}", **error.details) from error
            return error.message
        check_discovery(discovery, self._expected)
        self._single = discovery.single
        self._revision = discovery.revision or self._function.revision
        return ""

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        """Make one call, once; `timeout_s` of the function limits it.

        A function that takes one item per call gets one for each item: the limit is then that of each.
        """
        if self._single:
            ask = partial(self._ask, operation, namespace, entity)
            return await Singles(ask, self._function.name, operation, calls).run(self._revision, at_once=CONNECTIONS_MAX)
        return await self._ask(operation, namespace, entity, calls)

    async def _ask(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        body = encode_call(operation, namespace, entity, calls)
        more = self._signed("POST", body) + _traced()
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (self._work_head, more, len(body), body)
        response = await self._exchange(request, response_bytes_max(operation, calls), self._function.timeout_s)
        reply = decode_reply(operation, calls, _checked_body(response), self._function.name)
        if reply.revision and reply.revision != self._revision:
            self._revision = reply.revision
        return Reply(self._revision, reply.instances)  # one text for all replies: it is compared for every instance

    async def healthy(self, within_s: float) -> bool:
        """Return whether the function answers its health endpoint, on a connection of its own, within `within_s` seconds."""
        try:
            async with asyncio.timeout(within_s):
                connection = await connect(self._address)
                try:
                    request = _head("GET", HEALTH_PATH, self._address) + b"\r\n"
                    response = await connection.exchange(request, _HEALTH_BYTES_MAX)
                finally:
                    connection.close()
        except (FunctionError, TimeoutError):
            return False
        return response.status == 200

    def _signed(self, method: str, body: bytes) -> bytes:
        """Return the lines of the head that sign a request for work or discovery; none without a key."""
        if self._key is None:
            return b""
        path, now_s = f"{self._address.base}{WORK_PATH}", self._clock.now_us() // _US
        headers = self._key.headers(method=method, path=path, body=body, created_s=now_s)
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()

    def close(self) -> None:
        """End the idle connections, and those in use with their exchange; refuse further calls."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, request: bytes, bytes_max: int, within_s: float) -> Response:
        async with self._slots:
            if self._closed:
                raise FunctionUnavailable(f"function {self._name} is stopped")
            try:
                async with asyncio.timeout(within_s):
                    return await self._attempt(request, bytes_max)
            except TimeoutError as error:
                raise FunctionTimeout(f"function {self._name} did not answer within {within_s:g} s") from error

    async def _attempt(self, request: bytes, bytes_max: int) -> Response:
        connection, idle_s = self._take_idle()
        if connection is not None:
            try:
                return await self._use(connection, request, bytes_max)
            except FunctionCrashed:
                if connection.answering or idle_s < _IDLE_SUSPECT_S:
                    raise
        return await self._use(await connect(self._address), request, bytes_max)

    async def _use(self, connection: Connection, request: bytes, bytes_max: int) -> Response:
        response = await connection.exchange(request, bytes_max)
        if self._closed:
            connection.close()
        elif connection.alive:
            connection.idle_since_s = asyncio.get_running_loop().time()
            if self._address.socket or connection.idle_since_s - connection.made_s < LIFE_MAX_S:
                self._idle.append(connection)
            else:
                connection.close()
        return response

    def _take_idle(self) -> tuple[Connection | None, float]:
        """Return the connection that was idle for the shortest time, and for how long, or none."""
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            idle_s = now_s - connection.idle_since_s
            if connection.alive and idle_s < _IDLE_MAX_S:
                return connection, idle_s
            connection.close()
        return None, 0.0


def _head(method: str, path: str, address: Address) -> bytes:
    """Return a request's head without its end. No Accept-Encoding but identity: a compressed answer could expand without limit."""
    target = f"{address.base}{path}"
    lines = f"{method} {target} HTTP/1.1\r\nHost: {address.authority}\r\nAccept: {MEDIA_TYPE}\r\nAccept-Encoding: identity\r\n"
    return lines.encode("ascii")


def _traced() -> bytes:
    """Return the line of the head with the trace context, if this call is traced."""
    context = traceparent()
    return f"traceparent: {context}\r\n".encode() if context else b""


def _checked_body(response: Response) -> bytes:
    """Return the body of a good answer; raise what any other one means."""
    status, headers, body = response
    if status in (429, 503):
        retry_after_s = _retry_after_s(headers.get(b"retry-after", b""))
        raise FunctionUnavailable(f"the function is not ready: it answered {status}", retry_after_s=retry_after_s)
    if status == 401:  # neither the items' fault nor mended by trying them again
        message = f"the function refuses the calls of this platform (it answered 401): {_excerpt(body)}"
        raise FunctionUnavailable(message, final=True)
    if status != 200:
        said = body[:_SAID_BYTES_MAX].decode("utf-8", "replace").strip()
        raise InvalidFunctionResult(f"the function answered {status}, not 200: {_excerpt(body)}", answered=status, said=said)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise InvalidFunctionResult(f"the function's answer is encoded as {_shown(encoding)}; compressed answers are refused")
    media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if media_type != MEDIA_TYPE.encode():
        raise InvalidFunctionResult(f"the function's answer is {_shown(media_type) or 'of no content type'}, not {MEDIA_TYPE}")
    return body


def _excerpt(body: bytes) -> str:
    return ascii(body[:_EXCERPT_BYTES].decode("utf-8", "replace")) if body else "without a body"


def _shown(value: bytes) -> str:
    return ascii(value[:_EXCERPT_BYTES].decode("latin-1"))[1:-1]


def _retry_after_s(value: bytes) -> int | None:
    return min(int(value), _RETRY_AFTER_CAP_S) if value.isdigit() and len(value) < 10 else None
