"""The part of the conformance kit about signed calls: what a function with a key must not let in (function.md, rules 40, 42)."""

from collections.abc import Callable
from typing import Any

from evento.clock import SystemClock
from evento.keys import SigningKey
from evento.protocol.envelope import CALL, WORK_PATH, encode
from evento.protocol.signature import AGE_S_MAX, DIGEST_HEADER, INPUT_HEADER, SIGNATURE_HEADER, content_digest
from evento.testing.function_probe import Broken, Probe

_MARGIN_S = 60  # the clocks of the two may differ by so much
_US = 1_000_000
_EMPTY_CALL: dict[str, Any] = {
    name: []
    for name in ("types", "ids", "versions", "states", "counts", "item_types", "payloads", "times", "command_ids", "contexts")
} | {"operation": "turn", "namespace": "evento", "entity": "Nothing"}

Headers = dict[str, str]


def now_s() -> int:
    """Return the time of signing."""
    return SystemClock().now_us() // _US


async def health_stays_open(probe: Probe) -> None:
    """The health endpoint answers without a signature. Raises Broken."""
    status = await probe.health()
    if status != 200:
        raise Broken(42, f"the health endpoint answers {status} without a signature")


async def refuses_what_is_not_signed(probe: Probe, key: SigningKey) -> None:
    """Try every way in but the right one. Raises Broken."""
    body = encode(CALL, _EMPTY_CALL)
    for what, change in _FORGERIES.items():
        headers, sent = change(key, body)
        status, _, _ = await probe.request_as("POST", WORK_PATH, sent, headers)
        if status != 401:
            raise Broken(40, f"a call {what} is answered with {status}")
    status, _, _ = await probe.request_as("GET", WORK_PATH, b"", {})
    if status != 401:
        raise Broken(40, f"a discovery without a signature is answered with {status}")
    status, _, _ = await probe.request("POST", WORK_PATH, body)
    if status == 401:
        raise Broken(40, "a signed call is answered with 401")


def _signed(key: SigningKey, body: bytes, *, method: str = "POST", path: str = WORK_PATH, after_s: int = 0) -> Headers:
    return key.headers(method=method, path=path, body=body, created_s=now_s() + after_s)


def _without(name: str) -> Callable[[SigningKey, bytes], tuple[Headers, bytes]]:
    return lambda key, body: ({k: v for k, v in _signed(key, body).items() if k != name}, body)


def _bent(key: SigningKey, body: bytes) -> Headers:
    """Return headers whose signature has one bit that is wrong."""
    headers = _signed(key, body)
    text = headers[SIGNATURE_HEADER]
    place = len("evento=:")
    return headers | {SIGNATURE_HEADER: f"{text[:place]}{'B' if text[place] == 'A' else 'A'}{text[place + 1 :]}"}


_FORGERIES: dict[str, Callable[[SigningKey, bytes], tuple[Headers, bytes]]] = {
    "without a signature": lambda key, body: ({}, body),
    f"without {DIGEST_HEADER}": _without(DIGEST_HEADER),
    f"without {INPUT_HEADER}": _without(INPUT_HEADER),
    f"without {SIGNATURE_HEADER}": _without(SIGNATURE_HEADER),
    "with a wrong signature": lambda key, body: (_bent(key, body), body),
    "with a signature for GET": lambda key, body: (_signed(key, body, method="GET"), body),
    "with a signature for another path": lambda key, body: (_signed(key, body, path="/other"), body),
    "signed long ago": lambda key, body: (_signed(key, body, after_s=-AGE_S_MAX - _MARGIN_S), body),
    "signed in the far future": lambda key, body: (_signed(key, body, after_s=AGE_S_MAX + _MARGIN_S), body),
    "with another body than was signed": lambda key, body: (_signed(key, body), body + b"\0"),
    "with another body and its digest": lambda key, body: (
        _signed(key, body) | {DIGEST_HEADER: content_digest(body + b"\0")},
        body + b"\0",
    ),
    "with an unknown key id": lambda key, body: (
        {name: value.replace(key.id, "A" * len(key.id)) for name, value in _signed(key, body).items()},
        body,
    ),
}
