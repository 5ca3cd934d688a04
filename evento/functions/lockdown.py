"""What a function's container may do: as little as the protocol needs (reliability §8). Pure.

No network: it is reached through a Unix socket in a private folder. No capability, no new privilege, nothing to write to but a
small memory-backed /tmp, no root, and limits on memory, CPU, processes and files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evento.model.resources import FunctionSpec, Resources

SOCKET_FOLDER = "/run/evento"
SOCKET_NAME = "f.sock"
USER = "65532:65532"  # nobody's, as in images without a root user
PLATFORM_LABEL = "dev.evento.platform"
FUNCTION_LABEL = "dev.evento.function"
REVISION_LABEL = "dev.evento.revision"
_TMPFS = "rw,size=64m,noexec,nosuid,nodev,mode=1777"
_FILES_MAX = 1024  # open at once
_USER_PROCESSES_MAX = 1024  # of the user on the whole machine; the container's own limit is `resources.processes`
_NANO = 1_000_000_000
_LIMITS = {"Memory": "memory", "NanoCpus": "CPU", "PidsLimit": "processes"}


def container_config(function: FunctionSpec, *, image_id: str, image_user: str, folder: str, platform: str) -> Mapping[str, Any]:
    """Return what the Docker Engine API takes to make the container; `folder` on the host will hold the socket."""
    told = {"EVENTO_SOCKET": f"{SOCKET_FOLDER}/{SOCKET_NAME}", "EVENTO_REVISION": function.revision}
    environment = {"PYTHONUNBUFFERED": "1", "HOME": "/tmp", **function.env, **told}  # noqa: S108 - the container's own
    return {
        "Image": image_id,
        "User": image_user if is_user(image_user) else USER,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "NetworkDisabled": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": {
            PLATFORM_LABEL: platform,
            FUNCTION_LABEL: f"{function.namespace}/{function.name}",
            REVISION_LABEL: function.revision,
        },
        "HostConfig": _host_config(function.resources or Resources(), folder),
    }


def not_in_force(config: Mapping[str, Any], made: Mapping[str, Any]) -> Sequence[str]:
    """Return which limits of a container's configuration its engine did not take; `made` is the HostConfig that it tells of it.

    Engines that may not limit anything, as those of ordinary users under cgroups v1, make the container without a word.
    """
    asked = config["HostConfig"]
    missing = [name for field, name in _LIMITS.items() if asked[field] > 0 and (made.get(field) or 0) <= 0]
    ulimits = {str(each.get("Name", "")).lower().removeprefix("rlimit_") for each in made.get("Ulimits") or ()}
    return missing if "nofile" in ulimits else [*missing, "open files"]


def is_user(user: str) -> bool:
    """Tell whether an image's user is somebody else than root. A name may be root's by another name: only numbers are believed."""
    name = user.partition(":")[0]
    return name.isascii() and name.isdigit() and int(name) > 0


def _host_config(resources: Resources, folder: str) -> Mapping[str, Any]:
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Tmpfs": {"/tmp": _TMPFS},  # noqa: S108 - the container's own
        "Binds": [f"{folder}:{SOCKET_FOLDER}:rw,Z"],
        "Memory": resources.memory_bytes,
        "MemorySwap": resources.memory_bytes,  # no swap beyond it
        "NanoCpus": int(resources.cpus * _NANO),
        "PidsLimit": resources.processes,
        "Ulimits": [
            {"Name": "nofile", "Soft": _FILES_MAX, "Hard": _FILES_MAX},
            {"Name": "nproc", "Soft": _USER_PROCESSES_MAX, "Hard": _USER_PROCESSES_MAX},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "LogConfig": {"Type": "none", "Config": {}},  # the platform reads what it writes; nothing piles up on the disk
        "RestartPolicy": {"Name": "no"},
        "OomKillDisable": False,
    }
