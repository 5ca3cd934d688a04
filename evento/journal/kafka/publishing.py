"""Writes Evento's schemas into a schema registry that somebody else runs, each under the id that it has here.

Such a registry takes ids from outside in the mode IMPORT only. Evento asks for that mode for its own subjects, those of its topics,
and for nothing else; what stands there already is compared and never changed. Speaks Confluent's interface, and knows no catalog.
"""

import json
from collections.abc import Sequence
from itertools import groupby
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import aiohttp

from evento.errors import RegistryRefused, SettingsError
from evento.schema.registered import RegisteredSchema

REQUEST_S = 30.0
ANSWER_BYTES_MAX = 1024 * 1024
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
IMPORT = "IMPORT"
_SHOWN_MAX = 300


async def publish_schemas(registry: str, schemas: Sequence[RegisteredSchema]) -> int:
    """Register every version that is not there yet, those of a subject in order; return how many that were.

    `registry` is the URL, which may hold a user and a password: they are never shown. Doing it again does nothing.
    Raises SettingsError for a URL that is none; RegistryRefused, with what a person can do, if the registry refuses, has another
    schema there, or does not answer.
    """
    added = 0
    async with _Registry(_checked(registry)) as target:
        for subject, versions in groupby(schemas, key=lambda schema: schema.subject):
            added += await _publish_subject(target, subject, list(versions))
    return added


async def _publish_subject(target: "_Registry", subject: str, schemas: Sequence[RegisteredSchema]) -> int:
    there = await target.versions(subject)
    missing = [schema for schema in schemas if schema.version not in there]
    for schema in schemas:
        if schema.version in there:
            _check_same(schema, await target.version(subject, schema.version))
    if missing:
        await target.open_for_import(subject)
    for schema in missing:
        await target.register(schema)
    return len(missing)


def _check_same(schema: RegisteredSchema, found: dict[str, Any]) -> None:
    try:
        same = found["id"] == schema.schema_id and json.loads(found["schema"]) == json.loads(schema.text)
    except (KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise RegistryRefused(
            f"version {schema.version} of subject {schema.subject} is another schema in the registry (id {found.get('id')}) "
            f"than here (id {schema.schema_id}): somebody else writes to it; delete it there for good, or use another registry",
            subject=schema.subject,
            version=schema.version,
        )


def _checked(registry: str) -> SplitResult:
    """Return the URL taken apart. Of a wrong one nothing is shown: it may hold a password."""
    try:
        url = urlsplit(registry)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 0) >= 0
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingsError("schema_registry: must be a URL that begins with http:// or https://", setting="schema_registry")
    return url


class _Registry:
    """The registry's side: one request after another, each with a limit in time and size."""

    def __init__(self, url: SplitResult) -> None:
        self._url = urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path.rstrip("/"), "", ""))
        headers = {"accept": f"{MEDIA_TYPE}, application/json", "content-type": MEDIA_TYPE}
        if url.username is not None:
            headers["authorization"] = aiohttp.encode_basic_auth(unquote(url.username), unquote(url.password or ""), "utf-8")
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=REQUEST_S))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def versions(self, subject: str) -> Sequence[int]:
        """Return the versions that a subject has; none if it does not exist."""
        status, answer = await self._ask("GET", f"/subjects/{subject}/versions")
        if status == 404:
            return ()
        if not isinstance(answer, list):
            raise self._refused(f"list the versions of {subject}", status, answer)
        return answer

    async def version(self, subject: str, version: int) -> dict[str, Any]:
        """Return one version."""
        status, answer = await self._ask("GET", f"/subjects/{subject}/versions/{version}")
        if status != 200 or not isinstance(answer, dict):
            raise self._refused(f"show version {version} of {subject}", status, answer)
        return answer

    async def open_for_import(self, subject: str) -> None:
        """See to it that the subject takes ids from outside."""
        path = f"/mode/{subject}"
        status, answer = await self._ask("GET", f"{path}?defaultToGlobal=true")
        if status == 200 and isinstance(answer, dict) and answer.get("mode") == IMPORT:
            return
        status, answer = await self._ask("PUT", path, {"mode": IMPORT})
        if status != 200:
            raise self._refused(
                f"put subject {subject} into the mode {IMPORT}, without which it takes no ids from outside (it must allow modes "
                f"to be changed, and the subject be empty; an administrator can do it too: PUT {path})",
                status,
                answer,
            )

    async def register(self, schema: RegisteredSchema) -> None:
        """Register a schema under its id."""
        body = {"schemaType": "AVRO", "schema": schema.text, "id": schema.schema_id, "version": schema.version}
        status, answer = await self._ask("POST", f"/subjects/{schema.subject}/versions", body)
        if status != 200 or not isinstance(answer, dict) or answer.get("id") != schema.schema_id:
            what = f"take version {schema.version} of subject {schema.subject} under the id {schema.schema_id}"
            raise self._refused(f"{what} (another schema may have that id there: then use another registry)", status, answer)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._session.request(method, self._url + path, data=data, allow_redirects=False) as response:
                return response.status, _read(await self._body(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RegistryRefused(f"the schema registry {self._url} does not answer: {type(error).__name__}: {error}") from error

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > ANSWER_BYTES_MAX:
                raise RegistryRefused(f"the schema registry {self._url} answers with more than {ANSWER_BYTES_MAX} bytes")
        return bytes(body)

    def _refused(self, what: str, status: int, answer: Any) -> RegistryRefused:
        said = answer.get("message") if isinstance(answer, dict) else answer
        return RegistryRefused(
            f"the schema registry {self._url} does not {what}: it answered {status}, {str(said)[:_SHOWN_MAX]!r}", status=status
        )


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")
