"""The platform's signing key: a file with an Ed25519 private key in PEM, made and read here and shown nowhere.

What is signed is the function protocol's matter (`evento.protocol.signature`).
"""

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from evento.errors import SettingsError
from evento.protocol.signature import content_digest, headers_of, key_id_of, parameters_of, public_key_text, signature_base

_KEY_FILE_BYTES_MAX = 16 * 1024


class SigningKey:
    """A private key. Its text and its `repr` show the id alone."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key().public_bytes_raw()
        self.id = key_id_of(public)
        self.public = public_key_text(public)

    def __repr__(self) -> str:
        return f"SigningKey({self.id})"

    def headers(self, *, method: str, path: str, body: bytes, created_s: int) -> dict[str, str]:
        """Return the headers that sign a request (function.md, rule 37)."""
        digest, parameters = content_digest(body), parameters_of(created_s=created_s, key_id=self.id)
        base = signature_base(method=method, path=path, digest=digest, parameters=parameters)
        return headers_of(digest=digest, parameters=parameters, signature=self._private.sign(base))


def make_signing_key(file: Path) -> SigningKey:
    """Write a new private key to a file that does not exist yet, readable by this user alone. Raises SettingsError."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(pem)
    except FileExistsError as error:
        raise SettingsError(f"{file} exists; a key is never written over: name another file", value=str(file)) from error
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}", value=str(file)) from error
    return SigningKey(private)


def read_signing_key(file: Path) -> SigningKey:
    """Read a private key. Raises SettingsError, which tells nothing of the file's content."""
    try:
        with file.open("rb") as source:
            pem = source.read(_KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise SettingsError(f"the signing key {file}: {error.strerror}", setting="signing_key", value=str(file)) from error
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:  # no key; one behind a password
        raise SettingsError(_not_a_key(file), setting="signing_key", value=str(file)) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise SettingsError(_not_a_key(file), setting="signing_key", value=str(file))
    return SigningKey(private)


def _not_a_key(file: Path) -> str:
    return f"{file} is not an Ed25519 private key in PEM without a password; make one with: evento keys make FILE"
