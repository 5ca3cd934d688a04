"""Building by the container engine: the one call of Docker's Engine API that the client library does not make as it is needed here.

Podman takes the time that everything in the image shall have; Docker overlooks it. What the engine says is kept in part only.
"""

import json
from collections import deque
from collections.abc import Mapping
from typing import IO

import aiohttp
import msgspec

from evento.building.project import CONTAINERFILE
from evento.errors import BuildRefused, FunctionUnavailable

BUILD_S = 900.0
_LINES_KEPT = 15
_LINE_CHARACTERS_MAX = 300
_LINE_BYTES_MAX = 1024 * 1024
_UNIX = "unix://"
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
    connector = aiohttp.UnixConnector(path=engine_url.removeprefix(_UNIX))
    timeout = aiohttp.ClientTimeout(total=BUILD_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=_LINE_BYTES_MAX) as session,
            session.post("http://engine/build", params=asked, data=context, headers=_TAR) as answer,
        ):
            if answer.status != 200:
                raise BuildRefused(f"the container engine refuses to build {name}: {_plain(await _start(answer))}")
            async for line in answer.content:
                _hear(line, last, name)
    except TimeoutError as error:
        raise BuildRefused(f"image {name} was not built within {BUILD_S:g} s; the engine's last lines:\n{_joined(last)}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FunctionUnavailable(f"the container engine at {engine_url} fails to build: {error!r}") from error


async def _start(answer: aiohttp.ClientResponse) -> str:
    return (await answer.content.read(_LINE_CHARACTERS_MAX)).decode(errors="replace")


def _hear(line: bytes, last: deque[str], name: str) -> None:
    """Keep what the engine says; raise what it complains of."""
    try:
        said = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return
    if error := said.get("error"):
        lines = f"; the last lines:\n{_joined(last)}" if last else ""
        raise BuildRefused(f"image {name} cannot be built: {_plain(str(error))}{lines}")
    last.extend(_plain(each) for each in str(said.get("stream", "")).splitlines() if each.strip())


def _joined(last: deque[str]) -> str:
    return "\n".join(f"  {line}" for line in last)


def _plain(text: str) -> str:
    """Return text that may be shown: short, and without what moves a terminal's cursor."""
    return ascii(text.strip()[:_LINE_CHARACTERS_MAX])[1:-1]
