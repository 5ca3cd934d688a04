"""The house's limits, held from the first day: sizes, names, what may stand nowhere, and what may stand only in one place.

RATCHET lists what is over a limit. It may only become shorter: whoever mends a place takes it off the list, and nothing is added.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
POSITIONAL_MAX = 5
PORT_METHODS_MAX = 7
PACKAGE_DEPTH_MAX = 2
SCRIPTS_MAX = 6
SCRIPT_LINES_MAX = 30
ARCHITECTURE_LINES_MAX = 200

RATCHET = {
    "evento/engine/checking.py: _absorb_handled has 6 positional parameters",
    "evento/engine/folding.py: _advance has 6 positional parameters",
    "evento/engine/refolding.py: asyncio.ensure_future",
    "evento/functions/bisect.py: Bisecting.revision says nothing",
    "evento/functions/http.py: HttpFunction.revision says nothing",
    "evento/functions/inline.py: InlineFunction.revision says nothing",
    "evento/functions/process.py: ProcessFunction.revision says nothing",
    "evento/schema/compatibility.py: Comparison.compared says nothing",
    "evento/schema/compatibility.py: Comparison.records says nothing",
    "evento/schema/compatibility.py: Comparison.union says nothing",
    "tests/registry/test_catalog.py has no docstring",
    "tests/registry/test_deployment.py has no docstring",
    "tests/registry/test_manifests.py has no docstring",
    "tests/registry/test_revision.py has no docstring",
    "tests/registry/test_yaml_reader.py has no docstring",
}
BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "service", "services", "misc"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "print", "input", "os.system", "os.popen"}
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "random", "secrets"}
BANNED_IN_PURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".avsc", ".sql", ".go", ".sh", ".ts", ".mod", ".sum", ""}

PURE = ("evento/model/", "evento/schema/", "evento/lifecycle/")
# A user's function has a process of its own, and the test kit is not run in production: both are outside of the platform's rules
# about time, environment and chance.
OUTSIDE = ("evento/sdk/", "evento/testing/")
# What else asks the module `time`, and for what.
TIME_PLACES = {
    "evento/clock.py": {"time_ns"},
    "evento/telemetry.py": {"gmtime", "strftime"},  # how a log line writes its time
    "evento/api/times.py": {"gmtime", "strftime"},  # how an answer writes a time
}
SLEEP_PLACE = "evento/clock.py"
# Generated code: a codec is compiled once per schema and then runs as fast as one written by hand.
EXEC_PLACES = {"evento/sdk/source.py", "evento/schema/skim.py"}
PRINT_PLACE = "evento/sdk/__main__.py"
RANDOM_PLACES = {"evento/bootstrap.py", "evento/api/ids.py"}  # handed to the engine from there; command ids
ENVIRONMENT_PLACE = "evento/settings.py"
Rule = Callable[[Path], Iterator[str]]


@cache
def tracked() -> tuple[str, ...]:
    """Return every file of the repository, also those that are about to be added to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules(*folders: str) -> list[Path]:
    return [ROOT / name for name in tracked() if name.endswith(".py") and name.startswith(folders)]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call with its dotted name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of each import."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def offenders(rule: Rule, *folders: str) -> list[str]:
    """Return what breaks a rule and is not on the list."""
    found = [sentence for path in modules(*(folders or ("evento/",))) for sentence in rule(path)]
    return sorted(set(found) - RATCHET)


EVERYTHING = ("evento/", "tests/", "examples/", "bench/")


# ------------------------------------------------------------------ sizes
def test_a_function_is_at_most_70_lines() -> None:
    def rule(path: Path) -> Iterator[str]:
        for each in functions(path):
            if (each.end_lineno or 0) - each.lineno >= FUNCTION_LINES_MAX:
                yield f"{place(path)}: {each.name} is too long"

    assert not offenders(rule, *EVERYTHING)


