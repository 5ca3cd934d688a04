"""The container engine: Docker's Engine API over a Unix socket, which Docker and Podman both serve.

The only place that knows the client library: its errors become FunctionUnavailable here, and every answer is waited for only so
long. It knows what a container is, and nothing of functions.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from aiodocker import Docker, DockerError
from msgspec import Struct

from evento.errors import FunctionUnavailable

ANSWER_S = 30.0  # for anything but a pull
ATTACH_S = 5.0
_GONE = (404, 409)  # no such thing; or it does not run, or is being removed
_UNREACHABLE = 900  # the library's own number for a socket that nobody serves
_EXCERPT_CHARS = 300
# Why an image was not pulled, by what Docker and Podman say then. Access is denied to what does not exist, too: it comes first.
_NOT_PULLED = {
    "its registry lets nobody in with these credentials, or has no such image (setting registry_auth)": (
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "access denied",
        "access to the resource is denied",
        "invalid username/password",
        "status: 401",
        "status: 403",
        "403 (forbidden)",
    ),
    "its registry has no such image": ("manifest unknown", "name unknown", "not found", "repository name not known"),
    "its registry cannot be reached": ("dial tcp", "no such host", "i/o timeout", "timeout", "connection re", "unreachable", "eof"),
    "its registry is not trusted": ("x509", "tls:", "http response to https client"),
}


class Image(Struct, frozen=True):
    """An image that the engine has: its id is the digest of its content. `user` is whom it runs as, "" for root.

    `digests` are `repository@sha256:…`: what it is to registries, or would be if it was pushed as it is. `layers` are those of its
    content.
    """

    id: str
    user: str
    digests: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


class State(Struct, frozen=True):
    """How a container is doing; `exit_code` counts once it does not run, `pid` while it does: its first process on the machine."""

    running: bool
    exit_code: int
    out_of_memory: bool
    container_id: str = ""
    pid: int = 0


class ContainerEngine:
    """A connection to one engine. Every method raises FunctionUnavailable when the engine refuses or does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._docker = Docker(url=url)

    async def close(self) -> None:
        """End the connection."""
        await self._docker.close()

    async def image(self, reference: str) -> Image | None:
        """Return an image by name, digest or id, or None if the engine does not have it."""
        async with self._asked(f"image {reference}", ANSWER_S):
            found = await _unless_gone(self._docker.images.inspect(reference))
        if found is None:
            return None
        image_id = str(found["Id"])
        user = str((found.get("Config") or {}).get("User") or "")
        digests, layers = found.get("RepoDigests") or (), (found.get("RootFS") or {}).get("Layers") or ()
        return Image(image_id if ":" in image_id else f"sha256:{image_id}", user, tuple(digests), tuple(layers))

    async def pull(
        self,
        reference: str,
        *,
        credentials: Mapping[str, str] | None,
        within_s: float,
        hear: Callable[[Mapping[str, object]], None],
    ) -> None:
        """Fetch an image from its registry; `hear` is told what the engine says meanwhile."""
        told = dict(credentials) if credentials else None
        async with self._asked(f"pull {reference}", within_s):
            try:
                async for said in self._docker.images.pull(reference, auth=told, stream=True):
                    hear(said)
            except DockerError as error:
                if error.status == _UNREACHABLE:
                    raise
                raise FunctionUnavailable(
                    f"image {reference} is not here and cannot be pulled: {_why_not_pulled(error)}"
                ) from error

    async def name_image(self, reference: str, name: str) -> None:
        """Give an image one more name; another image that has it loses it."""
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
        async with self._asked(f"name {reference} {name}", ANSWER_S):
            await self._docker.images.tag(reference, repository, tag=tag)

    async def forget_image(self, reference: str) -> None:
        """Take a name from an image, or remove it by its id; one that is gone already, or has other names, is fine."""
        async with self._asked(f"remove image {reference}", ANSWER_S):
            await _unless_gone(self._docker.images.delete(reference))

    async def create(self, name: str, config: Mapping[str, Any]) -> None:
        """Make a container; it does not run yet."""
        async with self._asked(f"create {name}", ANSWER_S):
            await self._docker.containers.create(dict(config), name=name)

    async def host_config(self, name: str) -> Mapping[str, Any]:
        """Return what a container may do, as the engine took it; nothing if there is none."""
        async with self._asked(f"inspect {name}", ANSWER_S):
            found = await _unless_gone(self._docker.containers.container(name).show())
        return {} if found is None else dict(found["HostConfig"])

    async def start(self, name: str) -> None:
        """Run a container that was made."""
        async with self._asked(f"start {name}", ANSWER_S):
            await self._docker.containers.container(name).start()

    async def stop(self, name: str, *, within_s: int) -> None:
        """Ask a container to end with SIGTERM, and kill it when it does not within `within_s`."""
        async with self._asked(f"stop {name}", within_s + ANSWER_S):
            await _unless_gone(self._docker.containers.container(name).stop(t=within_s))

    async def remove(self, name: str) -> None:
        """Kill a container if it runs, and remove it with its anonymous volumes. One that is gone already is fine."""
        async with self._asked(f"remove {name}", ANSWER_S):
            await _unless_gone(self._docker.containers.container(name).delete(force=True, v=True))

    async def kill(self, name: str) -> None:
        """End a container with SIGKILL, if it runs."""
        async with self._asked(f"kill {name}", ANSWER_S):
            await _unless_gone(self._docker.containers.container(name).kill(signal="SIGKILL"))

    async def state(self, name: str) -> State | None:
        """Return how a container is doing, or None if there is none."""
        async with self._asked(f"inspect {name}", ANSWER_S):
            found = await _unless_gone(self._docker.containers.container(name).show())
        if found is None:
            return None
        state = found["State"]
        ended = bool(state["Running"]), int(state["ExitCode"]), bool(state.get("OOMKilled"))
        return State(*ended, container_id=str(found.get("Id", "")), pid=int(state.get("Pid") or 0))

    async def names(self, label: str) -> Sequence[str]:
        """Return the names of all containers with this label, given as `name=value`, whether they run or not."""
        async with self._asked("list containers", ANSWER_S):
            found = await self._docker.containers.list(all=True, filters={"label": [label]})
        return [container["Names"][0].removeprefix("/") for container in found]

    @asynccontextmanager
    async def attached(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give what a container writes, in pieces, from now until it ends or the context is left."""
        stream = self._docker.containers.container(name).attach(stdout=True, stderr=True)
        try:
            async with self._asked(f"attach {name}", ATTACH_S):
                await stream.__aenter__()
            yield self._pieces(stream.read_out)
        finally:
            await stream.close()

    async def _pieces(self, read: Any) -> AsyncIterator[bytes]:
        with self._translated("attach"):
            while (message := await read()) is not None:
                yield message.data

    @asynccontextmanager
    async def _asked(self, what: str, within_s: float) -> AsyncIterator[None]:
        try:
            with self._translated(what):
                async with asyncio.timeout(within_s):
                    yield
        except TimeoutError as error:
            raise FunctionUnavailable(
                f"the container engine at {self._url} did not answer within {within_s:g} s: {what}"
            ) from error

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except DockerError as error:
            if error.status == _UNREACHABLE:
                raise FunctionUnavailable(f"the container engine at {self._url} cannot be reached: is it running?") from error
            raise FunctionUnavailable(f"the container engine refuses: {what}: {_excerpt(error)}") from error
        except TimeoutError:
            raise
        except (aiohttp.ClientError, AssertionError, OSError, ValueError, KeyError) as error:
            raise FunctionUnavailable(f"the container engine at {self._url} fails: {what}: {error!r}") from error


async def _unless_gone(answer: Any) -> Any:
    """Return the answer, or None if what was asked about does not exist, or does not run."""
    try:
        return await answer
    except DockerError as error:
        if error.status in _GONE:
            return None
        raise


def _why_not_pulled(error: DockerError) -> str:
    said = str(error.message).lower()
    known = next((why for why, phrases in _NOT_PULLED.items() if any(phrase in said for phrase in phrases)), "")
    return f"{known}: {_excerpt(error)}" if known else _excerpt(error)


def _excerpt(error: DockerError) -> str:
    return ascii(str(error.message)[:_EXCERPT_CHARS])[1:-1]
