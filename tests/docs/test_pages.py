"""The pages hold together: links lead somewhere, what is named exists, and lists agree with what they list."""

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from evento.cli.main import app
from evento.journal.kafka.security import ALLOWED
from evento.registry.models import MANIFESTS
from evento.registry.yaml_reader import read_yaml
from evento.settings import Settings
from tests.docs.walkthrough import ROOT, blocks, commands

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:evento|tests|docs|examples|scripts|bench|requirements)/[\w./-]+)`")
_TEST = re.compile(r"`(test_\w+)`")
_COMMAND = re.compile(r"`evento ([^`]+)`")
_VARIABLE = re.compile(r"\bEVENTO_[A-Z0-9_]+\b")
_OF_TESTS = "docs/results.md"  # tells how its figures came about, so it names what tests are told


@cache
def pages() -> tuple[Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make, as they are made where repositories are shown."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def without_blocks(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in pages():
        for link in _LINK.findall(without_blocks(page)):
            if link.startswith(("http://", "https://", "mailto:")):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert not broken


def test_every_file_that_is_named_exists() -> None:
    names = {(page.relative_to(ROOT).as_posix(), name) for page in pages() for name in _PATH.findall(without_blocks(page))}
    missing = {(page, name) for page, name in names if not (ROOT / name).exists()}
    assert names
    assert not [(page, name) for page, name in missing if not is_made(name)]


def is_made(name: str) -> bool:
    """Tell whether a place is one for what is made here, so that a fresh clone does not have it."""
    return subprocess.run(["git", "check-ignore", "--quiet", name.rstrip("/") + "/"], cwd=ROOT, check=False).returncode == 0


def test_every_test_that_is_named_exists() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    tests += "\n".join(path.stem for path in (ROOT / "tests").rglob("test_*.py"))
    names = {(page.relative_to(ROOT).as_posix(), name) for page in pages() for name in _TEST.findall(without_blocks(page))}
    assert not [(page, name) for page, name in names if name not in tests]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(without_blocks(page)) if "://" not in link)
        targets = [(page.parent / link).resolve() for link in links if link]
        ahead += [target for target in targets if target.suffix == ".md" and target.exists()]
    assert not [page for page in pages() if page not in reached and (ROOT / "docs") in page.parents]


def test_every_command_line_that_is_shown_exists() -> None:
    """Verbs and options; whether they do what is said, the walk-throughs see."""
    wrong = []
    for page in pages():
        for block in blocks(page):
            for command, _ in commands(block.text) if block.kind == "console" else ():
                for part in re.findall(r"\bevento ((?:[a-z]+ ?)+[^|&;\n]*)", command):
                    wrong += [f"{page.name}: evento {part}: {problem}" for problem in _problems(part.split())]
    assert not wrong


def test_every_command_line_that_is_named_in_a_sentence_exists() -> None:
    named = {
        (page.name, line) for page in timeless() for line in _COMMAND.findall(without_blocks(page)) if not line.startswith("VERB ")
    }
    assert len(named) > 30
    assert not [f"{page}: evento {line}: {problem}" for page, line in named for problem in _problems(line.split())]


def test_every_variable_that_is_named_is_read_by_somebody() -> None:
    """Settings, properties of Kafka's client, and what a function is told by whoever starts it."""
    settings = {f"EVENTO_{name.upper()}" for name in Settings.__struct_fields__} | {"EVENTO_CONFIG", "EVENTO_URL"}
    properties = {f"EVENTO_KAFKA_{name.upper().replace('.', '_')}" for name in ALLOWED}
    functions = literals("evento/sdk/*.py", "evento/functions/*.py")
    known = settings | properties | functions
    named = {
        (page.relative_to(ROOT).as_posix(), name) for page in timeless() for name in _VARIABLE.findall(page.read_text("utf-8"))
    }
    assert {name for _, name in named} > {"EVENTO_DATA", "EVENTO_KAFKA_SASL_PASSWORD", "EVENTO_SOCKET"}
    assert not [
        (page, name) for page, name in named if name not in known | (literals("tests/**/*.py") if page == _OF_TESTS else set())
    ]


def timeless() -> list[Path]:
    """Return the pages that tell how it is now; the changelog and decisions tell how it was then."""
    return [page for page in pages() if page.name != "CHANGELOG.md" and page.parent.name != "decisions"]


def literals(*patterns: str) -> set[str]:
    """Return the variables that the source names."""
    sources = "\n".join(path.read_text("utf-8") for pattern in patterns for path in ROOT.glob(pattern))
    return set(re.findall(r"['\"](EVENTO_[A-Z0-9_]+)['\"]", sources))


def _problems(words: list[str]) -> list[str]:
    command = get_command(app)
    context = typer.Context(command)
    while words and hasattr(command, "get_command"):
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return [f"there is no {name}"]
        command = found
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [f"there is no {word}" for word in words if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in known]


@pytest.mark.parametrize("kind", sorted(MANIFESTS))
def test_the_manifest_page_shows_every_kind(kind: str) -> None:
    page = (ROOT / "docs" / "reference" / "manifests.md").read_text(encoding="utf-8")
    fields = MANIFESTS[kind].model_fields["spec"].annotation
    assert fields is not None
    section = page.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    missing = [name for name, field in fields.model_fields.items() if f"`{field.alias or name}`" not in section]
    assert section and not missing


def test_yaml_that_is_shown_is_yaml() -> None:
    found = [(page.name, block) for page in pages() for block in blocks(page) if block.kind == "yaml"]
    assert found
    for name, block in found:
        assert read_yaml(block.text), f"{name}:{block.line}"


def test_every_dependency_is_explained_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        "Base": project["project"]["dependencies"],
        **{name.title(): packages for name, packages in project["project"]["optional-dependencies"].items()},
        "Development": project["dependency-groups"]["dev"],
    }
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for title, requirements in declared.items():
        section = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        explained = re.findall(r"^\| `([\w.-]+)` \|", section, re.M)
        assert explained == sorted(explained)
        assert set(explained) == {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in requirements}, title


def test_the_changelog_has_the_version_that_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"## [{project['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_requirements_lock_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *extras["server"]]
    all_of_them = [*extras["kafka"], *extras["signed"], *extras["otlp"], *project["dependency-groups"]["dev"]]
    for file, more in {"server.txt": [], "kafka.txt": extras["kafka"], "dev.txt": all_of_them}.items():
        text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
        locked = set(re.findall(r"^([a-z0-9-]+)==", text, re.M))
        missing = {distribution(each) for each in (*wanted, *more)} - locked
        assert locked and not missing, "make lock"


def distribution(requirement: str) -> str:
    """Return the normal form of a requirement's name."""
    return re.sub(r"[._-]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()
