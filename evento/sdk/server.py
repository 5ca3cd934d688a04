"""Serves a namespace over the function protocol: a bare ASGI application, and the process around it.

`$PORT` and `$HOST` (default 8080 on 127.0.0.1), or `$EVENTO_SOCKET`, the path of a Unix socket. SIGTERM: finish what is under way.
With public keys in the environment, nothing unsigned is let in (`evento.sdk.signed`).
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from evento.protocol.envelope import CALL, DISCOVERY, HEALTH_PATH, MEDIA_TYPE, REPLY, WORK_PATH, EnvelopeError, decode, encode
from evento.sdk.calls import EntityCalls, MalformedCall
from evento.sdk.manifests import discovery
from evento.sdk.namespace import Namespace
from evento.sdk.signed import Gate, KeysRefused, NotSigned, check_body, gate_of

CALL_BYTES_MAX = 64 * 1024 * 1024
DRAIN_S = 30
# The platform keeps its connections; closing an idle one under its feet would fail the next call.
KEEP_ALIVE_S = 24 * 3600
_DEATH_SIGNAL_OPTION = 1  # PR_SET_PDEATHSIG of prctl(2)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Refused(Exception):
    """The request is answered with `status` and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FunctionApp:
    """The ASGI application of one namespace. With a `gate`, only signed calls are let in."""

    def __init__(self, namespace: Namespace, gate: Gate | None = None) -> None:
        self._gate = gate
        described = discovery(namespace)
        self.revision: str = described["revision"]
        self._discovery = encode(DISCOVERY, described)
        self._namespace = namespace.name
        self._entities = {name: EntityCalls(entity) for name, entity in namespace.entities.items()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            body, media_type = await self._answer(scope, receive)
            status = 200
        except _Refused as refusal:
            status, body, media_type = refusal.status, str(refusal).encode(), "text/plain; charset=utf-8"
        except NotSigned as refusal:
            status, body, media_type = 401, str(refusal).encode(), "text/plain; charset=utf-8"
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        if status == 401:
            headers.append((b"www-authenticate", b"Signature"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[bytes, str]:
        method, path = scope["method"], scope["path"]
        if path == HEALTH_PATH and method in ("GET", "HEAD"):
            return b"ok", "text/plain; charset=utf-8"
        digest = self._gate.admit(scope) if self._gate else None  # before anything is read that somebody else may have sent
        if path != WORK_PATH:
            raise _Refused(404, f"only {WORK_PATH} and {HEALTH_PATH} are served here")
        if method == "GET":
            return self._discovery, MEDIA_TYPE
        if method != "POST":
            raise _Refused(405, "GET tells what is served, POST works")
        body = await _body(receive)
        if digest is not None:
            check_body(body, digest)
        try:
            return encode(REPLY, await self._work(decode(CALL, body))), MEDIA_TYPE
        except (EnvelopeError, MalformedCall) as error:
            raise _Refused(400, str(error)) from error

    async def _work(self, call: dict[str, Any]) -> dict[str, Any]:
        entity = self._entities.get(call["entity"]) if call["namespace"] == self._namespace else None
        if entity is None:
            raise _Refused(404, f"{call['namespace']}/{call['entity']} is not served here")
        return {"revision": self.revision, **await entity.answer(call)}


async def _body(receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > CALL_BYTES_MAX:
            raise _Refused(413, f"a call has at most {CALL_BYTES_MAX} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def serve(namespace: Namespace) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way. Needs the main thread."""
    _die_with_parent()
    try:
        app = FunctionApp(namespace, gate_of(os.environ))
    except KeysRefused as refused:
        raise SystemExit(f"this function does not start: {refused}") from refused
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        server_header=False,
        date_header=False,
    )
    path = os.environ.get("EVENTO_SOCKET")
    listening = _unix_socket(path) if path else _port(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    # uvicorn raises the signal again once it has drained; by then there is nothing left to stop, and the exit code should be 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    uvicorn.Server(config).run(sockets=[listening])


def _stopped(number: int, frame: FrameType | None) -> None:
    """Let the process come to its end."""


def _unix_socket(path: str) -> socket.socket:
    """Return a socket bound to `path`, for this user and the owner of its folder. What a killed process left behind is replaced.

    In a container the folder is the platform's, which is another user and keeps everybody else away from it.
    """
    Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    shared = os.stat(os.path.dirname(path) or ".").st_uid != os.getuid()
    before = os.umask(0o111 if shared else 0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    return listening


def _port(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening


def _die_with_parent() -> None:
    """Never outlive the platform process that started this one, even if it is killed: `$EVENTO_PARENT_PID` names it."""
    parent = os.environ.get("EVENTO_PARENT_PID")
    if not parent:
        return
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another libc: then only the check below protects
            ctypes.CDLL(None, use_errno=True).prctl(_DEATH_SIGNAL_OPTION, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        raise SystemExit(f"the platform process {parent}, which started this function, is gone")
