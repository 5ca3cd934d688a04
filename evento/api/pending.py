"""The care of Commands that are not finished, over HTTP: list them, try one again now, give one up."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evento.api.answers import flag_parameter, json_response, number_parameter
from evento.api.outcomes import Views
from evento.api.platform import Platform
from evento.model.keys import EntityKey, check_command_id, check_instance_id, check_namespace, check_type_name

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
_NUMBER_MAX = 2**53


class PendingCommands:
    """Serves what an operator does about unfinished Commands."""

    def __init__(self, platform: Platform, views: Views) -> None:
        self._commands = platform.commands
        self._views = views

    def routes(self) -> list[Route]:
        """Return the routes of this noun."""
        command = "/v1/{namespace}/{entity}/{id}/commands/{command_id}"
        return [
            Route("/v1/pending", self.listing),
            Route(f"{command}/retry", self.retry, methods=["POST"]),
            Route(f"{command}/discard", self.discard, methods=["POST"]),
        ]

    async def listing(self, request: Request) -> Response:
        """Answer a page of unfinished Commands in the order of their acceptance; `?parked=true` only those that wait for help."""
        parked = flag_parameter(request, "parked")
        after = number_parameter(request, "after", 0, least=0, most=_NUMBER_MAX) or 0
        limit = number_parameter(request, "limit", LIMIT_DEFAULT, least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
        found = await self._commands.pending(parked=parked, after=after, limit=limit + 1)
        views = [self._views.pending(pending) for pending in found[:limit]]
        return json_response({"pending": views, "next": views[-1].number if len(found) > limit else None})

    async def retry(self, request: Request) -> Response:
        """Try a Command now; 204 when it is under way."""
        await self._commands.retry(*_named(request))
        return Response(status_code=204)

    async def discard(self, request: Request) -> Response:
        """End a Command without an event; 204 when that is durable."""
        await self._commands.discard(*_named(request))
        return Response(status_code=204)


def _named(request: Request) -> tuple[EntityKey, str]:
    path = request.path_params
    key = EntityKey(check_namespace(path["namespace"]), check_type_name(path["entity"], "entity"), check_instance_id(path["id"]))
    return key, check_command_id(path["command_id"])
