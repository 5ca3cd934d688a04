"""How nodes know each other: what they say is signed with the secret that they share. Pure.

A request's signature is for a time, for who is spoken to, for the path, and for the body where that is whole: whoever is lied to
about an address learns nothing that another node would take. It is another one each time. What lasts, the frames of a lane in
either direction, and the answer to what was asked, has tags by keys that follow from the request's signature.
"""

import hmac
from hashlib import sha256
from typing import NamedTuple, Self

from evento.errors import InvalidRequest

SIGNATURE_HEADER = "evento-peer"
SKEW_MAX_S = 300
NONCE_BYTES = 16
TAG_BYTES = 16
_US = 1_000_000
_TIME_DIGITS_MAX = 12
_NO_BODY = "frames"  # the body has no end: its frames have tags


class Seal:
    """One direction of one request: gives each frame a tag by what it says and by its place, so that none is made up, changed, left
    out or repeated without being noticed."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def tag(self, frame: bytes) -> bytes:
        """Return the tag of the next frame."""
        self._count += 1
        return hmac.digest(self._key, self._count.to_bytes(8, "big") + frame, "sha256")[:TAG_BYTES]

    def check(self, frame: bytes, tag: bytes) -> None:
        """Check the next frame. Raises InvalidRequest."""
        if not hmac.compare_digest(self.tag(frame), tag):
            raise InvalidRequest("what came is not signed with this cluster's secret, or was changed on its way")


class Seals(NamedTuple):
    """Both directions of one request."""

    said: Seal
    answered: Seal

    @classmethod
    def of(cls, secret: str, signature: str) -> Self:
        """Return those that follow from a request's signature."""
        keys = (f"evento peer 2 {direction}\n{signature}" for direction in cls._fields)
        return cls(*(Seal(hmac.digest(secret.encode(), key.encode(), "sha256")) for key in keys))


def sign(secret: str, *, address: str, path: str, body: bytes | None, now_us: int, nonce: bytes) -> str:
    """Return the value of the header for a request to the node at `address`; `body` is None if it has no end."""
    said = f"{now_us // _US}.{nonce.hex()}"
    return f"{said}.{_mac(secret, said, address, path, body)}"


def check(secret: str, given: str, *, address: str, path: str, body: bytes | None, now_us: int) -> None:
    """Check the header of a request to this node, which is at `address`. Raises InvalidRequest."""
    said, _, mac = given.rpartition(".")
    expected = _mac(secret, said, address, path, body)
    if not hmac.compare_digest(expected.encode(), mac.encode()):
        raise InvalidRequest("the request is not signed with this cluster's secret for this node's address and this body")
    time_s = said.partition(".")[0]
    if not (time_s.isdigit() and len(time_s) <= _TIME_DIGITS_MAX) or abs(now_us // _US - int(time_s)) > SKEW_MAX_S:
        raise InvalidRequest(f"the request was signed more than {SKEW_MAX_S} s ago or ahead: set the nodes' clocks")


def _mac(secret: str, said: str, address: str, path: str, body: bytes | None) -> str:
    digest = _NO_BODY if body is None else sha256(body).hexdigest()
    signed = "\n".join(("evento peer 2", said, address, path, digest))
    return hmac.new(secret.encode(), signed.encode(), sha256).hexdigest()
