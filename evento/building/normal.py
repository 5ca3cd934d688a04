"""An image in its normal form, without what engines note of how and when they built it: the same content is the same image.

Knows the archives that `docker save` and `podman save` write, and no engine. The base's layers and history stay as they are.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from posixpath import dirname, join, normpath
from typing import IO, Any

from evento.errors import BuildRefused

_MANIFEST = "manifest.json"
_CHUNK_BYTES = 1024 * 1024
_SPOOLED_BYTES = 16 * _CHUNK_BYTES
_TEXT_BYTES_MAX = 16 * _CHUNK_BYTES
# Of an image's configuration, what says how it runs; Docker adds names of containers and images that it made on the way.
_KEPT = ("architecture", "os", "os.version", "variant")
_RUNS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "Healthcheck",
    "Shell",
)
_BUILDER = "io.buildah.version"
_KEPT_IN_LAYERS = "SCHILY.xattr."  # extended attributes; all other keys of that kind are times, or repeat what stands elsewhere

Json = Mapping[str, Any]


def write_normal(source: IO[bytes], target: IO[bytes], *, name: str, base_layers: int, epoch_s: int) -> str:
    """Write the image in one archive into another, in its normal form and under this name; return the digest that is its id.

    The first `base_layers` layers are the base's; all times behind them become `epoch_s`. Both files can be sought. Blocks: not for
    the event loop. Raises BuildRefused if the archive is none.
    """
    try:
        with (
            tarfile.open(fileobj=source, mode="r:") as read,
            tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as made,
        ):
            (manifest,) = json.loads(_text(read, _MANIFEST))
            config = json.loads(_text(read, manifest["Config"]))
            layers = manifest["Layers"]
            if len(layers) != len(config["rootfs"]["diff_ids"]):
                raise ValueError("it has other layers than its configuration names")
            digests = [*config["rootfs"]["diff_ids"][:base_layers]]
            for place, layer in enumerate(layers):
                if place < base_layers:
                    _copy(read, layer, made, f"{place}.tar")
                else:
                    digests.append(_rewrite(read, layer, made, f"{place}.tar", epoch_s))
            content = _canonical(_normal(config, digests, base_layers, epoch_s))
            digest = hashlib.sha256(content).hexdigest()
            _add(made, f"{digest}.json", content)
            names = [f"{place}.tar" for place in range(len(layers))]
            _add(made, _MANIFEST, _canonical([{"Config": f"{digest}.json", "RepoTags": [name], "Layers": names}]))
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise BuildRefused(f"the container engine gives the image in no form that is known: {error}") from error
    return f"sha256:{digest}"


def _normal(config: Json, digests: Sequence[str], base_layers: int, epoch_s: int) -> Json:
    """Return an image's configuration without the traces of its making."""
    runs = {key: config["config"][key] for key in _RUNS if config["config"].get(key)}
    if labels := {key: value for key, value in runs.pop("Labels", {}).items() if key != _BUILDER}:
        runs["Labels"] = labels
    created = datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        **{key: config[key] for key in _KEPT if key in config},
        "created": created,
        "config": runs,
        "rootfs": {"type": "layers", "diff_ids": list(digests)},
        "history": list(_history(config.get("history") or [], base_layers, created)),
    }


def _history(entries: Sequence[Json], base_layers: int, created: str) -> Iterator[Json]:
    seen = 0
    for entry in entries:
        if seen < base_layers:
            yield entry
        else:
            kept = {key: entry[key] for key in ("created_by", "empty_layer") if entry.get(key)}
            yield {"created": created, **kept}
        seen += not entry.get("empty_layer")


def _rewrite(read: tarfile.TarFile, layer: str, made: tarfile.TarFile, name: str, epoch_s: int) -> str:
    """Put a layer in with one time for all that is in it, and return its digest."""
    with _opened(read, layer) as content, tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as rewritten:
        with (
            tarfile.open(fileobj=content, mode="r|*") as old,
            tarfile.open(fileobj=rewritten, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for entry in old:
                entry.mtime = epoch_s
                entry.uname = entry.gname = ""
                entry.pax_headers = {key: value for key, value in entry.pax_headers.items() if key.startswith(_KEPT_IN_LAYERS)}
                new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
        size = rewritten.tell()
        rewritten.seek(0)
        digest = hashlib.sha256()
        while chunk := rewritten.read(_CHUNK_BYTES):
            digest.update(chunk)
        rewritten.seek(0)
        _add_file(made, name, rewritten, size)
    return f"sha256:{digest.hexdigest()}"


def _copy(read: tarfile.TarFile, layer: str, made: tarfile.TarFile, name: str) -> None:
    with _opened(read, layer) as content:
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        _add_file(made, name, content, size)


@contextmanager
def _opened(read: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    """Give a file in an archive; a layer that occurs twice is a link the second time."""
    entry = read.getmember(name)
    if entry.issym():
        entry = read.getmember(normpath(join(dirname(name), entry.linkname)))
    content = read.extractfile(entry)
    if content is None:
        raise ValueError(f"{name} in it is no file")
    with content:
        yield content


def _text(read: tarfile.TarFile, name: str) -> bytes:
    with _opened(read, name) as content:
        return content.read(_TEXT_BYTES_MAX)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _add(made: tarfile.TarFile, name: str, content: bytes) -> None:
    _add_file(made, name, io.BytesIO(content), len(content))


def _add_file(made: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    made.addfile(entry, content)
