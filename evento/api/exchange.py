"""One Command's request and answer on an HTTP/1.1 connection: no task, and one write for the answer.

Stands where uvicorn has its own cycle of request and answer, and has the attributes that uvicorn reads of it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Protocol

from evento.api.body import Answered, Headers
from evento.api.commands import Head, PostCommand
from evento.api.intake import too_large
from evento.api.refusals import Refusals
from evento.engine.ticket import Answer
from evento.errors import EventoError
from evento.model.command import Command
from evento.model.limits import COMMAND_BYTES_MAX

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """The connection that requests come in on, one behind the other."""

    transport: asyncio.Transport
    held: "Exchange | None"  # whose answer waits until the client reads on

    @property
    def write_paused(self) -> bool:
        """Tell whether the client reads too slowly."""
        ...

    @property
    def default_headers(self) -> Headers:
        """The headers that every answer has."""
        ...

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        ...


class Exchange:
    """Collects a request, submits its Command when both the request is there and those before it are answered, and answers.

    A client that goes away takes nothing back: the Command goes on.
    """

    __slots__ = (
        "_answered",
        "_body",
        "_command",
        "_connection",
        "_has_turn",
        "_head",
        "_headers",
        "_place",
        "_posts",
        "_refusals",
        "_whole",
        "disconnected",
        "keep_alive",
        "response_complete",
        "waiting_for_100_continue",
    )
    message_event = asyncio.Event()  # uvicorn sets it; nobody waits for it

    def __init__(
        self, connection: Connection, posts: PostCommand, refusals: Refusals, place: Sequence[str], headers: Headers
    ) -> None:
        self._connection = connection
        self._posts = posts
        self._refusals = refusals
        self._place = place
        self._headers = headers
        self._body = bytearray()
        self._whole = False  # the request is there
        self._has_turn = False  # all before it are answered
        self._head: Head | None = None
        self._command: Command | None = None
        self._answered: Answered | None = None
        self.keep_alive = True
        self.waiting_for_100_continue = False
        self.disconnected = False
        self.response_complete = False

    # ------------------------------------------------------------ the request
    def start(self) -> None:
        """Begin: everything that came in before is answered."""
        if self._connection.transport.is_closing():
            return
        self._has_turn = True
        try:
            self._head = self._posts.read_head(self._headers, self._place)
        except Exception as error:  # noqa: BLE001  it is logged where it is made a refusal
            self._fail(error)
            return
        if self._whole or len(self._body) > COMMAND_BYTES_MAX:
            self._submit(self._head)
        elif self.waiting_for_100_continue:
            self._connection.transport.write(_CONTINUE)

    def take(self, piece: bytes) -> None:
        """Take a piece of the body; nothing more of one that is too large."""
        if self._answered is not None or len(self._body) > COMMAND_BYTES_MAX:
            return
        self._body += piece
        if len(self._body) > COMMAND_BYTES_MAX and self._head is not None:
            self._submit(self._head)

    def end(self) -> None:
        """Take the end of the body."""
        self._whole = True
        if self._head is not None and self._answered is None:
            self._submit(self._head)

    def _submit(self, head: Head) -> None:
        try:
            if len(self._body) > COMMAND_BYTES_MAX:
                raise too_large(None)
            command = self._command = self._posts.read_command(head, bytes(self._body))
            self._body.clear()
            try:
                self._posts.submit(command, head, self)
            except EventoError as error:
                self.tell(0, error)
        except Exception as error:  # noqa: BLE001  it is logged where it is made a refusal
            self._fail(error)

    # ------------------------------------------------------------ the answer
    def tell(self, place: int, answer: Answer) -> None:
        """Hear what became of the Command, and answer. Raises nothing: the engine has others to tell."""
        assert self._head is not None and self._command is not None  # noqa: S101 - it was submitted
        try:
            answered = self._posts.answer(self._command, self._head, answer)
        except Exception as error:  # noqa: BLE001  it is logged where it is made a refusal
            self._fail(error)
        else:
            self._respond(answered)

    def _fail(self, error: Exception) -> None:
        self._respond(self._refusals(error, "/".join(("", "v1", *self._place))))

    def _respond(self, answered: Answered) -> None:
        if self._answered is not None:
            return
        self._answered = answered
        if self._connection.write_paused:
            self._connection.held = self
        else:
            self.write()

    def write(self) -> None:
        """Write the answer, if there is still someone to read it."""
        connection, answered = self._connection, self._answered
        self.response_complete = True
        if answered is None or connection.transport.is_closing():
            return
        status, headers, body = answered
        headers.append((b"content-length", b"%d" % len(body)))
        connection.transport.write(whole_answer(status, connection.default_headers + headers, body, keep_alive=self.keep_alive))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


def whole_answer(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, keep_alive: bool) -> bytes:
    """Return an answer as it is written."""
    lines = [name + b": " + value for name, value in headers]
    if not keep_alive:
        lines.append(b"connection: close")
    return _STATUS_LINES[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body
