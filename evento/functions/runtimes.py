"""Which runtime runs which function: by what its manifest gives, a command, a url, or an image. It runs nothing itself."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from evento.clock import Clock
from evento.errors import FunctionUnavailable
from evento.functions.base import NOTHING_EXPECTED, Expected, FunctionClient, FunctionRuntime
from evento.functions.bisect import Bisecting
from evento.functions.connection import Address
from evento.functions.http import HttpFunction
from evento.model.resources import FunctionSpec


class UrlRuntime:
    """A FunctionRuntime for functions with a `url`: somebody else runs them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client. Raises FunctionUnavailable if the url is none."""
        client = HttpFunction(function, address_of(function.url), expected, self._clock)
        try:
            yield client
        finally:
            client.close()


class Runtimes:
    """A FunctionRuntime for every kind of function; the clients it provides take apart the calls that fail as a whole."""

    def __init__(self, processes: FunctionRuntime, urls: FunctionRuntime, containers: FunctionRuntime) -> None:
        self._processes = processes
        self._urls = urls
        self._containers = containers

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client. Raises FunctionUnavailable if its url is none."""
        runtime = self._processes if function.command else self._urls if function.url else self._containers
        async with runtime.serve(function, expected) as client:
            yield Bisecting(client, function.name)


def address_of(url: str) -> Address:
    """Return where `http://host[:port][/path]`, the same with https, or `unix:/path` points to. Raises FunctionUnavailable."""
    if url.startswith("unix:/"):
        return Address(socket=url.removeprefix("unix:"))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise FunctionUnavailable(f"function url {url!r}: {error}") from error
    plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not plain or parts.query or parts.fragment or "@" in parts.netloc:
        raise FunctionUnavailable(f"function url {url!r} must be http(s)://host[:port][/path], without query, fragment and user")
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    return Address(host=host, port=port or (443 if tls else 80), tls=tls, base=parts.path.rstrip("/"))
