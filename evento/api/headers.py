"""What a Command's headers say (design §10), checked strictly. Pure: takes raw ASGI headers, knows no request."""

import re
from collections.abc import Iterable

from msgspec import Struct

from evento.errors import InvalidRequest, UnsupportedEncoding
from evento.model.command import Context
from evento.model.context import check_context_id, check_traceparent
from evento.model.times import parse_time

JSON_TYPES = frozenset((b"application/json", b""))
AVRO_TYPES = frozenset((b"application/avro", b"avro/binary", b"application/vnd.apache.avro+binary"))
_ETAG = re.compile(rb'"(0|[1-9][0-9]{0,15})"')
_READ = frozenset(
    (
        b"idempotency-key",
        b"if-match",
        b"prefer",
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"traceparent",
        b"x-correlation-id",
        b"x-causation-id",
        b"evento-due",
    )
)
_REPEATABLE = frozenset((b"prefer",))


class CommandHeaders(Struct):
    """What was said: `wait_s` None is nothing about waiting; `declared_bytes` None is a body of unknown length."""

    avro: bool = False
    command_id: str | None = None
    expected: int | None = None
    wait_s: float | None = None
    due_us: int | None = None
    declared_bytes: int | None = None
    context: Context | None = None


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> CommandHeaders:
    """Return what the headers of a Command say. Raises InvalidRequest naming the header and its rule, or UnsupportedEncoding."""
    said = CommandHeaders()
    seen = found(headers)
    if (length := seen.pop(b"content-length", None)) is not None:
        said.declared_bytes = int(length)
    if (media := seen.pop(b"content-type", None)) is not None and media != b"application/json":
        said.avro = _is_avro(media)
    if (key := seen.pop(b"idempotency-key", None)) is not None:
        said.command_id = key.decode("latin-1").strip('"')
    if seen:
        _read_rare(seen, said)
    return said


def found(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers that mean something to Evento. Raises InvalidRequest if one that may stand once is there twice."""
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ:
            if name in seen:
                if name not in _REPEATABLE:
                    raise refused(name, "must not be repeated", value)
                value = seen[name] + b"," + value
            seen[name] = value
    return seen


def read_wait(prefer: bytes) -> float | None:
    """Return for how long `Prefer` says to wait, in seconds; 0 for respond-async alone; None when it says nothing of it."""
    wait: float | None = None
    at_once = False
    for part in prefer.split(b","):
        name, _, value = (piece.strip() for piece in part.partition(b";")[0].partition(b"="))
        if name.lower() == b"wait":
            digits = value.strip(b'"')
            if not (digits.isdigit() and len(digits) <= 9):
                raise refused(b"prefer", "wait must be a whole number of seconds", prefer)
            wait = float(digits)
        elif name.lower() == b"respond-async":
            at_once = True
    return 0.0 if at_once and wait is None else wait


def check_encoding(encoding: bytes) -> None:
    """Raise UnsupportedEncoding if the body is compressed: its size could not be checked before it is unpacked."""
    if encoding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedEncoding(
            "compressed bodies are not taken",
            field="content-encoding",
            rule="must be identity or left out",
            value=encoding.decode("latin-1")[:80],
        )


def refused(name: bytes, rule: str, value: bytes) -> InvalidRequest:
    """Return the refusal of one header."""
    field = name.decode("latin-1")
    return InvalidRequest(f"header {field}: {rule}", field=field, rule=rule, value=value.decode("latin-1")[:80])


def _is_avro(media: bytes) -> bool:
    kind, _, parameters = media.partition(b";")
    kind = kind.strip().lower()
    if kind in AVRO_TYPES:
        return True
    if kind not in JSON_TYPES or parameters.strip().lower() not in (b"", b"charset=utf-8", b'charset="utf-8"'):
        raise UnsupportedEncoding(
            f"content-type {media.decode('latin-1')[:80]!r}: must be application/json or application/avro",
            field="content-type",
            rule="application/json (UTF-8) or application/avro",
            value=media.decode("latin-1")[:80],
        )
    return False


def _read_rare(seen: dict[bytes, bytes], said: CommandHeaders) -> None:
    check_encoding(seen.get(b"content-encoding", b""))
    if (etag := seen.get(b"if-match")) is not None:
        match = _ETAG.fullmatch(etag.strip())
        if not match:
            raise refused(b"if-match", 'must be one version in quotes, for example "7"', etag)
        said.expected = int(match[1])
    if (prefer := seen.get(b"prefer")) is not None:
        said.wait_s = read_wait(prefer)
    if (due := seen.get(b"evento-due")) is not None:
        said.due_us = parse_time(due.decode("latin-1"), "evento-due")
    said.context = _read_context(seen)


def _read_context(seen: dict[bytes, bytes]) -> Context | None:
    correlation, causation, trace = (seen.get(name) for name in (b"x-correlation-id", b"x-causation-id", b"traceparent"))
    if correlation is None and causation is None and trace is None:
        return None
    return Context(
        correlation_id=None if correlation is None else check_context_id(correlation.decode("latin-1"), "x-correlation-id"),
        causation_id=None if causation is None else check_context_id(causation.decode("latin-1"), "x-causation-id"),
        traceparent=None if trace is None else check_traceparent(trace.decode("latin-1")),
    )
