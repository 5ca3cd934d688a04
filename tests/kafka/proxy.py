"""A proxy in front of brokers that knows one thing of Kafka's protocol: where a request begins and ends, and of which kind it is.

So it can hold one request, or the answer to it, and let it go later: also when whoever sent it has long given up, connected again
and sent another. Brokers send clients to it by a listener of its own (`Cluster.proxied`).
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from enum import Enum, IntEnum

FRAME_BYTES_MAX = 100 * 1024 * 1024
CAUGHT_S = 90.0
ANSWER_S = 90.0
_FRAMES_BEHIND_MAX = 1000  # behind a held one, on one connection
_LENGTH = struct.Struct(">i")
_HEAD = struct.Struct(">hhi")  # kind, version, correlation id
_CORRELATION = struct.Struct(">i")

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Kind(IntEnum):
    """Kinds of requests, by the numbers that Kafka's protocol gives them."""

    PRODUCE = 0
    FETCH = 1
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Side(Enum):
    """What is held: the request, which the broker then has not seen, or the answer to one that it has carried out."""

    REQUEST = "request"
    ANSWER = "answer"


class Held:
    """A request (or an answer) that is waited for, then held, then released."""

    def __init__(self, kind: Kind, side: Side, containing: tuple[bytes, ...]) -> None:
        self._wanted = (side, kind, containing)
        self._caught = asyncio.Event()
        self._released = asyncio.Event()
        self._gone = asyncio.Event()
        self._answer: bytes | None = None
        self._connection: _Connection | None = None
        self.port = 0  # at which the broker listens that is asked

    @property
    def is_caught(self) -> bool:
        """Tell whether one is held, or was."""
        return self._caught.is_set()

    async def caught(self) -> None:
        """Wait until one is held. Raises TimeoutError after CAUGHT_S."""
        async with asyncio.timeout(CAUGHT_S):
            await self._caught.wait()

    async def release(self) -> bytes | None:
        """Let it go on, and wait until it has gone.

        A request whose sender has closed its connection goes on a new one; returned is the broker's answer to it, as it comes after
        the length. In all other cases None is returned.
        """
        assert self.is_caught, "nothing is held"
        self._released.set()
        async with asyncio.timeout(ANSWER_S):
            await self._gone.wait()
        return self._answer

    def cut(self) -> None:
        """Break the one connection on which it is held."""
        assert self._connection is not None, "nothing is held"
        self._connection.close()

    # ------------------------------------------------------------------ called by the proxy
    def wants(self, side: Side, frame: bytes) -> bool:
        """Tell whether this frame, a request, is (or is answered by) what is to be held."""
        wanted, kind, containing = self._wanted
        return wanted is side and _HEAD.unpack_from(frame)[0] == kind and all(part in frame for part in containing)

    async def wait(self, connection: "_Connection") -> None:
        """Hold what was caught on its way to a broker, or back, until it is released."""
        self._connection, self.port = connection, connection.port
        self._caught.set()
        await self._released.wait()

    def gone(self, answer: bytes | None = None) -> None:
        """Tell that it went on, and what came of it."""
        self._answer = answer
        self._gone.set()


class Proxy:
    """`bootstrap` is where clients connect. Each `hold` catches one frame; those after it pass."""

    def __init__(self, ports: Mapping[int, int]) -> None:
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._ports = ports
        self._holds: list[Held] = []
        self._connections: set[_Connection] = set()

    def hold(self, kind: Kind, side: Side = Side.REQUEST, *, containing: bytes = b"", also: bytes = b"") -> Held:
        """Catch the next request of a kind whose bytes contain these (a name, an id), or the answer to it."""
        held = Held(kind, side, (containing, also))
        self._holds.append(held)
        return held

    def cut(self) -> None:
        """Break all connections. Clients may connect again at once; what is held stays held."""
        for connection in self._connections:
            connection.close()

    def take(self, side: Side, frame: bytes) -> Held | None:
        """Return who waits for this frame, once."""
        found = next((held for held in self._holds if held.wants(side, frame)), None)
        if found is not None:
            self._holds.remove(found)
        return found

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        """Serve for the time of the context."""
        servers = [await self._serve(port, target) for port, target in self._ports.items()]
        try:
            yield self
        finally:
            for server in servers:
                server.close()
            for task in [connection.task for connection in self._connections]:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _serve(self, port: int, target: int) -> asyncio.Server:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(self, (reader, writer), target)
            self._connections.add(connection)
            try:
                await connection.run()
            finally:
                connection.close()
                self._connections.discard(connection)

        return await asyncio.start_server(connected, "127.0.0.1", port)


class _Connection:
    """One client's connection, and the one to the broker that belongs to it. What follows a held frame waits behind it."""

    def __init__(self, proxy: Proxy, client: _Stream, port: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._proxy = proxy
        self.port = port
        self._client = client
        self._streams = [client]
        self._answers: dict[int, Held] = {}  # by correlation id
        self._closed = False

    def close(self) -> None:
        """Close both sides."""
        self._closed = True
        for _, writer in self._streams:
            writer.close()

    async def run(self) -> None:
        """Carry frames both ways until a side closes and nothing is held."""
        with suppress(OSError):
            self._streams.append(await asyncio.open_connection("127.0.0.1", self.port))
            requests: asyncio.Queue[bytes] = asyncio.Queue(_FRAMES_BEHIND_MAX)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(requests))
                tasks.create_task(self._forward(requests))
                tasks.create_task(self._answer())

    async def _read(self, requests: asyncio.Queue[bytes]) -> None:
        while frame := await _read_frame(self._client[0]):
            await requests.put(frame)
        self.close()
        await requests.put(b"")

    async def _forward(self, requests: asyncio.Queue[bytes]) -> None:
        while frame := await requests.get():
            answer = self._proxy.take(Side.ANSWER, frame)
            if answer is not None:
                self._answers[_HEAD.unpack_from(frame)[2]] = answer
            held = self._proxy.take(Side.REQUEST, frame)
            if held is not None:
                await held.wait(self)
                if self._closed:
                    held.gone(await self._send_alone(frame))
                    continue
            await self._write(1, frame)
            if held is not None:
                held.gone()

    async def _answer(self) -> None:
        while frame := await _read_frame(self._streams[1][0]):
            held = self._answers.pop(_CORRELATION.unpack_from(frame)[0], None)
            if held is not None:
                await held.wait(self)
            await self._write(0, frame)
            if held is not None:
                held.gone()
        self.close()

    async def _write(self, stream: int, frame: bytes) -> None:
        if not self._closed:
            with suppress(OSError):
                await _write_frame(self._streams[stream][1], frame)

    async def _send_alone(self, frame: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            await _write_frame(writer, frame)
            return await _read_frame(reader)
        finally:
            writer.close()


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return what comes after the next length, or nothing if the connection is at its end."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        assert 0 < length <= FRAME_BYTES_MAX
        return await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return b""


async def _write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(_LENGTH.pack(len(frame)) + frame)
    await writer.drain()
