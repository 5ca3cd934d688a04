"""Request bodies, read under a limit. Knows ASGI's `receive` and nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from evento.api.intake import too_large
from evento.errors import Unreachable

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Answered = tuple[int, Headers, bytes]  # status, headers, body


async def read_body(receive: Receive, declared_bytes: int | None, limit: int) -> bytes:
    """Return the whole body. Raises TooLarge as soon as it is known, before reading if the client declared the size."""
    if declared_bytes is not None and declared_bytes > limit:
        raise too_large(declared_bytes, limit)
    message = _there(await receive())
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit:
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False) and size <= limit:
        message = _there(await receive())
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise too_large(None, limit)
    return b"".join(parts)


async def read_parts(receive: Receive) -> AsyncIterator[bytes]:
    """Give the body as it comes in; ends early, and without an error, when the client goes away."""
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        if body := message.get("body", b""):
            yield body


def _there(message: Message) -> Message:
    if message["type"] == "http.disconnect":
        raise Unreachable("the client went away before its request was complete")
    return message


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer with one complete body."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
