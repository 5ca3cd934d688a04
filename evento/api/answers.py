"""What the routes that are not hot share: answers as JSON, and query parameters with their rules."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from evento.api.headers import AVRO_TYPES
from evento.api.outcomes import encode
from evento.errors import InvalidRequest, NotAcceptable

_JSON_RANGES = frozenset(("", "*/*", "application/*", "application/json"))
_AVRO_RANGES = frozenset(media.decode() for media in AVRO_TYPES)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON."""
    return Response(encode(content), status, headers, "application/json")


def wants_avro(accept: str) -> bool:
    """Tell whether an Accept header prefers Avro to JSON; at equal weight the one named first wins. Raises NotAcceptable."""
    best, avro = 0.0, False
    for part in accept.split(","):
        media, _, parameters = part.partition(";")
        media, weight = media.strip().lower(), _weight(parameters)
        if weight > best and (media in _JSON_RANGES or media in _AVRO_RANGES):
            best, avro = weight, media in _AVRO_RANGES
    if not best:
        rule = "application/json or application/avro"
        raise NotAcceptable(f"accept {accept[:80]!r}: must allow {rule}", field="accept", rule=rule, value=accept[:80])
    return avro


def number_parameter(request: Request, name: str, default: int | None, *, least: int, most: int) -> int | None:
    """Return a whole number from the query. Raises InvalidRequest if it is none, or out of range."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 18 and least <= int(text) <= most):
        rule = f"a whole number from {least} to {most}"
        raise InvalidRequest(f"{name} {text[:80]!r}: must be {rule}", field=name, rule=rule, value=text[:80])
    return int(text)


def flag_parameter(request: Request, name: str) -> bool | None:
    """Return a `true` or `false` from the query, None if it is not there. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if text not in (None, "true", "false"):
        raise InvalidRequest(f"{name} {text[:80]!r}: must be true or false", field=name, rule="true or false", value=text[:80])
    return None if text is None else text == "true"


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