def test_a_module_is_at_most_500_lines() -> None:
    def rule(path: Path) -> Iterator[str]:
        if len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES_MAX:
            yield f"{place(path)} is too long"

    assert not offenders(rule, *EVERYTHING)


def test_a_function_takes_at_most_5_positional_parameters() -> None:
    def rule(path: Path) -> Iterator[str]:
        for each in functions(path):
            names = [name.arg for name in (*each.args.posonlyargs, *each.args.args) if name.arg not in ("self", "cls")]
            if len(names) > POSITIONAL_MAX:
                yield f"{place(path)}: {each.name} has {len(names)} positional parameters"

    assert not offenders(rule)


def test_a_port_has_at_most_7_methods() -> None:
    def rule(path: Path) -> Iterator[str]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
                methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
                if len(methods) > PORT_METHODS_MAX:
                    yield f"{place(path)}: {node.name} has {len(methods)} methods"

    assert not offenders(rule)


def test_packages_are_at_most_2_deep() -> None:
    assert not [name for name in tracked() if re.match(r"evento(/\w+){3,}/\w+\.py$", name)]


def test_there_are_at_most_6_scripts_of_30_lines() -> None:
    scripts = [name for name in tracked() if name.startswith(("scripts/", ".ci/"))]
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in scripts}
    assert 0 < len(scripts) <= SCRIPTS_MAX
    assert max(lines.values()) <= SCRIPT_LINES_MAX, lines


def test_the_architecture_is_told_in_200_lines() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= ARCHITECTURE_LINES_MAX


# ------------------------------------------------------------------ names and words
def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {part for name in tracked() if name.endswith(".py") for part in Path(name).with_suffix("").parts}
    assert not parts & BANNED_MODULES


def test_a_module_says_what_it_is_for() -> None:
    def rule(path: Path) -> Iterator[str]:
        if path.stat().st_size and not ast.get_docstring(tree(path)):
            yield f"{place(path)} has no docstring"

    assert not offenders(rule, *EVERYTHING)


