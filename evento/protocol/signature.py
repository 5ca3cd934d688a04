"""Signed calls (function.md, rules 36 to 43): what is signed, and how it stands in the headers.

HTTP Message Signatures (RFC 9421) over a Content-Digest (RFC 9530), in one fixed form, so that a function needs no library for
either. Both sides use it. It knows text and bytes; keys, clocks and connections are others' matter.
"""

import hashlib
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

AGE_S_MAX = 300  # how far the time of signing may be from the verifier's clock, before or after
DIGEST_HEADER = "Content-Digest"
INPUT_HEADER = "Signature-Input"
SIGNATURE_HEADER = "Signature"
_KEY_PREFIX = "ed25519:"
_PARAMETERS = r'\("@method" "@path" "content-digest"\);created=([0-9]{1,12});keyid="([A-Za-z0-9_-]{1,64})";alg="ed25519"'
_INPUT = re.compile(f"evento=({_PARAMETERS})")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_SIGNATURE = re.compile(r"evento=:([A-Za-z0-9+/]{86}==):")


class Claim(NamedTuple):
    """What the headers of a request say of its signature: nothing in it is verified yet."""

    key_id: str
    created_s: int
    digest: str  # the header Content-Digest
    parameters: str
    signature: bytes


def content_digest(body: bytes) -> str:
    """Return the Content-Digest of a body, the empty one included."""
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


def parameters_of(*, created_s: int, key_id: str) -> str:
    """Return the parameters of a signature: they stand in Signature-Input, and are signed."""
    return f'("@method" "@path" "content-digest");created={created_s};keyid="{key_id}";alg="ed25519"'


def signature_base(*, method: str, path: str, digest: str, parameters: str) -> bytes:
    """Return what is signed."""
    lines = (f'"@method": {method}', f'"@path": {path}', f'"content-digest": {digest}', f'"@signature-params": {parameters}')
    return "\n".join(lines).encode()


def headers_of(*, digest: str, parameters: str, signature: bytes) -> dict[str, str]:
    """Return the three headers of a signed request."""
    return {
        DIGEST_HEADER: digest,
        INPUT_HEADER: f"evento={parameters}",
        SIGNATURE_HEADER: f"evento=:{b64encode(signature).decode()}:",
    }


def read_claim(*, digest: str, given: str, signature: str) -> Claim:
    """Return what the three headers say; `given` is Signature-Input. Raises ValueError, with a sentence about the wrong one."""
    if _DIGEST.fullmatch(digest) is None:
        raise ValueError(f"{DIGEST_HEADER} must be sha-256=:<44 characters of base64>:")
    read = _INPUT.fullmatch(given)
    if read is None:
        raise ValueError(f"{INPUT_HEADER} must be evento={parameters_of(created_s=0, key_id='…')}")
    signed = _SIGNATURE.fullmatch(signature)
    if signed is None:
        raise ValueError(f"{SIGNATURE_HEADER} must be evento=:<88 characters of base64>:")
    return Claim(key_id=read[3], created_s=int(read[2]), digest=digest, parameters=read[1], signature=b64decode(signed[1]))


def public_key_text(public: bytes) -> str:
    """Return a public key as people copy it: `ed25519:` and 43 characters."""
    return f"{_KEY_PREFIX}{_urlsafe(public)}"


def read_public_key(text: str) -> bytes:
    """Return the 32 bytes of a public key as `public_key_text` writes it. Raises ValueError."""
    encoded = text.removeprefix(_KEY_PREFIX)
    if encoded == text or re.fullmatch(r"[A-Za-z0-9_-]{43}", encoded) is None:
        raise ValueError(f"a public key is {_KEY_PREFIX} and 43 characters of base64url, as evento keys shows it")
    return urlsafe_b64decode(f"{encoded}=")


def key_id_of(public: bytes) -> str:
    """Return the id of a public key: its JWK thumbprint (RFC 7638, RFC 8037)."""
    return _urlsafe(hashlib.sha256(b'{"crv":"Ed25519","kty":"OKP","x":"%b"}' % _urlsafe(public).encode()).digest())


def _urlsafe(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
