"""Where a container engine listens: as it is set, or the first usual place. It opens nothing."""

import os
import stat
from collections.abc import Callable, Mapping

from evento.errors import FunctionUnavailable

AUTO = "auto"
_PODMAN = "/run/podman/podman.sock"
_DOCKER = "/var/run/docker.sock"
_UNIX = "unix://"


def engine_url(setting: str, environ: Mapping[str, str], usable: Callable[[str], bool] | None = None) -> str:
    """Return `unix:///path` of the engine: `setting`, or if that is AUTO the first usual place where this user may use a socket.

    Raises FunctionUnavailable that names the places, if it is at none of them.
    """
    if setting != AUTO:
        return setting
    usable = usable or is_usable_socket
    named, runtime = environ.get("DOCKER_HOST", ""), environ.get("XDG_RUNTIME_DIR", "")
    places = [
        named.removeprefix(_UNIX) if named.startswith(f"{_UNIX}/") else "",
        _PODMAN,
        f"{runtime}/podman/podman.sock" if runtime else "",
        _DOCKER,
    ]
    looked_at = [place for place in places if place]
    for place in looked_at:
        if usable(place):
            return f"{_UNIX}{place}"
    raise FunctionUnavailable(
        f"there is no container engine to run images: no socket that may be used at {', '.join(looked_at)}. "
        "Start Docker or `podman system service`, or say where it is: setting container_engine"
    )


def is_usable_socket(path: str) -> bool:
    """Tell whether there is a socket that this user may write to."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode) and os.access(path, os.W_OK)
    except OSError:
        return False
