"""Deploying over HTTP, and looking at what is deployed."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evento.api.answers import flag_parameter, json_response
from evento.api.body import read_body
from evento.api.headers import check_encoding
from evento.api.json_in import parse_json
from evento.api.platform import Platform
from evento.errors import InvalidRequest, UnsupportedEncoding
from evento.model.resources import EntitySpec, FunctionSpec

DEPLOYMENT_BYTES_MAX = 8 * 1024 * 1024


class Deployments:
    """Serves deployments and the catalog."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[Route]:
        """Return the routes of this noun."""
        return [
            Route("/v1/deployments", self.deploy, methods=["POST"]),
            Route("/v1/catalog", self.catalog),
            Route("/v1/schemas/{id:int}", self.schema),
        ]

    async def deploy(self, request: Request) -> Response:
        """Plan, and unless `?dry_run=true` commit, a deployment of manifest documents; answer what changes.

        With `?prune=true` what the documents do not mention is removed from their namespaces.
        """
        check_encoding(request.headers.get("content-encoding", "").encode())
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media != "application/json":
            raise UnsupportedEncoding(
                f"content-type {media[:80]!r}: must be application/json", field="content-type", value=media[:80]
            )
        length = request.headers.get("content-length")
        body = await read_body(request.receive, None if length is None else int(length), DEPLOYMENT_BYTES_MAX)
        documents: Any = parse_json(body)
        if type(documents) is not list:
            raise InvalidRequest("the body must be a JSON array of manifest documents", field="body", rule="a JSON array")
        dry_run, prune = flag_parameter(request, "dry_run") or False, flag_parameter(request, "prune") or False
        return json_response(await self._platform.deploy(documents, dry_run=dry_run, prune=prune))

    async def catalog(self, request: Request) -> Response:
        """Answer what is deployed now."""
        catalog = self._platform.catalog()
        return json_response(
            {
                "version": catalog.version,
                "entities": [_entity(spec) for spec in catalog.entities.values()],
                "functions": [_function(spec) for spec in catalog.functions.values()],
            }
        )

    async def schema(self, request: Request) -> Response:
        """Answer a schema by its id; it never changes."""
        schema = self._platform.catalog().schema(request.path_params["id"])
        return Response(schema.text, headers={"cache-control": "max-age=31536000, immutable"}, media_type="application/json")


def _entity(spec: EntitySpec) -> dict[str, Any]:
    commands = [
        {
            "name": command.name,
            "schema": _schema_path(command.schema_id),
            "events": sorted(command.events),
            "rejections": sorted(command.rejections),
            "handle": command.handle,
            "retry": command.retry,
        }
        for command in spec.commands.values()
    ]
    events = [{"name": event.name, "schema": _schema_path(event.schema_id)} for event in spec.events.values()]
    return {
        "namespace": spec.namespace,
        "name": spec.name,
        "schema": _schema_path(spec.schema_id),
        "apply": spec.apply,
        "commands": commands,
        "events": events,
    }


def _function(spec: FunctionSpec) -> dict[str, Any]:
    """Return a Function without its environment, which may hold secrets."""
    where = {"command": spec.command, "url": spec.url, "image": spec.image}
    given = {name: value for name, value in where.items() if value}
    return {"namespace": spec.namespace, "name": spec.name, **given, "revision": spec.revision, "timeout_s": spec.timeout_s}


def _schema_path(schema_id: int) -> str:
    return f"/v1/schemas/{schema_id}"
