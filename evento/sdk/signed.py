"""Lets in only calls that were signed with a known key (function.md, rules 36 to 43).

The public keys stand in `$EVENTO_FUNCTION_KEYS`, or in the file that `$EVENTO_FUNCTION_KEYS_FILE` names. Where there are any, the
package `cryptography` is needed: the extra `signed`. Where there are none, calls are taken as they come.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evento.protocol.signature import (
    AGE_S_MAX,
    DIGEST_HEADER,
    INPUT_HEADER,
    SIGNATURE_HEADER,
    content_digest,
    key_id_of,
    read_claim,
    read_public_key,
    signature_base,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEYS = "EVENTO_FUNCTION_KEYS"
KEYS_FILE = "EVENTO_FUNCTION_KEYS_FILE"
_NAMES = tuple(name.lower().encode() for name in (DIGEST_HEADER, INPUT_HEADER, SIGNATURE_HEADER))


class NotSigned(Exception):
    """The request is not let in; the text says why."""


class KeysRefused(Exception):
    """The public keys cannot be used; the text says why."""


class Gate:
    """Knows the public keys. Raises KeysRefused if there is none, one is no key, or `cryptography` is not installed."""

    def __init__(self, keys: Iterable[str], now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._keys: dict[str, Ed25519PublicKey] = {}
        load, self._invalid = _cryptography()
        for text in keys:
            try:
                public = read_public_key(text)
                self._keys[key_id_of(public)] = load(public)
            except ValueError as error:
                raise KeysRefused(f"{KEYS}: {text[:80]!r}: {error}") from error
        if not self._keys:
            raise KeysRefused(f"{KEYS} is set and has no key in it: calls could be let in by nobody, or by everybody")

    def admit(self, scope: Mapping[str, Any]) -> str:
        """Verify the head of a request (an ASGI scope), and return the Content-Digest that its body must have. Raises NotSigned."""
        found: dict[bytes, list[str]] = {name: [] for name in _NAMES}
        for name, value in scope["headers"]:
            if name in found:
                found[name].append(value.decode("latin-1"))
        if not all(len(values) == 1 for values in found.values()):
            raise NotSigned(f"a signed call has the headers {DIGEST_HEADER}, {INPUT_HEADER} and {SIGNATURE_HEADER}, each once")
        try:
            claim = read_claim(**dict(zip(("digest", "given", "signature"), (values[0] for values in found.values()), strict=True)))
        except ValueError as error:
            raise NotSigned(str(error)) from error
        if scope["query_string"]:
            raise NotSigned("a signed call has no query")
        key = self._keys.get(claim.key_id)
        if key is None:
            raise NotSigned(f"the key {claim.key_id} is not known here; known are {', '.join(self._keys)}")
        off_s = self._now_s() - claim.created_s
        if abs(off_s) > AGE_S_MAX:
            when = f"{abs(off_s):.0f} s {'ago' if off_s > 0 else 'in the future'}"
            raise NotSigned(f"it was signed {when} by this function's clock; at most {AGE_S_MAX} s are taken")
        path = scope["raw_path"].decode("latin-1")
        base = signature_base(method=scope["method"], path=path, digest=claim.digest, parameters=claim.parameters)
        try:
            key.verify(claim.signature, base)
        except self._invalid as error:
            what = f"the signature is not that of {scope['method']} {path} with this digest"
            raise NotSigned(f"{what}: forged, or changed on its way") from error
        return claim.digest


def _cryptography() -> "tuple[Callable[[bytes], Ed25519PublicKey], type[Exception]]":
    """Return what makes a key of its bytes, and what its `verify` raises. Raises KeysRefused."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as error:
        raise KeysRefused(f"{KEYS}: to verify calls, install the extra: pip install 'evento-platform[signed]'") from error
    return Ed25519PublicKey.from_public_bytes, InvalidSignature


def check_body(body: bytes, digest: str) -> None:
    """Raise NotSigned unless the body is the one that was signed."""
    if content_digest(body) != digest:
        raise NotSigned(f"the body is not the one of its {DIGEST_HEADER}")


def gate_of(environment: Mapping[str, str]) -> Gate | None:
    """Return the Gate that the environment asks for, or None if it names no keys. Raises KeysRefused."""
    if KEYS in environment and KEYS_FILE in environment:
        raise KeysRefused(f"{KEYS} and {KEYS_FILE} are both set: say it once")
    if KEYS_FILE in environment:
        file = Path(environment[KEYS_FILE])
        try:
            return Gate(_keys(file.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise KeysRefused(f"{KEYS_FILE}: {file}: {error}") from error
    return Gate(_keys(environment[KEYS])) if KEYS in environment else None


def _keys(text: str) -> list[str]:
    """Return the keys of a text: separated by commas, spaces or lines; from # on a line is a remark."""
    return " ".join(line.partition("#")[0] for line in text.splitlines()).replace(",", " ").split()
