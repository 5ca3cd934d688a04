"""The paths that only other nodes use, `/peer/…`: lanes of Commands, which last for as long as there is something to say, and asks.

Knows how they travel over HTTP; what they mean is the cluster's business.
"""

import asyncio
import logging
from contextlib import suppress

from evento.api.body import Message, Receive, Scope, Send, read_body, respond
from evento.cluster.peering import LINGER_S, Peering
from evento.cluster.reception import Reception
from evento.cluster.signature import Seal, Seals
from evento.cluster.wire import ASK_BYTES_MAX, ASKS_PATH, MEDIA_TYPE, PATHS, SENT_FRAME_BYTES_MAX, STREAMS_PATH, Frames, sealed
from evento.errors import InvalidRequest, MethodNotAllowed, NotReady

logger = logging.getLogger(__name__)

_TYPE = (b"content-type", MEDIA_TYPE.encode())


class Peers:
    """Serves other nodes over HTTP."""

    def __init__(self, peering: Peering) -> None:
        self._peering = peering

    def serves(self, path: str) -> bool:
        """Tell whether a path is one of these."""
        return path in PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises EventoError for what is refused."""
        path, headers = scope["path"], {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] != "POST":
            raise MethodNotAllowed("nodes send POST", allow=["POST"])
        host = (scope.get("client") or ("", 0))[0]
        if path == ASKS_PATH:
            asked = await read_body(receive, None, ASK_BYTES_MAX)
            seals = self._peering.admit(headers, path, host, asked)
            reply = await self._peering.answer(asked)
            await respond(send, 200, [_TYPE], reply + seals.answered.tag(reply))
            return
        seals = self._peering.admit(headers, path, host, None)
        with self._peering.receive(patient=path == STREAMS_PATH) as reception:
            await self._carry(reception, seals, receive, send)

    async def _carry(self, reception: Reception, seals: Seals, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [_TYPE]})
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(_read(reception, seals.said, receive))
                stopping = tasks.create_task(self._stop(reception, reading))
                async for part in reception.answers():
                    await send({"type": "http.response.body", "body": sealed(part, seals.answered), "more_body": True})
                stopping.cancel()
        except* (_Ended, NotReady):
            pass
        except* InvalidRequest as group:
            logger.warning("another node is not understood: %s", group.exceptions[0])
        await send({"type": "http.response.body", "body": b""})

    async def _stop(self, reception: Reception, reading: "asyncio.Task[None]") -> None:
        """When this node stops, take nothing more, and let what is under way come to its end for a short while."""
        await self._peering.stopping.wait()
        reading.cancel()
        reception.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await asyncio.get_running_loop().create_future()
        raise _Ended


class _Ended(Exception):
    """Nobody listens any more, or nobody should speak."""


async def _read(reception: Reception, seal: Seal, receive: Receive) -> None:
    frames = Frames(SENT_FRAME_BYTES_MAX, seal)
    message: Message = {"more_body": True}
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Ended
        for frame in frames.feed(message.get("body", b"")):
            await reception.take(frame)
    reception.end()
