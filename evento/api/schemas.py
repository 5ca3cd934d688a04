"""The catalog's schemas as clients of Kafka ask for them: what a schema registry serves to readers, in its paths and words.

Nothing is written here: schemas come with deployments. Whatever else is asked for below `/registry` is refused in the same words,
so that a client never meets a form that it does not know. `docs/reference/topics.md` says which subjects there are.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from evento.api.body import read_body
from evento.api.json_in import parse_json
from evento.api.outcomes import encode
from evento.api.paths import read_path
from evento.api.platform import Platform
from evento.errors import EventoError, InvalidRequest, SchemaRefused
from evento.registry.subjects import Subjects
from evento.schema import Schema, parse_schema

BASE_PATH = "/registry"
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
BODY_BYTES_MAX = 512 * 1024  # a schema, written as a string in JSON
NO_SUBJECT, NO_VERSION, NO_SCHEMA = 40401, 40402, 40403
BAD_SCHEMA, BAD_VERSION, READ_ONLY = 42201, 42202, 42205
COMPATIBILITY = "BACKWARD"  # a deployment demands more, of each record by itself; some clients insist on this word
_ID_DIGITS_MAX = 10
_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_FOR_EVER = {"cache-control": "max-age=31536000, immutable"}
_SHOWN_MAX = 200

Segments = Sequence[str]


class _Refused(Exception):
    """What a registry answers to what it does not do; the first three digits of the code are the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)

    @property
    def status(self) -> int:
        return self.code if self.code < 1000 else self.code // 100