def undocumented(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Yield public classes and functions without a word. What a subclass does again needs none: its base has them."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        derived = isinstance(node, ast.ClassDef) and any(ast.unparse(base) not in ("Struct", "Protocol") for base in node.bases)
        if not ast.get_docstring(node) and not derived:
            yield owner + node.name
        if isinstance(node, ast.ClassDef) and not derived:
            yield from undocumented(node.body, f"{node.name}.")


def test_what_is_public_says_what_it_does() -> None:
    def rule(path: Path) -> Iterator[str]:
        if place(path) != "evento/clock.py":  # its two lines say it
            yield from (f"{place(path)}: {name} says nothing" for name in undocumented(tree(path).body))

    assert not offenders(rule)


# ------------------------------------------------------------------ what stands nowhere, or in one place
def test_nothing_is_caught_without_saying_what() -> None:
    def rule(path: Path) -> Iterator[str]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield f"{place(path)}:{node.lineno}"

    assert not offenders(rule, *EVERYTHING)


def test_nothing_is_executed_that_was_not_written_here() -> None:
    def rule(path: Path) -> Iterator[str]:
        allowed = {"exec", "compile"} if place(path) in EXEC_PLACES else {"print"} if place(path) == PRINT_PLACE else set()
        for name, node in calls(path):
            if name in BANNED_CALLS - allowed or any(keyword.arg == "shell" for keyword in node.keywords):
                yield f"{place(path)}: {name}"

    assert not offenders(rule)


def test_no_python_object_is_ever_stored_and_chance_comes_from_outside() -> None:
    def rule(path: Path) -> Iterator[str]:
        chance = {"random", "secrets"} if place(path) in RANDOM_PLACES or place(path).startswith(OUTSIDE) else set()
        yield from (f"{place(path)}: {module}" for module, _ in imports(path) if module in BANNED_IMPORTS - chance)

    assert not offenders(rule)


def test_time_and_sleep_come_from_the_clock() -> None:
    """`loop.time()` is allowed: it measures, and is virtual in a simulation."""

    def rule(path: Path) -> Iterator[str]:
        if place(path).startswith(OUTSIDE):
            return
        allowed = TIME_PLACES.get(place(path), set())
        for module, name in imports(path):
            if module == "time" and (not allowed or (name and name not in allowed)):
                yield f"{place(path)}: time"
        for name, _ in calls(path):
            base, _, attribute = name.rpartition(".")
            asks = (base == "time" and attribute not in allowed) or name in ("datetime.now", "datetime.utcnow", "date.today")
            waits = attribute == "sleep" and "clock" not in base and place(path) != SLEEP_PLACE
            if asks or waits:
                yield f"{place(path)}: {name}"

    assert not offenders(rule)


def test_only_settings_reads_the_environment() -> None:
    def rule(path: Path) -> Iterator[str]:
        if place(path) == ENVIRONMENT_PLACE or place(path).startswith(OUTSIDE):
            return
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                yield f"{place(path)}:{node.lineno}"

    assert not offenders(rule)


def test_the_pure_rooms_do_nothing() -> None:
    """No waiting, no clock, no chance, no log, no file: a simulator can run them, and a test in a millisecond."""

    def rule(path: Path) -> Iterator[str]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                yield f"{place(path)}:{node.lineno}: async"
        yield from (f"{place(path)}: {module}" for module, _ in imports(path) if module.partition(".")[0] in BANNED_IN_PURE)
        yield from (f"{place(path)}: {name}" for name, _ in calls(path) if name.rpartition(".")[2] in ("open", "uuid4", "uuid1"))

    assert not offenders(rule, *PURE)


def test_the_engine_never_names_a_backend() -> None:
    def rule(path: Path) -> Iterator[str]:
        found = re.search(r"sqlite|kafka", path.read_text(encoding="utf-8"), re.IGNORECASE)
        if found:
            yield f"{place(path)}: {found[0]}"

    assert not offenders(rule, "evento/engine/", "evento/reads/", "evento/lifecycle/", "evento/model/")


def test_tasks_are_started_in_groups_only_and_queues_have_a_size() -> None:
    def rule(path: Path) -> Iterator[str]:
        for name, node in calls(path):
            started = name in ("asyncio.create_task", "asyncio.ensure_future", "asyncio.gather", "loop.create_task")
            endless = name in ("asyncio.Queue", "asyncio.PriorityQueue") and not (node.args or node.keywords)
            if (started or endless) and not place(path).startswith(OUTSIDE):
                yield f"{place(path)}: {name}"

    assert not offenders(rule)


def found_in_text(pattern: str, *, but: tuple[str, ...] = ()) -> list[str]:
    wanted = re.compile(pattern)
    found = []
    for name in tracked():
        if Path(name).suffix not in TEXT_SUFFIXES or name in ("LICENSE", place(Path(__file__)), *but):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if wanted.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    return found


def test_nothing_is_left_for_later_in_a_comment() -> None:
    assert not found_in_text(r"\b(TODO|FIXME|XXX|HACK)\b")


def test_no_file_names_a_place_of_one_machine() -> None:
    """A clone works wherever it is."""
    assert not found_in_text(r"(?<![\w./])/(home|root|Users|work|workspace|build)/\w")


def test_no_file_names_a_package_registry() -> None:
    hosts = r"pythonhosted|pypi\.|registry\.npmjs|registry\.yarnpkg|proxy\.golang|sum\.golang|goproxy|jfrog|artifactory"
    assert not found_in_text(rf"(?i){hosts}|index-url|pip\.conf", but=("scripts/lock",))


def test_the_ratchet_lists_only_what_is_still_so() -> None:
    places = {sentence.partition(".py")[0] + ".py" for sentence in RATCHET}
    assert places <= set(tracked())
