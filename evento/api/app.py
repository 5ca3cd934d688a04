"""The HTTP application: sends each request to what serves it, and turns every refusal into a problem (design §10).

The two hot paths, one Command and a stream of them, are served here directly; everything else goes through Starlette.
"""

import logging
from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.routing import Router

from evento.api.body import Message, Receive, Scope, Send, respond
from evento.api.commands import PostCommand
from evento.api.deployments import Deployments
from evento.api.health import Health
from evento.api.instances import Instances
from evento.api.intake import Intake
from evento.api.outcomes import Views
from evento.api.pending import PendingCommands
from evento.api.platform import Platform
from evento.api.problems import problem_response
from evento.api.stream import Stream
from evento.errors import EventoError, InvalidRequest, MethodNotAllowed, NotFound

_log = logging.getLogger(__name__)
_COMMAND_PATH = "/v1/{namespace}/{entity}/{id}/{command}"
_STREAM_PATH = "/v1/commands"
_COMMAND_SEGMENTS = 6  # "", v1, namespace, Entity, id, Command


class App:
    """The ASGI application of one platform."""

    def __init__(self, platform: Platform) -> None:
        intake, views = Intake(platform.catalog), Views(platform.catalog)
        # Instances last: their paths have room for any namespace.
        nouns = (Health(platform), Deployments(platform), PendingCommands(platform, views), Instances(platform, views))
        routes = [route for noun in nouns for route in noun.routes()]
        self.paths = [_COMMAND_PATH, _STREAM_PATH, *(route.path for route in routes)]
        self._router = Router(routes, redirect_slashes=False, default=_no_route)
        self._post_command = PostCommand(platform, intake, views)
        self._stream = Stream(platform, intake, views)
        self._requests = platform.metrics.http_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Whatever goes wrong inside is logged and told as 500, without its details."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        sending = _Sending(send)
        try:
            await self._route(scope, receive, sending)
        except EventoError as error:
            if error.status >= 500:
                _log.warning("request failed", extra={"path": scope["path"][:200], "code": error.code, "detail": error.message})
            await self._refuse(sending, error)
        except HTTPException as error:
            allow = (error.headers or {}).get("Allow", "").split(", ")
            await self._refuse(sending, MethodNotAllowed(f"{scope['method']} is not served at this path", allow=sorted(allow)))
        except Exception:
            if sending.started:
                raise
            _log.exception("request failed", extra={"path": scope["path"][:200]})
            await self._refuse(sending, EventoError())

    async def _route(self, scope: Scope, receive: Receive, send: "_Sending") -> None:
        segments = read_path(scope["raw_path"])
        post = scope["method"] == "POST"
        if len(segments) == _COMMAND_SEGMENTS and segments[1] == "v1" and not segments[5].islower():
            if not post:
                raise MethodNotAllowed("a Command is sent with POST", allow=["POST"])
            await self._post_command(scope, receive, send.straight, segments[2:])
            return
        if scope["path"] == _STREAM_PATH:
            if not post:
                raise MethodNotAllowed("a stream of Commands is sent with POST", allow=["POST"])
            await self._stream(scope, receive, send)
            return
        scope["app"] = self  # so that Starlette raises what it refuses
        await self._router(scope, receive, send)
        self._requests.bind("other", str(send.status)).add()

    async def _refuse(self, send: "_Sending", error: EventoError) -> None:
        if send.started:
            raise error
        status, headers, body = problem_response(error)
        self._requests.bind("refused", str(status)).add()
        await respond(send, status, list(headers.items()), body)


class _Sending:
    """ASGI's `send`, which remembers whether the answer has begun, and with which status."""

    __slots__ = ("started", "status", "straight")

    def __init__(self, send: Send) -> None:
        self.straight = send  # past the remembering, for who fails only before answering
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.started, self.status = True, message.get("status", 0)
        await self.straight(message)


def create_app(platform: Platform) -> App:
    """Return the ASGI application that serves `platform`."""
    return App(platform)


def read_path(raw: bytes) -> list[str]:
    """Return the decoded segments of a path, the first one empty.

    Raises InvalidRequest for what would make two different paths one: bytes that are not UTF-8, and a slash in a segment.
    """
    text = raw.decode("ascii")
    segments = text.split("/")
    if "%" in text:
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in segments]
        except UnicodeDecodeError as error:
            raise InvalidRequest("the path is not UTF-8", field="path", rule="percent-encoded UTF-8", value=text[:80]) from error
        if any("/" in segment for segment in segments):
            raise InvalidRequest("the path has an encoded slash", field="path", rule="no %2F", value=text[:80])
    return segments


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"nothing is served at {scope['path'][:200]!r}", field="path", value=scope["path"][:200])
