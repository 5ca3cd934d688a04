"""Which credentials a registry is told: those that stand for it in the file, most exactly; nothing of them is said elsewhere."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from evento.errors import FunctionUnavailable
from evento.functions.registries import Registries, full_name


def told(file: Path, auths: dict[str, Any], image: str) -> Any:
    file.write_text(json.dumps({"auths": auths, "credsStore": "", "HttpHeaders": {}}))
    return Registries(file).credentials(image)


def basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("jar", "docker.io/library/jar"),
        ("jar:1", "docker.io/library/jar"),
        ("ada/jar:1", "docker.io/ada/jar"),
        ("localhost/jar:1", "localhost/jar"),
        ("localhost:5000/jar", "localhost:5000/jar"),
        ("r.example.com:5000/team/jar:1", "r.example.com:5000/team/jar"),
        ("r.example.com/jar:1@sha256:00", "r.example.com/jar"),
    ],
)
def test_an_image_is_named_with_its_registry(image: str, name: str) -> None:
    assert full_name(image) == name


def test_the_most_exact_entry_counts(tmp_path: Path) -> None:
    file, here = tmp_path / "auth.json", "r.example.com"
    auths = {here: basic("all", "a:b"), f"{here}/team": basic("team", "c"), "https://index.docker.io/v1/": basic("hub", "d")}
    expected = {
        f"{here}/jar:1": ("all", "a:b", here),
        f"{here}/team/jar@sha256:00": ("team", "c", here),
        f"{here}/teams/jar": ("all", "a:b", here),
        "ada/jar": ("hub", "d", "docker.io"),
    }
    for image, (user, password, host) in expected.items():
        assert told(file, auths, image) == {"username": user, "password": password, "serveraddress": host}
    for image in ("other.example.com/jar", f"{here}:5000/jar", f"x{here}/jar"):
        assert told(file, auths, image) is None


def test_a_token_and_plain_fields_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    assert told(file, {"r.io": {"identitytoken": "t"}}, "r.io/jar") == {"identitytoken": "t", "serveraddress": "r.io"}
    plain = {"username": "ada", "password": "p"}
    assert told(file, {"r.io": plain}, "r.io/jar") == {**plain, "serveraddress": "r.io"}
    assert told(file, {"r.io": {}}, "r.io/jar") is None


def test_without_a_file_nobody_is_told_anything() -> None:
    assert Registries().credentials("r.io/jar") is None


@pytest.mark.parametrize("content", ["secret", '{"auths": {"r.io": "secret"}}', '{"auths": {"r.io": {"auth": "secret!"}}}', "\xff"])
def test_a_file_that_is_none_is_refused_without_a_word_of_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "auth.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(FunctionUnavailable, match=str(file)) as refused:
        Registries(file).credentials("r.io/jar")
    assert "secret" not in str(refused.value) and refused.value.__cause__ is None
    with pytest.raises(FunctionUnavailable, match=r"nothing.json cannot be read: No such file"):
        Registries(tmp_path / "nothing.json").credentials("r.io/jar")
