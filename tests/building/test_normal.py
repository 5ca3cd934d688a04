"""The normal form of an image: archives of the same content, from other engines and other days, become the same; others do not."""

import hashlib
import io
import json
import tarfile
from typing import Any

import pytest

from evento.building.normal import write_normal
from evento.errors import BuildRefused

EPOCH_S = 315_532_800


def tar(files: dict[str, bytes], *, at_s: int = 0, links: dict[str, str] | None = None) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.uname = len(content), at_s, f"user{at_s}"
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return made.getvalue()


def saved(program: bytes = b"app = 1", *, at_s: int = 7, **config: Any) -> bytes:
    """Return an image as an engine saves it: a layer of the base, and one with a program and a link, made at some time."""
    layers = [tar({"etc/base": b"1"}, at_s=3), tar({"app/jar.py": program}, at_s=at_s, links={"app/link": "jar.py"})]
    content = {
        "architecture": "amd64",
        "os": "linux",
        "created": f"2026-01-01T00:00:0{at_s}Z",
        "container": f"made-{at_s}",
        "config": {"User": "7", "Env": ["A=1"], "Image": f"made-{at_s}", "Labels": {"io.buildah.version": f"1.{at_s}"}, **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [
            {"created": "2020-01-01T00:00:00Z", "created_by": "the base", "comment": "of the base"},
            {"created": f"2026-01-01T00:00:0{at_s}Z", "created_by": "COPY", "comment": f"FROM {at_s}"},
            {"created": f"2026-01-01T00:00:0{at_s}Z", "created_by": "USER 7", "empty_layer": True},
        ],
    }
    manifest = [{"Config": "c.json", "RepoTags": [f"made:{at_s}"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    files = {"c.json": json.dumps(content).encode(), "manifest.json": json.dumps(manifest).encode(), "x.tar": layers[0]}
    return tar({**files, "b/layer.tar": layers[1]}, links={"a/layer.tar": "../x.tar"})


def normal(archive: bytes, *, base_layers: int = 1) -> tuple[str, bytes]:
    target = io.BytesIO()
    digest = write_normal(io.BytesIO(archive), target, name="localhost/jar:1", base_layers=base_layers, epoch_s=EPOCH_S)
    return digest, target.getvalue()


def config_of(archive: bytes) -> Any:
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        (manifest,) = json.load(read.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest["RepoTags"] == ["localhost/jar:1"]
        content = read.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        for name, digest in zip(manifest["Layers"], json.loads(content)["rootfs"]["diff_ids"], strict=True):
            layer = read.extractfile(name).read()  # type: ignore[union-attr]
            assert f"sha256:{hashlib.sha256(layer).hexdigest()}" == digest
        assert manifest["Config"] == f"{hashlib.sha256(content).hexdigest()}.json"
        return json.loads(content)


def test_what_was_made_at_another_time_is_the_same_byte_for_byte() -> None:
    first = normal(saved())
    assert first == normal(saved(at_s=9))
    assert first == normal(first[1]), "the normal form of a normal form is another one"
    assert first[0] != normal(saved(b"app = 2"))[0]
    assert first[0] != normal(saved(Cmd=["run"]))[0]


def test_what_the_image_does_is_kept_and_so_is_the_base() -> None:
    found = config_of(normal(saved(Entrypoint=["python3"], Labels={"mine": "1", "io.buildah.version": "2"}))[1])
    assert found["config"] == {"User": "7", "Env": ["A=1"], "Entrypoint": ["python3"], "Labels": {"mine": "1"}}
    assert found["created"] == "1980-01-01T00:00:00Z" and "container" not in found
    assert found["history"][0] == {"created": "2020-01-01T00:00:00Z", "created_by": "the base", "comment": "of the base"}
    assert [each["created"] for each in found["history"][1:]] == ["1980-01-01T00:00:00Z"] * 2
    assert found["history"][2]["empty_layer"] is True and "comment" not in found["history"][1]
    original = f"sha256:{hashlib.sha256(tar({'etc/base': b'1'}, at_s=3)).hexdigest()}"
    assert found["rootfs"]["diff_ids"][0] == original


def test_layers_of_a_base_that_is_not_known_are_left_alone() -> None:
    first, other = (config_of(normal(saved(at_s=at_s), base_layers=2)[1])["rootfs"]["diff_ids"] for at_s in (7, 9))
    assert first[0] == other[0] and first[1] != other[1]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        tar({}),
        tar({"manifest.json": b"[]"}),
        tar({"manifest.json": b'[{"Config": "c.json"}]', "c.json": b"{}"}),
    ],
)
def test_what_is_no_image_is_refused(archive: bytes) -> None:
    with pytest.raises(BuildRefused, match="gives the image in no form that is known"):
        normal(archive)
