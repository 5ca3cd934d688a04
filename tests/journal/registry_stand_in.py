"""Stands for a schema registry that somebody else runs, at the level of HTTP only: a real server with the documented rules on ids.

It is no proof that a real one agrees; `docs/how-to/publish-to-a-schema-registry.md` says so.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

IDS_TAKEN = 42205
NO_SUBJECT = 40401


class StandIn:
    """What the registry has, what it was asked, and how it is set up."""

    def __init__(self) -> None:
        self.subjects: dict[str, dict[int, tuple[int, str]]] = {}
        self.modes: dict[str, str] = {}
        self.modes_are_fixed = False
        self.asked: list[tuple[str, str]] = []
        self.authorization: set[str | None] = set()
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._noting])
        app.router.add_get("/sr/subjects/{subject}/versions", self._versions)
        app.router.add_get("/sr/subjects/{subject}/versions/{version}", self._version)
        app.router.add_post("/sr/subjects/{subject}/versions", self._register)
        app.router.add_get("/sr/mode/{subject}", self._mode)
        app.router.add_put("/sr/mode/{subject}", self._set_mode)
        return app

    @property
    def written(self) -> list[str]:
        return [path for method, path in self.asked if method != "GET"]

    @web.middleware
    async def _noting(self, request: web.Request, handler):
        self.asked.append((request.method, request.path))
        self.authorization.add(request.headers.get("authorization"))
        return await handler(request)

    async def _versions(self, request: web.Request) -> web.Response:
        found = self.subjects.get(request.match_info["subject"])
        return _refused(404, NO_SUBJECT, "no such subject") if found is None else web.json_response(sorted(found))

    async def _version(self, request: web.Request) -> web.Response:
        subject, version = request.match_info["subject"], int(request.match_info["version"])
        number, text = self.subjects[subject][version]
        return web.json_response({"subject": subject, "version": version, "id": number, "schema": text})

    async def _register(self, request: web.Request) -> web.Response:
        subject, body = request.match_info["subject"], await request.json()
        if self.modes.get(subject) != "IMPORT":
            return _refused(422, IDS_TAKEN, "the subject is not in import mode")
        for versions in self.subjects.values():
            for number, text in versions.values():
                if number == body["id"] and text != body["schema"]:
                    return _refused(422, IDS_TAKEN, f"Overwrite new schema with id {number} is not permitted.")
        self.subjects.setdefault(subject, {})[body["version"]] = (body["id"], body["schema"])
        return web.json_response({"id": body["id"]})

    async def _mode(self, request: web.Request) -> web.Response:
        return web.json_response({"mode": self.modes.get(request.match_info["subject"], "READWRITE")})

    async def _set_mode(self, request: web.Request) -> web.Response:
        subject = request.match_info["subject"]
        if self.modes_are_fixed or self.subjects.get(subject):
            return _refused(422, IDS_TAKEN, "Mode changes are not allowed")
        self.modes[subject] = (await request.json())["mode"]
        return web.json_response({"mode": self.modes[subject]})


def _refused(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"error_code": code, "message": message}, status=status)


@asynccontextmanager
async def stand_in() -> AsyncIterator[StandIn]:
    registry = StandIn()
    runner = web.AppRunner(registry.app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        registry.url = f"http://127.0.0.1:{runner.addresses[0][1]}/sr"
        yield registry
    finally:
        await runner.cleanup()
