"""Small real HTTP servers that behave as badly as a test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from evento.functions.base import InstanceCall, Item
from evento.model.resources import FunctionSpec
from evento.protocol.envelope import REPLY, encode

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Return the body of the next request on a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.split(b":")[1]))
    return b""


def answer(body: bytes, status: str = "200 OK", headers: str = "Content-Type: application/avro\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def reply_body(**columns: object) -> bytes:
    good = {
        "revision": "r1",
        "types": ["Done"],
        "done": [1],
        "states": [b"s"],
        "counts": [1],
        "event_types": [0],
        "payloads": [b"p"],
        "failures": [],
    }
    return encode(REPLY, good | columns)


def saying(data: bytes, *, then: str = "keep") -> Behaviour:
    """Answer each request with these bytes; then keep the connection, or `close` it."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(data)
            await writer.drain()
            if then == "close":
                return

    return behave


@asynccontextmanager
async def serving(socket: Path, behave: Behaviour) -> AsyncIterator[None]:
    """Serve a Unix socket for the time of the context."""
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await behave(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, str(socket))
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()


def spec(**fields: object) -> FunctionSpec:
    return FunctionSpec(**({"namespace": "test", "name": "puppet", "timeout_s": 30.0, "start_s": 60.0} | fields))  # type: ignore[arg-type]


def one(order: bytes = b"ok", instance: str = "a") -> InstanceCall:
    return InstanceCall(instance, 0, None, [Item("Do", order, 1, f"c-{instance}")])
