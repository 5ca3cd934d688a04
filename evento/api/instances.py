"""Reading over HTTP: an instance's state now and then, its history, a Command's outcome, and the instances of an Entity."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evento.api.answers import json_response, number_parameter, wants_avro
from evento.api.outcomes import Views
from evento.api.platform import Platform
from evento.errors import InvalidRequest
from evento.model.command import State
from evento.model.keys import EntityKey, check_command_id, check_instance_id, check_namespace, check_type_name
from evento.model.times import parse_time

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
VERSION_MAX = 2**53


class Instances:
    """Serves everything that is read about instances."""

    def __init__(self, platform: Platform, views: Views) -> None:
        self._platform = platform
        self._views = views

    def routes(self) -> list[Route]:
        """Return the routes of this noun."""
        instance = "/v1/{namespace}/{entity}/{id}"
        return [
            Route("/v1/{namespace}/{entity}", self.instances),
            Route(instance, self.state),
            Route(f"{instance}/events", self.events),
            Route(f"{instance}/commands/{{command_id}}", self.outcome),
        ]

    async def state(self, request: Request) -> Response:
        """Answer an instance's state: now, at `?version=`, or at the time `?at=`."""
        key = self._key(request)
        version = number_parameter(request, "version", None, least=1, most=VERSION_MAX)
        at = request.query_params.get("at")
        if version is not None and at is not None:
            raise InvalidRequest("version and at exclude each other", field="at", rule="either version or at")
        state = await self._platform.reads.state(key, version=version, at_us=None if at is None else parse_time(at, "at"))
        headers = {"etag": f'"{state.version}"', "vary": "accept"}
        if headers["etag"] in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        if wants_avro(request.headers.get("accept", "")):
            headers["evento-schema"] = f"/v1/schemas/{state.schema_id}"
            return Response(state.payload or b"", headers=headers, media_type="application/avro")
        return json_response(self._instance(key, state), headers=headers)

    async def events(self, request: Request) -> Response:
        """Answer a page of an instance's history; `next` is the `after` of the next page, null when this was the last."""
        key = self._key(request)
        after = number_parameter(request, "after", 0, least=0, most=VERSION_MAX) or 0
        limit = _limit(request)
        # One more than asked tells whether there is a next page.
        turns = await self._platform.reads.stream(key, after=after, limit=limit + 1)
        views = self._views.history(turns, after=after, limit=limit + 1)
        more = len(views) > limit
        del views[limit:]
        return json_response({"events": views, "next": views[-1].version if more else None})

    async def outcome(self, request: Request) -> Response:
        """Answer what became of a Command."""
        command_id = check_command_id(request.path_params["command_id"])
        return json_response(self._views.outcome(await self._platform.reads.outcome(self._key(request), command_id)))

    async def instances(self, request: Request) -> Response:
        """Answer a page of an Entity's instances by id; `next` is the `after` of the next page, null when this was the last."""
        namespace, entity = self._entity(request)
        after, limit = request.query_params.get("after", ""), _limit(request)
        entries = await self._platform.reads.instances(namespace, entity, after=after, limit=limit + 1)
        shown = entries[:limit]
        views = [self._instance(entry.key, entry.state) for entry in shown]
        return json_response({"instances": views, "next": shown[-1].key.id if len(entries) > limit else None})

    def _entity(self, request: Request) -> tuple[str, str]:
        namespace = check_namespace(request.path_params["namespace"])
        entity = check_type_name(request.path_params["entity"], "entity")
        self._platform.catalog().entity(namespace, entity)
        return namespace, entity

    def _key(self, request: Request) -> EntityKey:
        return EntityKey(*self._entity(request), check_instance_id(request.path_params["id"]))

    def _instance(self, key: EntityKey, state: State) -> dict[str, Any]:
        return {
            "namespace": key.namespace,
            "entity": key.entity,
            "id": key.id,
            "version": state.version,
            "state": self._views.state(state),
        }


def _limit(request: Request) -> int:
    return number_parameter(request, "limit", LIMIT_DEFAULT, least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