class SchemaRegistry:
    """Serves the schemas of the catalog, and Evento's own."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._version = -1
        self._known: Subjects | None = None

    def routes(self) -> list[Route]:
        """Return the routes of this noun: everything below the base path, whatever it is."""
        return [Route(f"{BASE_PATH}/{{path:path}}", self.answer, methods=_EVERY_METHOD)]

    async def answer(self, request: Request) -> Response:
        """Answer one request as a schema registry does."""
        try:
            return await self._route(request, read_path(request.scope["raw_path"])[2:])
        except _Refused as refused:
            return _json({"error_code": refused.code, "message": refused.message}, refused.status)
        except EventoError as error:
            return _json({"error_code": error.status, "message": error.message}, error.status)

    async def _route(self, request: Request, segments: Segments) -> Response:
        subjects = await self._subjects()
        match request.method, *segments:
            case ("GET" | "HEAD", "schemas", "ids", schema_id, *rest):
                return _schema(subjects, schema_id, rest)
            case ("GET" | "HEAD", "subjects", subject, "versions", *rest):
                return _versions(subjects, subject, rest, request)
            case ("GET" | "HEAD", *_):
                return _settled(subjects, segments, request)
            case ("POST", "subjects", subject):
                return _json(await _looked_up(subjects, subject, request))
            case ("POST", "subjects", subject, "versions"):
                return _json({"id": (await _looked_up(subjects, subject, request, registering=True))["id"]})
        raise _Refused(READ_ONLY, "this registry is read-only: schemas come with deployments of Evento's resources")

    async def _subjects(self) -> Subjects:
        """Return the subjects of the catalog in force. Ordering thousands of schemas takes too long for the event loop."""
        catalog = self._platform.catalog()
        if self._known is None or catalog.version != self._version:
            self._known = await asyncio.to_thread(Subjects, catalog.contents, self._platform.topic_prefix)
            self._version = catalog.version
        return self._known


# ------------------------------------------------------------------ reading
def _schema(subjects: Subjects, number: str, rest: Segments) -> Response:
    is_number = number.isascii() and number.isdigit() and len(number) <= _ID_DIGITS_MAX
    text = subjects.text(int(number)) if is_number else None
    if text is None:
        raise _Refused(NO_SCHEMA, f"Schema {number[:_SHOWN_MAX]} not found")
    places = subjects.places(int(number)) if rest in (["versions"], ["subjects"]) else ()
    match rest:
        case []:
            return _json({"schema": text}, headers=_FOR_EVER)
        case ["schema"]:
            return Response(text, headers=_FOR_EVER, media_type=MEDIA_TYPE)
        case ["versions"]:
            return _json([{"subject": subject, "version": version} for subject, version in places])
        case ["subjects"]:
            return _json([subject for subject, _ in places])
    raise _nothing()


def _versions(subjects: Subjects, subject: str, rest: Segments, request: Request) -> Response:
    ids = _ids(subjects, subject)
    if not rest:
        return _json(_page(range(1, len(ids) + 1), request))
    version = _version(rest[0], len(ids))
    text = subjects.text(ids[version - 1])
    match rest[1:]:
        case []:
            return _json({"subject": subject, "version": version, "id": ids[version - 1], "schema": text})
        case ["schema"]:
            return Response(text, media_type=MEDIA_TYPE)
        case ["referencedby"]:
            return _json([])  # named types stand in the schemas that use them
    raise _nothing()


def _settled(subjects: Subjects, segments: Segments, request: Request) -> Response:
    """Answer what has no schema in it."""
    match segments:
        case [""]:
            return _json({})
        case ["schemas", "types"]:
            return _json(["AVRO"])
        case ["subjects"]:
            prefix = request.query_params.get("subjectPrefix", "").removeprefix(":*:")
            return _json(_page([name for name in subjects.names() if name.startswith(prefix)], request))
        case ["config" | "mode" as asked, *subject] if len(subject) <= 1:
            if subject:
                _ids(subjects, subject[0])
            return _json({"compatibilityLevel": COMPATIBILITY} if asked == "config" else {"mode": "READONLY"})
    raise _nothing()


def _ids(subjects: Subjects, subject: str) -> Sequence[int]:
    ids = subjects.ids(subject)
    if ids is None:
        raise _Refused(NO_SUBJECT, f"Subject '{subject[:_SHOWN_MAX]}' not found.")
    return ids


def _version(text: str, last: int) -> int:
    if text in ("latest", "-1"):
        return last
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX and int(text) > 0):
        raise _Refused(BAD_VERSION, f"{text[:_SHOWN_MAX]!r} is not a version: it must be a number from 1 on, or latest")
    if int(text) > last:
        raise _Refused(NO_VERSION, f"Version {text} not found.")
    return int(text)


def _page(items: Sequence[Any], request: Request) -> Sequence[Any]:
    """Return the part of a list that `offset` and `limit` say; a negative limit is none, as clients have it."""
    try:
        offset, limit = (int(request.query_params.get(name, default)) for name, default in (("offset", "0"), ("limit", "-1")))
    except ValueError as error:
        raise InvalidRequest("offset and limit must be numbers") from error
    offset = max(offset, 0)
    return list(items[offset:] if limit < 0 else items[offset : offset + limit])


# ------------------------------------------------------------------ looking a schema up
async def _looked_up(subjects: Subjects, subject: str, request: Request, *, registering: bool = False) -> dict[str, Any]:
    """Return the version that a schema is. What clients want to register is mostly there already, and then that is the answer."""
    length = request.headers.get("content-length")
    asked = parse_json(await read_body(request.receive, None if length is None else int(length), BODY_BYTES_MAX))
    ids = _ids(subjects, subject)
    schema_id = subjects.id_of(_asked_schema(asked))
    if schema_id is not None and schema_id in ids:
        version = ids.index(schema_id) + 1
        return {"subject": subject, "version": version, "id": schema_id, "schema": subjects.text(schema_id)}
    if registering:
        raise _Refused(READ_ONLY, f"Subject {subject} is read-only and has no such schema: deploy it with Evento's resources")
    raise _Refused(NO_SCHEMA, "Schema not found")


def _asked_schema(asked: Any) -> Schema:
    if not isinstance(asked, dict) or not isinstance(asked.get("schema"), str):
        raise _Refused(BAD_SCHEMA, "the body must be a JSON object with the schema as a string")
    if asked.get("schemaType") not in (None, "AVRO") or asked.get("references"):
        raise _Refused(BAD_SCHEMA, "the schema must be Avro, and complete: without references")
    try:
        return parse_schema(asked["schema"])
    except SchemaRefused as error:
        raise _Refused(BAD_SCHEMA, error.message) from error


# ------------------------------------------------------------------ answers
def _json(content: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(content), status, headers, MEDIA_TYPE)


def _nothing() -> _Refused:
    return _Refused(HTTPStatus.NOT_FOUND, "HTTP 404 Not Found")
