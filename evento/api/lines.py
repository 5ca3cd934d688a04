"""NDJSON in: from pieces of a body to chunks of whole lines, and from lines to Commands. Does no I/O.

A line that is wrong costs only itself: in its place stands the error.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from evento.api.intake import Intake, Request, Target, too_large
from evento.api.json_in import MALFORMED, parse_json
from evento.errors import EventoError, InvalidRequest
from evento.model.command import Command, Context
from evento.model.context import EXPECTED_MAX, check_context_id, check_traceparent
from evento.model.limits import COMMAND_BYTES_MAX, HEADER_BYTES_MAX
from evento.model.times import parse_time

CHUNK_BYTES = 64 * 1024  # about this much is parsed at once; longer would hold up other requests
CHUNK_LINES_MAX = 500
LINE_BYTES_MAX = COMMAND_BYTES_MAX + HEADER_BYTES_MAX  # the payload, and around it what would be headers

Version = Annotated[int, Meta(ge=0, le=EXPECTED_MAX)]
_NO_DATA = Raw()


class Line(Struct, forbid_unknown_fields=True):
    """One Command as a line of NDJSON."""

    entity: str
    id: str
    command: str
    data: Raw = _NO_DATA
    command_id: str | None = None
    expected_version: Version | None = None
    due: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


_TEXTS = ("entity", "id", "command", "command_id", "due", "correlation_id", "causation_id", "traceparent")
_REQUIRED = 3  # of its texts
_ESCAPED_COLON = b"\\u003"
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
        targets = self._intake.targets()
        for line in self._lines(block):
            self._number += 1
            if line is None:
                continue
            result = line if isinstance(line, EventoError) else self._command(line, targets, now_us)
            if isinstance(result, EventoError):
                result.details["line"] = self._number
            results.append(result)
        return results

    def _lines(self, block: bytes) -> Iterable[Line | EventoError | None]:
        """Decode all lines at once; each by itself if one may be wrong, or if lines and values are not one to one. None: blank."""
        count = block.count(b"\n")
        if len(block) <= LINE_BYTES_MAX:
            try:
                lines = _decode_lines(block)
            except MALFORMED:
                lines = []
            if len(lines) == count and _has_each_key_once(block, lines):
                return lines
        return map(_one_line, block.removesuffix(b"\n").split(b"\n"))

    def _command(self, line: Line, targets: Mapping[tuple[str, ...], Target], now_us: int) -> Command | EventoError:
        try:
            target = targets.get((line.entity, line.command)) or self._intake.target_at(line.entity, line.command)
            request = Request(line.id, line.data, False, line.command_id, line.expected_version)
            if not (line.due is line.correlation_id is line.causation_id is line.traceparent is None):
                _add_context(request, line)
            return self._intake.command(target, request, now_us)
        except EventoError as error:
            if line.command_id is not None:
                error.details["command_id"] = line.command_id[:128]
            error.details["entity"], error.details["id"] = line.entity[:128], line.id[:128]
            return error


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


def _has_each_key_once(block: bytes, lines: Sequence[Line]) -> bool:
    """Return False if a line may have a key twice: decoding took the last one silently. Nobody looks into the data here.

    Each key has a colon behind it. So as many colons as keys, and as there are in values, prove that no key got lost.
    """
    data = [line.data for line in lines]
    expected = (_REQUIRED + 1) * len(lines) - data.count(_NO_DATA) + b"".join(data).count(b":")
    colons = block.count(b":")
    if colons == expected:
        return True
    columns = [[getattr(line, name) for line in lines] for name in _TEXTS]
    texts = [text for column in columns for text in column if text is not None]
    versions = [line.expected_version for line in lines]
    expected += len(texts) - _REQUIRED * len(lines) + "".join(texts).count(":") + len(versions) - versions.count(None)
    return colons == expected and _ESCAPED_COLON not in block


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
