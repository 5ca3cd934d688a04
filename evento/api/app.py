"""The HTTP application: sends each request to what serves it, and turns every refusal into a problem (design §10).

A single Command is no ASGI request: the server hands it to `post_command`, at its path. A stream of Commands is served here
directly, everything else goes through Starlette.
"""

from starlette.exceptions import HTTPException
from starlette.routing import Router

from evento.api.body import Message, Receive, Scope, Send, respond
from evento.api.commands import PostCommand
from evento.api.deployments import Deployments
from evento.api.health import Health
from evento.api.instances import Instances
from evento.api.intake import Intake
from evento.api.outcomes import Views
from evento.api.paths import command_place, read_path
from evento.api.pending import PendingCommands
from evento.api.platform import Platform
from evento.api.refusals import Refusals
from evento.api.schemas import BASE_PATH as REGISTRY_PATH
from evento.api.schemas import SchemaRegistry
from evento.api.stream import Stream
from evento.errors import MethodNotAllowed, NotFound

_COMMAND_PATH = "/v1/{namespace}/{entity}/{id}/{command}"
_STREAM_PATH = "/v1/commands"


class App:
    """The ASGI application of one platform."""

    def __init__(self, platform: Platform) -> None:
        intake, views = Intake(platform.catalog), Views(platform.catalog)
        # Instances last: their paths have room for any namespace.
        nouns = (
            Health(platform),
            Deployments(platform),
            SchemaRegistry(platform),
            PendingCommands(platform, views),
            Instances(platform, views),
        )
        routes = [route for noun in nouns for route in noun.routes()]
        self.paths = [_COMMAND_PATH, _STREAM_PATH, *(route.path for route in routes)]
        self._router = Router(routes, redirect_slashes=False, default=_no_route)
        self.post_command = PostCommand(platform, intake, views)
        self.refusals = Refusals(platform.metrics.http_requests)
        self._stream = Stream(platform, intake, views)
        self._requests = platform.metrics.http_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Whatever goes wrong inside is logged and told as 500, without its details."""
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        sending = _Sending(send)
        try:
            await self._route(scope, receive, sending)
        except HTTPException as error:
            allow = (error.headers or {}).get("Allow", "").split(", ")
            refused = MethodNotAllowed(f"{scope['method']} is not served at this path", allow=sorted(allow))
            await self._refuse(sending, refused, scope)
        except Exception as error:  # noqa: BLE001  it is logged where it is made a refusal
            await self._refuse(sending, error, scope)

    async def _route(self, scope: Scope, receive: Receive, send: "_Sending") -> None:
        if scope["path"].startswith(f"{REGISTRY_PATH}/"):  # it refuses in words of its own
            await self._routed(scope, receive, send)
            return
        if command_place(read_path(scope["raw_path"])) is not None:
            raise MethodNotAllowed("a Command is sent with POST", allow=["POST"])
        if scope["path"] == _STREAM_PATH:
            if scope["method"] != "POST":
                raise MethodNotAllowed("a stream of Commands is sent with POST", allow=["POST"])
            await self._stream(scope, receive, send)
            return
        await self._routed(scope, receive, send)

    async def _routed(self, scope: Scope, receive: Receive, send: "_Sending") -> None:
        scope["app"] = self  # so that Starlette raises what it refuses
        await self._router(scope, receive, send)
        self._requests.bind("other", str(send.status)).add()

    async def _refuse(self, send: "_Sending", error: Exception, scope: Scope) -> None:
        if send.started:
            raise error
        await respond(send, *self.refusals(error, scope["path"]))


class _Sending:
    """ASGI's `send`, which remembers whether the answer has begun, and with which status."""

    __slots__ = ("_send", "started", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if not self.started:
            self.started, self.status = True, message.get("status", 0)
        await self._send(message)


def create_app(platform: Platform) -> App:
    """Return the ASGI application that serves `platform`."""
    return App(platform)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound(f"nothing is served at {scope['path'][:200]!r}", field="path", value=scope["path"][:200])
