"""What is read from a project, the Containerfile that comes of it, and the archive that the engine is sent. No engine."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from evento.building.building import scaffold
from evento.building.containerfile import containerfile
from evento.building.context import write_context
from evento.building.project import FILES_MAX, Project, read_project
from evento.errors import BuildRefused

VERSION = "1.2.3"
SDK = f"evento-platform=={VERSION}"


def project(folder: Path, module: str | None = None, **files: str) -> Project:
    """Write a project and read it."""
    for name, text in ({"jar.py": "app = 1"} | files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return read_project(folder, module, sdk_version=VERSION)


def test_the_only_module_is_the_functions_and_tests_are_none(tmp_path: Path) -> None:
    found = project(tmp_path, **{"test_jar.py": "", "conftest.py": "", "shop/rules.py": ""})
    assert found.target == "jar:app"
    assert found.files == ("conftest.py", "jar.py", "shop/rules.py", "test_jar.py")


def test_what_is_no_part_of_a_function_stays_away(tmp_path: Path) -> None:
    ignored = [".env", ".git/config", "venv/x.py", "__pycache__/jar.pyc", "node_modules/a.js", "data/evento.db", "a/Containerfile"]
    assert project(tmp_path, **dict.fromkeys(ignored, "secret")).files == ("jar.py",)


@pytest.mark.parametrize(
    ("module", "files", "reason"),
    [
        (None, {"bowl.py": ""}, "one module, and bowl, jar are there: say which with --module"),
        ("bowl", {}, "there is no module bowl in the project"),
        ("jar; rm -rf /", {}, "is no module: write it as bank"),
        (None, {"pyproject.toml": "[project"}, "pyproject.toml: "),
        (None, {"pyproject.toml": "[project]\ndependencies = 'fastavro'"}, "project.dependencies must be a list of requirements"),
        (None, {"pyproject.toml": "[project]\ndependencies = ['--no-deps']"}, "must be a list of requirements"),
    ],
)
def test_what_cannot_be_built_is_refused_and_says_why(
    tmp_path: Path, module: str | None, files: dict[str, str], reason: str
) -> None:
    with pytest.raises(BuildRefused, match=reason):
        project(tmp_path, module, **files)


def test_a_folder_that_is_none_links_and_far_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildRefused, match="is no folder"):
        read_project(tmp_path / "nothing", None, sdk_version=VERSION)
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(BuildRefused, match=r"passwd in .* is a link"):
        project(tmp_path)
    (tmp_path / "passwd").unlink()
    monkeypatch.setattr("evento.building.project.FILES_MAX", 1)
    with pytest.raises(BuildRefused, match=r"too large .* Is it the function's own folder\?"):
        project(tmp_path, more="")
    assert FILES_MAX > 1


@pytest.mark.parametrize(
    ("files", "requirements", "loose"),
    [
        ({}, (SDK,), ()),
        ({"pyproject.toml": "[project]\ndependencies = ['pyfoo>=2', 'bar==1.0']"}, ("bar==1.0", SDK, "pyfoo>=2"), ("pyfoo>=2",)),
        ({"pyproject.toml": "[project]\ndependencies = ['Evento_Platform==9']"}, ("Evento_Platform==9",), ()),
        ({"requirements.txt": "# of the jar\nbar==1.0 \\\n  --hash=sha256:00\nbaz\n"}, (SDK,), ("baz",)),
        ({"requirements.txt": "evento-platform==1.*"}, (), ("evento-platform==1.*",)),
    ],
)
def test_what_it_needs_with_the_sdk_in_this_version_unless_it_says_which(
    tmp_path: Path, files: dict[str, str], requirements: tuple[str, ...], loose: tuple[str, ...]
) -> None:
    found = project(tmp_path, **files)
    assert found.requirements == requirements and found.loose == loose
    assert found.listed == ("requirements.txt" in files)


def test_the_containerfile_has_no_shell_and_no_root(tmp_path: Path) -> None:
    text = containerfile(project(tmp_path, **{"requirements.txt": "bar==1.0", "wheels/bar.whl": ""}), "base:1")
    lines = text.splitlines()
    assert "ARG BASE=base:1" in lines and lines.count("FROM ${BASE}") == 1
    assert all(line.startswith('RUN ["') for line in lines if line.startswith("RUN"))
    pip = next(line for line in lines if '"pip"' in line)
    assert '"--no-index", "--find-links", "/app/wheels", "--requirement", "/app/requirements.txt", "evento-platform==1.2.3"' in pip
    assert lines[-2:] == ["USER 65532:65532", 'ENTRYPOINT ["python3", "-m", "evento.sdk", "jar:app"]']


def test_the_archive_is_the_same_wherever_and_whenever_it_is_written(tmp_path: Path) -> None:
    archives = []
    for place, names in (("a", ("jar.py", "x.py")), ("b", ("x.py", "jar.py"))):
        folder = tmp_path / place
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
        (folder / "x.py").chmod(0o777 if place == "a" else 0o700)
        os.utime(folder / "jar.py", (len(archives), len(archives)))
        target = io.BytesIO()
        write_context(target, read_project(folder, "jar", sdk_version=VERSION), "FROM x", epoch_s=7)
        archives.append(target.getvalue())
    assert archives[0] == archives[1]
    with tarfile.open(fileobj=io.BytesIO(archives[0])) as tar:
        found = [(each.name, each.mode, each.mtime, each.uid, each.uname) for each in tar]
    assert found == [("Containerfile", 0o644, 7, 0, ""), ("jar.py", 0o644, 7, 0, ""), ("x.py", 0o755, 7, 0, "")]


def test_a_scaffold_is_written_once_and_not_over_anything(tmp_path: Path) -> None:
    before = project(tmp_path)
    written = scaffold(tmp_path, sdk_version=VERSION, module=None, base="base:1")
    assert [file.name for file in written] == ["Containerfile", ".containerignore"]
    assert written[0].read_text() == containerfile(before, "base:1")
    assert "**/.*\n" in written[1].read_text()
    with pytest.raises(BuildRefused, match="Containerfile is there already"):
        scaffold(tmp_path, sdk_version=VERSION, module=None, base=None)
