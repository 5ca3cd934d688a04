"""Requests from this node to another one, as a port and over HTTP. The only module here that knows the HTTP client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from evento.cluster.wire import ASKS_PATH, MEDIA_TYPE, REPLY_BYTES_MAX, Ask, Reply, decode_reply, encode_ask
from evento.errors import TooLarge, Unreachable

CONNECT_S = 2.0
SILENCE_S = 5.0  # a node that is there says something every second
ASK_S = 60.0
CONNECTIONS_MAX = 256
_REFUSAL_BYTES_MAX = 4096
_ADDRESS_CHARS_MAX = 300

Sign = Callable[[str, str], Mapping[str, str]]  # address and path to headers


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
        async with self._post(path, said, timeout) as response:
            yield self._parts(response)

    async def ask(self, ask: Ask) -> Reply:
        """See `Link.ask`."""
        timeout = aiohttp.ClientTimeout(total=ASK_S, sock_connect=CONNECT_S)
        async with self._post(ASKS_PATH, encode_ask(ask), timeout) as response:
            body = bytearray()
            async for part in self._parts(response):
                body += part
                if len(body) > REPLY_BYTES_MAX:
                    raise TooLarge(
                        f"the answer has more than {REPLY_BYTES_MAX} bytes: ask for less, with `limit`", limit=REPLY_BYTES_MAX
                    )
        return decode_reply(bytes(body))

    @asynccontextmanager
    async def _post(self, path: str, data: Any, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": MEDIA_TYPE, **self._sign(self.address, path)}
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
