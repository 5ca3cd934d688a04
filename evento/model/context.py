"""What may travel with a Command besides its payload, wherever it comes in: correlation, causation, trace, expected version."""

import re

from evento.errors import InvalidRequest

CONTEXT_ID_RULE = "1 to 256 visible ASCII characters"
EXPECTED_MAX = 2**53
_CONTEXT_ID = re.compile(r"[!-~]{1,256}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{1,128})?")


def check_context_id(text: str, field: str) -> str:
    """Return a correlation or causation id, or raise InvalidRequest."""
    if not _CONTEXT_ID.fullmatch(text):
        raise InvalidRequest(f"{field}: must be {CONTEXT_ID_RULE}", field=field, rule=CONTEXT_ID_RULE, value=text[:80])
    return text


def check_traceparent(text: str) -> str:
    """Return a W3C traceparent, or raise InvalidRequest."""
    if not _TRACEPARENT.fullmatch(text):
        rule = "version-trace id-parent id-flags in lower-case hex, as W3C Trace Context says"
        raise InvalidRequest(f"traceparent: must be {rule}", field="traceparent", rule=rule, value=text[:80])
    return text
