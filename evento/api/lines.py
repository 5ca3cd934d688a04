"""NDJSON in: from pieces of a body to chunks of whole lines, and from lines to Commands. Does no I/O.

A line that is wrong costs only itself: in its place stands the error.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from evento.api.headers import EXPECTED_MAX, check_context_id, check_traceparent
from evento.api.intake import NOTHING, Intake, Request, Target, too_large
from evento.api.json_in import MALFORMED, parse_json
from evento.api.times import parse_time
from evento.errors import EventoError, InvalidRequest
from evento.model.command import Command, Context
from evento.model.limits import COMMAND_BYTES_MAX, HEADER_BYTES_MAX

CHUNK_BYTES = 64 * 1024  # about this much is parsed at once; longer would hold up other requests
CHUNK_LINES_MAX = 500
LINE_BYTES_MAX = COMMAND_BYTES_MAX + HEADER_BYTES_MAX  # the payload, and around it what would be headers

Version = Annotated[int, Meta(ge=0, le=EXPECTED_MAX)]


class Line(Struct, forbid_unknown_fields=True):
    """One Command as a line of NDJSON."""

    entity: str
    id: str
    command: str
    data: Raw = Raw(NOTHING)
    command_id: str | None = None
    expected_version: Version | None = None
    due: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


_NAMES = tuple(f'"{name}"'.encode() for name in Line.__struct_fields__)
_decode = msgspec.json.Decoder(Line).decode
_decode_lines = msgspec.json.Decoder(Line).decode_lines


class LineSplitter:
    """Cuts a body into blocks of whole lines; keeps the beginning of the next line until its end comes."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._skipping = False  # in the middle of a line that is too long: its beginning was given already

    def feed(self, part: bytes) -> Iterator[bytes]:
        """Give the blocks that `part` completes. A line that is too long is given cut off, and its rest is skipped."""
        first_end = part.find(b"\n") + 1
        if not first_end:
            yield from self._keep(part)
            return
        if self._skipping:
            part = part[first_end:]
            self._skipping = False
        data = bytes(self._rest) + part
        start = 0
        while end := data.rfind(b"\n", start, start + CHUNK_BYTES) + 1 or data.find(b"\n", start) + 1:
            yield data[start:end]
            start = end
        self._rest = bytearray()
        yield from self._keep(data[start:])

    def end(self) -> Iterator[bytes]:
        """Give the last line, if it came without a line break."""
        if self._rest:
            yield bytes(self._rest)

    def _keep(self, part: bytes) -> Iterator[bytes]:
        if self._skipping:
            return
        self._rest += part
        if len(self._rest) > LINE_BYTES_MAX:
            yield bytes(self._rest)
            self._rest, self._skipping = bytearray(), True


class LineParser:
    """Makes Commands of lines; one for each stream, since it counts the lines."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._number = 0

    def parse(self, block: bytes, now_us: int) -> list[Command | EventoError]:
        """Return a Command or an error for each line that is not blank; the error knows its line's number."""
        results: list[Command | EventoError] = []
        for line in self._lines(block):
            self._number += 1
            if line is None:
                continue
            result = self._command(line, now_us)
            if isinstance(result, EventoError):
                result.details["line"] = self._number
            results.append(result)
        return results

    def _lines(self, block: bytes) -> Iterable[Line | EventoError | None]:
        """Decode all lines at once; each by itself if one may be wrong, or if lines and values are not one to one. None: blank."""
        count = block.count(b"\n")
        # A name that is there more often than lines are may be twice in one of them: decoding would take the last one silently.
        if len(block) <= LINE_BYTES_MAX and all(block.count(name) <= count for name in _NAMES):
            try:
                lines = _decode_lines(block)
            except MALFORMED:
                lines = []
            if len(lines) == count:
                return lines
        return map(_one_line, block.removesuffix(b"\n").split(b"\n"))

    def _command(self, line: Line | EventoError, now_us: int) -> Command | EventoError:
        if isinstance(line, EventoError):
            return line
        try:
            request = Request(line.id, line.data, command_id=line.command_id, expected=line.expected_version)
            _add_context(request, line)
            return self._intake.command(self._target(line), request, now_us)
        except EventoError as error:
            if line.command_id is not None:
                error.details["command_id"] = line.command_id[:128]
            error.details["entity"], error.details["id"] = line.entity[:128], line.id[:128]
            return error

    def _target(self, line: Line) -> Target:
        namespace, slash, entity = line.entity.partition("/")
        if not slash:
            rule = "namespace and Entity, for example bank/Checking"
            raise InvalidRequest(f"entity {line.entity[:80]!r}: must be {rule}", field="entity", rule=rule, value=line.entity[:80])
        return self._intake.target(namespace, entity, line.command)


def _one_line(text: bytes) -> Line | EventoError | None:
    if len(text) > LINE_BYTES_MAX:
        return too_large(None, LINE_BYTES_MAX)
    if not text.strip():
        return None
    try:
        parse_json(text)
        return _decode(text)
    except InvalidRequest as refused:
        return refused
    except MALFORMED as error:
        return InvalidRequest(f"not a Command: {error}", field="line", rule="one Command as a JSON object, on a line of its own")


def _add_context(request: Request, line: Line) -> None:
    if line.due is not None:
        request.due_us = parse_time(line.due, "due")
    if line.correlation_id is None and line.causation_id is None and line.traceparent is None:
        return
    correlation, causation, trace = line.correlation_id, line.causation_id, line.traceparent
    request.context = Context(
        correlation_id=None if correlation is None else check_context_id(correlation, "correlation_id"),
        causation_id=None if causation is None else check_context_id(causation, "causation_id"),
        traceparent=None if trace is None else check_traceparent(trace),
    )
