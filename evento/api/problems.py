"""Refusals as RFC 9457 problem details: `application/problem+json`, with the error's details as further members. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from evento.errors import EventoError, Remedy

PROBLEM_TYPE = b"application/problem+json"
RETRY_AFTER_S = 1
_URN = "urn:evento:error:"
_OWN_MEMBERS = ("type", "title", "status", "detail", "code")


def problem(error: EventoError, **members: Any) -> dict[str, Any]:
    """Return the error as a problem object; its details, and then `members`, are added."""
    title = (type(error).__doc__ or "").strip().splitlines()[0]
    head = {"type": _URN + error.code, "title": title, "status": error.status, "code": error.code, "detail": error.message}
    extra = {name: value for name, value in {**error.details, **members}.items() if name not in _OWN_MEMBERS}
    return {**head, **extra}


def problem_response(error: EventoError) -> tuple[int, dict[bytes, bytes], bytes]:
    """Return status, headers and body of the answer to a refused request."""
    headers = {b"content-type": PROBLEM_TYPE}
    if error.status == 503 and error.remedy is Remedy.LATER:
        headers[b"retry-after"] = b"%d" % RETRY_AFTER_S
    if error.status == 405:
        headers[b"allow"] = ", ".join(error.details.get("allow", ())).encode()
    return error.status, headers, to_json(problem(error))


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object; what JSON does not know (sets, enums of foreign kinds) goes in as its text."""
    return msgspec.json.encode(value, enc_hook=str)
