"""One Command as one request: `POST /v1/{namespace}/{Entity}/{id}/{Command}`. Plain ASGI, as thin as it can be."""

from collections.abc import Sequence
from typing import Any

from evento.api.body import Receive, Scope, Send, read_body, respond
from evento.api.headers import CommandHeaders, read_headers
from evento.api.intake import Intake, Request
from evento.api.outcomes import Views, encode, location, refusal
from evento.api.platform import Platform
from evento.api.problems import PROBLEM_TYPE, RETRY_AFTER_S, to_json
from evento.errors import EventoError, Remedy
from evento.model.command import Command, Outcome
from evento.model.limits import COMMAND_BYTES_MAX

JSON = b"application/json"
_ANSWER_TYPES = {200: JSON, 202: JSON}


class PostCommand:
    """Serves the sending of one Command."""

    def __init__(self, platform: Platform, intake: Intake, views: Views) -> None:
        self._platform = platform
        self._intake = intake
        self._views = views
        requests = platform.metrics.http_requests
        self._counts = {status: requests.bind("command", str(status)) for status in (200, 202, 409, 412, 422, 503)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send, segments: Sequence[str]) -> None:
        """Serve one Command; `segments` are namespace, Entity, instance id and Command. Raises EventoError if it is refused."""
        namespace, entity, instance_id, name = segments
        said = read_headers(scope["headers"])
        target = self._intake.target(namespace, entity, name)
        body = await read_body(receive, said.declared_bytes, COMMAND_BYTES_MAX)
        request = Request(instance_id, body, said.avro, said.command_id, said.expected, said.due_us, said.context)
        command = self._intake.command(target, request, self._platform.clock.now_us())
        headers: list[tuple[bytes, bytes]] = []
        try:
            outcome = await self._platform.commands.send(command, wait_s=self._wait_s(said, headers, command.accepted_us))
        except EventoError as error:
            await self._refuse(send, error, command)
            return
        await self._answer(send, outcome, command, headers)

    def _wait_s(self, said: CommandHeaders, headers: list[tuple[bytes, bytes]], now_us: int) -> float:
        waits = self._platform.waits
        wait_s = waits.default_s if said.wait_s is None else min(said.wait_s, waits.max_s)
        if said.due_us is not None and said.due_us - now_us > wait_s * 1_000_000:
            wait_s = 0.0  # it is not due before the waiting ends
        if said.wait_s is None:
            return wait_s
        headers.append((b"preference-applied", b"wait=%d" % wait_s if wait_s else b"respond-async"))
        return wait_s

    async def _answer(self, send: Send, outcome: Outcome, command: Command, headers: list[tuple[bytes, bytes]]) -> None:
        status, view = self._views.answer(outcome)
        headers.append((b"content-type", _ANSWER_TYPES.get(status, PROBLEM_TYPE)))
        if status == 202:
            headers.append((b"location", location(command.key, command.id).encode()))
        elif view.version is not None:
            headers.append((b"etag", b'"%d"' % view.version))
        self._counts[status].add()
        await respond(send, status, headers, encode(view))

    async def _refuse(self, send: Send, error: EventoError, command: Command) -> None:
        headers: list[tuple[bytes, bytes]] = [(b"content-type", PROBLEM_TYPE)]
        if error.status == 503 and error.remedy is Remedy.LATER:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
        body: dict[str, Any] = refusal(error, command)
        self._platform.metrics.http_requests.bind("command", str(error.status)).add()
        await respond(send, error.status, headers, to_json(body))
