"""One Command as one request: `POST /v1/{namespace}/{Entity}/{id}/{Command}`. Knows the request's parts, not how they travel.

Nothing here waits: the engine tells when the Command has ended, so that a request costs no task.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from evento.api.body import Answered
from evento.api.headers import CommandHeaders, read_headers
from evento.api.intake import Intake, Request, Target, too_large
from evento.api.outcomes import Views, encode, location, refusal
from evento.api.platform import Platform
from evento.api.problems import PROBLEM_TYPE, RETRY_AFTER_S, to_json
from evento.engine.ticket import Answer, Waiter
from evento.errors import EventoError, Remedy
from evento.model.command import Command
from evento.model.limits import COMMAND_BYTES_MAX

JSON = b"application/json"
_ANSWER_TYPES = {200: JSON, 202: JSON}


class Head(Struct):
    """What is known of a request for a Command before its body."""

    target: Target
    instance_id: str
    said: CommandHeaders


class PostCommand:
    """Serves the sending of one Command."""

    def __init__(self, platform: Platform, intake: Intake, views: Views) -> None:
        self._commands = platform.commands
        self._clock = platform.clock
        self._waits = platform.waits
        self._intake = intake
        self._views = views
        self._requests = platform.metrics.http_requests
        self._counts = {status: self._requests.bind("command", str(status)) for status in (200, 202, 409, 412, 422, 503)}

    def read_head(self, headers: Iterable[tuple[bytes, bytes]], place: Sequence[str]) -> Head:
        """Return what a request says before its body. Raises EventoError for what is refused without reading on."""
        namespace, entity, instance_id, name = place
        said = read_headers(headers)
        target = self._intake.target(namespace, entity, name)
        if said.declared_bytes is not None and said.declared_bytes > COMMAND_BYTES_MAX:
            raise too_large(said.declared_bytes)
        return Head(target, instance_id, said)

    def read_command(self, head: Head, body: bytes) -> Command:
        """Return the Command. Raises InvalidName, InvalidRequest, PayloadRefused, TooLarge."""
        said = head.said
        request = Request(head.instance_id, body, said.avro, said.command_id, said.expected, said.due_us, said.context)
        return self._intake.command(head.target, request, self._clock.now_us())

    def submit(self, command: Command, head: Head, waiter: Waiter) -> None:
        """Let `waiter` be told what becomes of the Command. Raises EventoError if it is not taken; nobody is told then."""
        self._commands.submit(command, waiter, wait_s=self._wait_s(head.said, command.accepted_us))

    def answer(self, command: Command, head: Head, answer: Answer) -> Answered:
        """Return what its sender is answered."""
        if isinstance(answer, EventoError):
            return self._refuse(answer, command)
        status, view = self._views.answer(answer)
        headers = [(b"content-type", _ANSWER_TYPES.get(status, PROBLEM_TYPE))]
        if head.said.wait_s is not None:
            wait_s = self._wait_s(head.said, command.accepted_us)
            headers.append((b"preference-applied", b"wait=%d" % wait_s if wait_s else b"respond-async"))
        if status == 202:
            headers.append((b"location", location(command.key, command.id).encode()))
        elif view.version is not None:
            headers.append((b"etag", b'"%d"' % view.version))
        self._counts[status].add()
        return status, headers, encode(view)

    def _wait_s(self, said: CommandHeaders, now_us: int) -> float:
        waits = self._waits
        wait_s = waits.default_s if said.wait_s is None else min(said.wait_s, waits.max_s)
        if said.due_us is not None and said.due_us - now_us > wait_s * 1_000_000:
            return 0.0  # it is not due before the waiting ends
        return wait_s

    def _refuse(self, error: EventoError, command: Command) -> Answered:
        headers: list[tuple[bytes, bytes]] = [(b"content-type", PROBLEM_TYPE)]
        if error.status == 503 and error.remedy is Remedy.LATER:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
        self._requests.bind("command", str(error.status)).add()
        return error.status, headers, to_json(refusal(error, command))
