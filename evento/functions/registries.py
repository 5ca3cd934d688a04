"""What registries of images are told so that they give theirs: credentials from a file such as `podman login` writes.

It is read anew for each pull, so that what is rotated counts. Nothing in it is ever part of a message.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from evento.errors import FunctionUnavailable

HUB = "docker.io"
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", HUB)
_FILE_BYTES_MAX = 1024 * 1024


class _Entry(Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(Struct):
    auths: dict[str, _Entry] = {}


class Registries:
    """The registries that the file at `path` has credentials for; without a file none, and the engine's own are used."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def credentials(self, reference: str) -> Mapping[str, str] | None:
        """Return what the registry of an image is to be told, None for nothing. Reads the file: not for the event loop.

        Raises FunctionUnavailable if the file cannot be read.
        """
        if self._path is None:
            return None
        entries = self._read(self._path)
        host, _, repository = full_name(reference).partition("/")
        places = [f"{host}/{repository}"]
        while "/" in places[-1]:
            places.append(places[-1].rpartition("/")[0])
        found = next((entries[place] for place in places if place in entries), None)
        if found is None:
            urls = _HUB_KEYS if host == HUB else (f"https://{host}", f"http://{host}")
            found = next((entries[url] for url in urls if url in entries), None)
        return None if found is None else self._told(found, host)

    def _read(self, path: Path) -> Mapping[str, _Entry]:
        try:
            with path.open("rb") as file:
                content = file.read(_FILE_BYTES_MAX + 1)
            if len(content) <= _FILE_BYTES_MAX:
                return msgspec.json.decode(content, type=_File).auths
        except OSError as error:
            raise FunctionUnavailable(f"the credentials of registries in {path} cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # its text may be in the error
        raise FunctionUnavailable(f"{path} has no credentials of registries: `podman login` and `docker login` write such a file")

    def _told(self, entry: _Entry, host: str) -> Mapping[str, str] | None:
        if entry.identitytoken:
            return {"identitytoken": entry.identitytoken, "serveraddress": host}
        username, password = entry.username, entry.password
        if entry.auth:
            try:
                username, _, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise FunctionUnavailable(f"the credentials of {host} in {self._path} are not in base64") from None
        return {"username": username, "password": password, "serveraddress": host} if username else None


def full_name(reference: str) -> str:
    """Return an image's name with its registry in front, which Docker's own need not have; the tag or digest is left away."""
    name = reference.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"{HUB}/{name}" if slash else f"{HUB}/library/{name}"
