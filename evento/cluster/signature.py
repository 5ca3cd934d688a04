"""How nodes know each other: each request is signed with the secret that they share. Pure.

What is signed is the time, who is spoken to, and the path: whoever is lied to about an address learns nothing that another node
would take. The body is not signed: it is as safe as the network between the nodes.
"""

import hmac
from hashlib import sha256

from evento.errors import InvalidRequest

SIGNATURE_HEADER = "evento-peer"
SKEW_MAX_S = 300
_US = 1_000_000
_TIME_DIGITS_MAX = 12


def sign(secret: str, *, address: str, path: str, now_us: int) -> str:
    """Return the value of the header for a request to the node at `address`."""
    time_s = str(now_us // _US)
    return f"{time_s}.{_mac(secret, time_s, address, path)}"


def check(secret: str, given: str, *, address: str, path: str, now_us: int) -> None:
    """Check the header of a request to this node, which is at `address`. Raises InvalidRequest."""
    time_s, _, mac = given.partition(".")
    expected = _mac(secret, time_s, address, path)
    if not hmac.compare_digest(expected.encode(), mac.encode()):
        raise InvalidRequest("the request is not signed with this cluster's secret for this node's address")
    if not (time_s.isdigit() and len(time_s) <= _TIME_DIGITS_MAX) or abs(now_us // _US - int(time_s)) > SKEW_MAX_S:
        raise InvalidRequest(f"the request was signed more than {SKEW_MAX_S} s ago or ahead: set the nodes' clocks")


def _mac(secret: str, time_s: str, address: str, path: str) -> str:
    signed = "\n".join(("evento peer 1", time_s, address, path))
    return hmac.new(secret.encode(), signed.encode(), sha256).hexdigest()
