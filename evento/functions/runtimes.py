"""Which runtime runs which function: by what its manifest gives, a command, a url, or an image. It runs nothing itself."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from evento.clock import Clock
from evento.errors import FunctionUnavailable, SettingsError
from evento.functions.addresses import Guard
from evento.functions.base import NOTHING_EXPECTED, Expected, FunctionClient, FunctionRuntime
from evento.functions.bisect import Bisecting
from evento.functions.connection import Address
from evento.functions.http import HttpFunction
from evento.keys import SigningKey
from evento.model.resources import FunctionSpec


class UrlRuntime:
    """A FunctionRuntime for functions with a `url`: somebody else runs them.

    `guard` says which addresses they may be at, `key` signs the calls to them, `ca` is a file with the certificates of authorities
    that are trusted besides the system's. Raises SettingsError if that file cannot be used.
    """

    def __init__(self, clock: Clock, *, guard: Guard | None = None, key: SigningKey | None = None, ca: Path | None = None) -> None:
        self._clock = clock
        self._guard = guard or Guard()
        self._key = key
        self._tls = _trusting(ca)

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected = NOTHING_EXPECTED) -> AsyncIterator[FunctionClient]:
        """Provide a client. Raises FunctionUnavailable if the url is none."""
        address = msgspec.structs.replace(address_of(function.url, self._tls), guard=self._guard)
        client = HttpFunction(function, address, expected, self._clock, key=self._key)
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


def _trusting(ca: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificates and names."""
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            reason = "it is not a file of certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            message = f"the certificates {ca}: {reason}"
            raise SettingsError(message, setting="function_ca", value=str(ca)) from error
    return context


def address_of(url: str, tls: ssl.SSLContext) -> Address:
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
    secure = parts.scheme == "https"
    return Address(host=host, port=port or (443 if secure else 80), tls=tls if secure else None, base=parts.path.rstrip("/"))
