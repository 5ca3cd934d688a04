"""A client of Evento's HTTP API (design §10) for Python programs; the CLI is one. Knows nothing that the API does not say.

Errors come back as the classes of `evento.errors` that the server raised. Unreachable means that nobody knows whether the request
took effect: send it again with the same command id.
"""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from evento import errors
from evento.errors import EventoError, InvalidRequest, Unreachable

Json: TypeAlias = dict[str, Any]

CONNECT_S = 5.0
LINE_BYTES_MAX = 64 * 1024 * 1024  # an outcome with 100 events of the largest kind, as JSON
_NDJSON = "application/x-ndjson"
_OUTCOME_STATUSES = frozenset((200, 202, 422))


class Client:
    """A connection pool to one server. Use it as `async with Client(url) as client`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        if not self._url.startswith(("http://", "https://")):
            raise InvalidRequest(f"url {url!r}: must begin with http:// or https://", field="url", value=url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**20)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------ Commands
    async def send(
        self,
        instance: str,
        command: str,
        data: Any = None,
        *,
        command_id: str | None = None,
        expected: int | None = None,
        wait_s: int | None = None,
        due: str | None = None,
    ) -> Json:
        """Send one Command to `namespace/Entity/id` and return its outcome: succeeded, rejected, pending or parked.

        `data` is what JSON can say (or `msgspec.Raw`), `due` an ISO 8601 time, `wait_s` 0 to 60 seconds. Raises EventoError if the
        Command was refused: VersionConflict, IdReused, PayloadRefused, NotFound, Overloaded, …
        """
        headers = {"content-type": "application/json"}
        if command_id is not None:
            headers["idempotency-key"] = command_id
        if expected is not None:
            headers["if-match"] = f'"{expected}"'
        if wait_s is not None:
            headers["prefer"] = f"wait={wait_s}"
        if due is not None:
            headers["evento-due"] = due
        body = msgspec.json.encode({} if data is None else data)
        return await self._json("POST", f"{_instance(instance)}/{quote(command, safe='')}", headers, body)

    async def send_many(self, lines: AsyncIterable[bytes], *, wait_s: int | None = None) -> AsyncIterator[Json | EventoError]:
        """Send Commands as lines of NDJSON and give an outcome or an error for each, in their order, while more are sent.

        `lines` gives one or many whole lines at a time. What is given waits until the outcomes are taken: memory stays bounded.
        """
        headers = {"content-type": _NDJSON}
        if wait_s is not None:
            headers["prefer"] = f"wait={wait_s}"
        try:
            async with self._opened().post(f"{self._url}/v1/commands", data=lines, headers=headers) as response:
                if response.status != 200:
                    raise error_of(await _object(response))
                async for line in _lines(response):
                    yield _answer(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._url, error) from error

    async def outcome(self, instance: str, command_id: str) -> Json:
        """Return what became of a Command. Raises NotFound."""
        return await self._json("GET", _command(instance, command_id))

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Json:
        """Return a page of Commands that are not finished: `pending`, and `next` for the page after it."""
        query: dict[str, Any] = {"after": after, "limit": limit}
        if parked is not None:
            query["parked"] = "true" if parked else "false"
        return await self._json("GET", f"/v1/pending?{urlencode(query)}")

    async def retry(self, instance: str, command_id: str) -> None:
        """Have a waiting or parked Command tried now. Raises NotFound."""
        await self._json("POST", f"{_command(instance, command_id)}/retry")

    async def discard(self, instance: str, command_id: str) -> None:
        """End a waiting or parked Command without an event. Raises NotFound."""
        await self._json("POST", f"{_command(instance, command_id)}/discard")

    # ------------------------------------------------------------ reading
    async def get(self, instance: str, *, version: int | None = None, at: str | None = None) -> Json:
        """Return an instance: its version and state, now, at a version, or at an ISO 8601 time. Raises NotFound."""
        query = {name: value for name, value in (("version", version), ("at", at)) if value is not None}
        return await self._json("GET", f"{_instance(instance)}?{urlencode(query)}")

    async def events(self, instance: str, *, after: int = 0, limit: int = 100) -> Json:
        """Return a page of an instance's history: `events`, and `next` for the page after it. Raises NotFound."""
        return await self._json("GET", f"{_instance(instance)}/events?{urlencode({'after': after, 'limit': limit})}")

    async def instances(self, entity: str, *, after: str = "", limit: int = 100) -> Json:
        """Return a page of the instances of `namespace/Entity`: `instances`, and `next` for the page after it."""
        namespace, name = _split(entity, 2, "bank/Checking")
        return await self._json("GET", f"/v1/{namespace}/{name}?{urlencode({'after': after, 'limit': limit})}")

    # ------------------------------------------------------------ operating
    async def deploy(self, documents: Sequence[Any], *, dry_run: bool = False, prune: bool = False) -> Json:
        """Deploy manifest documents; return the catalog version and the changes. Raises DeploymentRefused with all `problems`."""
        flags = {"dry_run": str(dry_run).lower(), "prune": str(prune).lower()}
        body = msgspec.json.encode(documents)
        return await self._json("POST", f"/v1/deployments?{urlencode(flags)}", {"content-type": "application/json"}, body)

    async def catalog(self) -> Json:
        """Return what is deployed."""
        return await self._json("GET", "/v1/catalog")

    async def status(self) -> Json:
        """Return how the platform is doing."""
        return await self._json("GET", "/healthz")

    async def verify(self) -> Json:
        """Have everything folded again and checked; return `ok`, the `differences`, and how many states are `stale`: of an earlier
        apply or schema, so that they were not compared with their events. Takes as long as it takes."""
        return await self._json("POST", "/v1/verify")

    # ------------------------------------------------------------ the wire
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise InvalidRequest("the client is not open: use it with `async with`")
        return self._session

    async def _json(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Json:
        try:
            async with self._opened().request(
                method, self._url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status == 204:
                    return {}
                content = await _object(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._url, error) from error
        if response.status not in _OUTCOME_STATUSES or (response.status == 422 and content.get("outcome") != "rejected"):
            raise error_of(content)
        return content


def error_of(problem: Mapping[str, Any]) -> EventoError:
    """Return the error that a problem object (RFC 9457) tells of."""
    details = {name: value for name, value in problem.items() if name not in ("type", "title", "status", "code", "detail")}
    known = _ERRORS.get(str(problem.get("code")))
    message = str(problem.get("detail") or problem.get("title") or "the server refused without a reason")
    return EventoError(message, **dict(problem)) if known is None else known(message, **details)


async def _object(response: aiohttp.ClientResponse) -> Json:
    content = await response.read()
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Unreachable(f"{response.url.origin()} does not answer like Evento (HTTP {response.status})") from error


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LINE_BYTES_MAX:
            raise Unreachable(f"an outcome is larger than {LINE_BYTES_MAX} bytes")
    if rest:
        raise Unreachable("the answer ended in the middle of an outcome")


def _answer(line: bytes) -> Json | EventoError:
    content: Json = msgspec.json.decode(line)
    return content if content.get("outcome") and content.get("code") in (None, "rejected") else error_of(content)


def _instance(instance: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in _split(instance, 3, "bank/Checking/alice"))


def _command(instance: str, command_id: str) -> str:
    return f"{_instance(instance)}/commands/{quote(command_id, safe='')}"


def _split(text: str, count: int, example: str) -> list[str]:
    parts = text.split("/")
    if len(parts) != count or not all(parts):
        raise InvalidRequest(f"{text!r}: must be like {example}", rule=f"like {example}", value=text)
    return parts


def _unreachable(url: str, error: Exception) -> Unreachable:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return Unreachable(f"cannot reach Evento at {url}: {reason}", url=url)


_ERRORS: dict[str, type[EventoError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EventoError)
}
