"""A function's revision: a hash of its content."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evento.errors import DeploymentRefused
from evento.model.resources import FunctionSpec
from evento.registry.revision import content_revision, function_revision


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in {"bank.py": "1", "money.py": "2", "lib/rates.py": "3", "data.csv": "4", "go": "5"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def changes(root: Path, name: str, command: list[str], files: list[str] | None = None) -> bool:
    """Whether another content of the file is another revision."""
    before = content_revision(str(root), command, files or ())
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("changed")
    return content_revision(str(root), command, files or ()) != before


def test_the_same_content_has_the_same_revision_wherever_it_is(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "copy"
    other.mkdir()
    for name in ("bank.py", "money.py"):
        (other / name).write_text((root / name).read_text())
    assert content_revision(str(other), ["python", "bank.py"], ["*.py"]) == content_revision(
        str(root), ["python", "bank.py"], ["*.py"]
    )
    assert content_revision(str(root), ["python", "bank.py"]).startswith("sha256:")


@pytest.mark.parametrize(
    "command", [["python", "bank.py"], ["python", "-m", "evento.sdk", "bank:app"], ["x", "bank"], ["lib/rates.py"]]
)
def test_by_default_every_file_with_the_suffix_of_a_named_one_counts(root: Path, command: list[str]) -> None:
    assert changes(root, "money.py", command)
    assert changes(root, "lib/rates.py", command)
    assert changes(root, "lib/new.py", command)
    assert not changes(root, "data.csv", command)


def test_a_named_module_in_a_package_counts(root: Path) -> None:
    assert changes(root, "lib/__init__.py", ["python", "-m", "lib"])
    assert changes(root, "lib/rates.py", ["python", "-m", "lib.rates"])


def test_a_binary_counts_alone(root: Path) -> None:
    assert changes(root, "go", ["./go"])
    assert not changes(root, "bank.py", ["./go"])


@pytest.mark.parametrize("name", [".venv/x.py", "__pycache__/x.py", "node_modules/x.py", ".hidden.py", "lib/.git/x.py"])
def test_what_is_not_the_functions_own_does_not_count(root: Path, name: str) -> None:
    assert not changes(root, name, ["python", "bank.py"])


def test_globs_take_the_place_of_the_default(root: Path) -> None:
    assert changes(root, "data.csv", ["python", "bank.py"], ["*.csv"])
    assert changes(root, "lib/deep/x.txt", ["python", "bank.py"], ["lib/**/*"])
    assert not changes(root, "bank.py", ["python", "bank.py"], ["*.csv"])


def test_renaming_moving_and_arguments_and_environment_are_other_revisions(root: Path) -> None:
    def revision(*command: str, **env: str) -> str:
        return content_revision(str(root), command, ["**/*"], env=env)

    seen = {revision("a"), revision("a", "b"), revision("ab"), revision("a", X="1"), revision("a", X="2"), revision("a", Y="1")}
    os.rename(root / "money.py", root / "lib" / "money.py")
    seen.add(revision("a"))
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        (["*.rs"], r"files: '\*.rs' matches no file below"),
        (["../*"], r"files: '../\*' leads out of the directory"),
        (["/etc/*"], r"files: '/etc/\*' is no glob below the directory"),
        (["x" * 900], "matches no file below|is no glob"),
    ],
)
def test_a_glob_that_finds_nothing_or_leads_out_is_refused(root: Path, files: list[str], rule: str) -> None:
    with pytest.raises(DeploymentRefused, match=rule) as refused:
        content_revision(str(root), ["x"], files)
    assert refused.value.details["field"] == "files"


def test_a_missing_directory_and_too_much_content_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeploymentRefused, match="does not exist"):
        content_revision(str(root / "none"), ["x"])
    monkeypatch.setattr("evento.registry.revision.CONTENT_BYTES_MAX", 3)
    with pytest.raises(DeploymentRefused, match="more than 3 bytes"):
        content_revision(str(root), ["x"], ["**/*"])
    monkeypatch.setattr("evento.registry.revision.CONTENT_FILES_MAX", 3)
    with pytest.raises(DeploymentRefused, match="more than 3 files"):
        content_revision(str(root), ["x"], ["**/*"])


def test_pipes_and_links_that_lead_in_circles_are_passed_over(root: Path) -> None:
    before = content_revision(str(root), ["python", "bank.py"])
    os.mkfifo(root / "pipe.py")
    (root / "loop.py").symlink_to(root / "loop.py")
    (root / "self").symlink_to(root)
    assert content_revision(str(root), ["python", "bank.py"]) == before


def test_the_revision_of_an_image_is_its_digest_and_of_a_url_unknown(root: Path) -> None:
    digest = "sha256:" + "a" * 64
    assert function_revision(FunctionSpec("bank", "f", image=f"bank:1@{digest}")) == digest
    assert function_revision(FunctionSpec("bank", "f", image="bank:1")) == ""
    assert function_revision(FunctionSpec("bank", "f", url="http://a")) == ""
    spec = FunctionSpec("bank", "f", command=("./go",), directory=str(root), env={"A": "1"})
    assert function_revision(spec) == content_revision(str(root), ["./go"], env={"A": "1"})


@given(st.lists(st.text(max_size=300), max_size=4))
def test_any_command_has_a_revision(tmp_path_factory: pytest.TempPathFactory, command: list[str]) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / "empty").mkdir(exist_ok=True)
    try:
        assert content_revision(str(root / "empty"), command)
    except UnicodeEncodeError:
        pytest.fail("text that is no UTF-8 must be refused or hashed")
