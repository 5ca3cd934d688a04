"""Requests from this node to another one, as a port and over HTTP. The only module here that knows the HTTP client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from evento.cluster.signature import TAG_BYTES, Seal, Seals
from evento.cluster.wire import (
    ASKS_PATH,
    HELLO,
    MEDIA_TYPE,
    REPLY_BYTES_MAX,
    TOLD_FRAME_BYTES_MAX,
    Ask,
    Frames,
    Reply,
    decode_reply,
    encode_ask,
    framed,
    sealed,
)
from evento.errors import TooLarge, Unreachable

CONNECT_S = 2.0
SILENCE_S = 5.0  # a node that is there says something every second
ASK_S = 60.0
CONNECTIONS_MAX = 256
_REFUSAL_BYTES_MAX = 4096
_ADDRESS_CHARS_MAX = 300

Sign = Callable[[str, str, bytes | None], tuple[Mapping[str, str], Seals]]  # address, path and body to headers and seals


def is_address(text: str) -> bool:
    """Tell whether this may be the address of a node: http or https, a host, perhaps a port, and nothing more."""
    try:
        parts = urlsplit(text)
        plain = parts.port != 0 and parts.hostname and not (parts.path or parts.query or parts.fragment or parts.username)
    except ValueError:
        return False
    return bool(plain) and parts.scheme in ("http", "https") and len(text) <= _ADDRESS_CHARS_MAX


class Link(Protocol):
    """The way to one other node."""

    address: str

    def converse(self, path: str, said: AsyncIterator[bytes]) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Say what comes, and give what is answered meanwhile. Raises Unreachable when either breaks, or nothing is heard."""
        ...

    async def ask(self, ask: Ask) -> Reply:
        """Ask once. Raises Unreachable, TooLarge, InvalidRequest."""
        ...


MakeLink = Callable[[str], Link]  # to the node at an address


@asynccontextmanager
async def open_links(sign: Sign) -> AsyncIterator[MakeLink]:
    """Give what makes links; they share their connections, and end with the context."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, limit_per_host=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session:
        yield lambda address: HttpLink(session, address, sign)


class HttpLink:
    """The way to one other node over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, address: str, sign: Sign) -> None:
        self.address = address
        self._session = session
        self._sign = sign

    @asynccontextmanager
    async def converse(self, path: str, said: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Link.converse`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        headers, seals = self._sign(self.address, path, None)
        async with self._post(path, headers, _sealed(said, seals.said), timeout) as response:
            yield _opened(self._parts(response), seals.answered)

    async def ask(self, ask: Ask) -> Reply:
        """See `Link.ask`."""
        timeout = aiohttp.ClientTimeout(total=ASK_S, sock_connect=CONNECT_S)
        asked = encode_ask(ask)
        headers, seals = self._sign(self.address, ASKS_PATH, asked)
        async with self._post(ASKS_PATH, headers, asked, timeout) as response:
            body = bytearray()
            async for part in self._parts(response):
                body += part
                if len(body) > REPLY_BYTES_MAX:
                    raise TooLarge(
                        f"the answer has more than {REPLY_BYTES_MAX} bytes: ask for less, with `limit`", limit=REPLY_BYTES_MAX
                    )
        reply = bytes(body[:-TAG_BYTES])
        seals.answered.check(reply, bytes(body[-TAG_BYTES:]))
        return decode_reply(reply)

    @asynccontextmanager
    async def _post(
        self, path: str, signed: Mapping[str, str], data: Any, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": MEDIA_TYPE, **signed}
        try:
            async with self._session.post(
                self.address + path, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    said = await response.content.read(_REFUSAL_BYTES_MAX)
                    raise Unreachable(f"the node {self.address} answered {response.status}: {said.decode('utf-8', 'replace')}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def _parts(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async for part in response.content.iter_any():
            yield part

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            return Unreachable(f"the node {self.address} does not answer")
        return Unreachable(f"the node {self.address} cannot be reached, or hung up: {error}")


async def _sealed(parts: AsyncIterator[bytes], seal: Seal) -> AsyncIterator[bytes]:
    async for part in parts:
        yield sealed(part, seal)


async def _opened(parts: AsyncIterator[bytes], seal: Seal) -> AsyncIterator[bytes]:
    """Give the frames that come in, without their tags. Raises InvalidRequest if one is wrong."""
    yield HELLO
    frames = Frames(TOLD_FRAME_BYTES_MAX, seal)
    async for part in parts:
        for frame in frames.feed(part):
            yield framed(frame)
