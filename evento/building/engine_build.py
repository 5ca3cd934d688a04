"""Building by the container engine, and taking images out of it and in again: calls of Docker's Engine API with large bodies.

Podman takes the time that everything in the image shall have; Docker overlooks it. What the engine says is kept in part only.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

import aiohttp
import msgspec

from evento.building.project import CONTAINERFILE
from evento.errors import BuildRefused, FunctionUnavailable

BUILD_S = 900.0
COPY_S = 300.0
ARCHIVE_BYTES_MAX = 8 * 1024**3
_LINES_KEPT = 15
_LINE_CHARACTERS_MAX = 300
_LINE_BYTES_MAX = 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_UNIX = "unix://"
_ENGINE = "http://engine"
_TAR = {"Content-Type": "application/x-tar"}


async def build(engine_url: str, context: IO[bytes], *, name: str, arguments: Mapping[str, str], epoch_s: int) -> None:
    """Have the engine build an image of a context and give it a name. Raises BuildRefused with the engine's last lines."""
    asked = {
        "t": name,
        "dockerfile": CONTAINERFILE,
        "buildargs": json.dumps(dict(arguments), sort_keys=True),
        "timestamp": str(epoch_s),
        "forcerm": "1",
    }
    last: deque[str] = deque(maxlen=_LINES_KEPT)
    try:
        async with (
            _session(engine_url, BUILD_S) as session,
            session.post(f"{_ENGINE}/build", params=asked, data=_parts(context), headers=_TAR) as answer,
        ):
            if answer.status != 200:
                raise BuildRefused(f"the container engine refuses to build the image: {_plain(await _start(answer))}")
            async for line in answer.content:
                _hear(line, last)
    except TimeoutError as error:
        raise BuildRefused(f"the image was not built within {BUILD_S:g} s; the engine's last lines:\n{_joined(last)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FunctionUnavailable(f"the container engine at {engine_url} fails to build: {error!r}") from error


async def take_out(engine_url: str, name: str, archive: IO[bytes]) -> None:
    """Write an image into an archive. Raises BuildRefused, if it is larger than ARCHIVE_BYTES_MAX too."""
    size = 0
    with _copying(engine_url):
        async with _session(engine_url, COPY_S) as session, session.get(f"{_ENGINE}/images/{name}/get") as answer:
            if answer.status != 200:
                raise BuildRefused(f"the container engine does not give the image: {_plain(await _start(answer))}")
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > ARCHIVE_BYTES_MAX:
                    raise BuildRefused(f"the image is larger than {ARCHIVE_BYTES_MAX} bytes")
                await asyncio.to_thread(archive.write, chunk)


async def put_in(engine_url: str, archive: IO[bytes]) -> None:
    """Have the engine take the image in an archive. Raises BuildRefused."""
    with _copying(engine_url):
        async with (
            _session(engine_url, COPY_S) as session,
            session.post(f"{_ENGINE}/images/load", params={"quiet": "1"}, data=_parts(archive), headers=_TAR) as answer,
        ):
            said = _plain(await _start(answer))
            if answer.status != 200 or '"error"' in said:
                raise BuildRefused(f"the container engine does not take the image: {said}")


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Read a file for a request. Given the file itself, aiohttp closes it on a thread of its own, perhaps while its owner does."""
    while part := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield part


def _session(engine_url: str, within_s: float) -> aiohttp.ClientSession:
    connector = aiohttp.UnixConnector(path=engine_url.removeprefix(_UNIX))
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=within_s), read_bufsize=_LINE_BYTES_MAX)


@contextmanager
def _copying(engine_url: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise BuildRefused(f"the container engine did not copy the image within {COPY_S:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FunctionUnavailable(f"the container engine at {engine_url} fails to copy the image: {error!r}") from error


async def _start(answer: aiohttp.ClientResponse) -> str:
    return (await answer.content.read(_LINE_CHARACTERS_MAX)).decode(errors="replace")


def _hear(line: bytes, last: deque[str]) -> None:
    """Keep what the engine says; raise what it complains of."""
    try:
        said = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return
    if error := said.get("error"):
        lines = f"; the last lines:\n{_joined(last)}" if last else ""
        raise BuildRefused(f"the image cannot be built: {_plain(str(error))}{lines}")
    last.extend(_plain(each) for each in str(said.get("stream", "")).splitlines() if each.strip())


def _joined(last: deque[str]) -> str:
    return "\n".join(f"  {line}" for line in last)


def _plain(text: str) -> str:
    """Return text that may be shown: short, and without what moves a terminal's cursor."""
    return ascii(text.strip()[:_LINE_CHARACTERS_MAX])[1:-1]
