"""The house's limits, held from the first day: sizes, names, what may stand nowhere, and what may stand only in one place.

RATCHET lists what breaks a rule today. It may only become shorter: whoever mends a place takes it off the list (a test asks for
that), and nothing is added. Each rule has an offender of its own below, so that it is known to see something.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 500
POSITIONAL_MAX = 5
PORT_METHODS_MAX = 7
SCRIPTS_MAX = 6
SCRIPT_LINES_MAX = 30
ARCHITECTURE_LINES_MAX = 200

RATCHET: set[str] = set()

BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "manager", "managers", "service", "services", "misc"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "print", "input", "os.system", "os.popen"}
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "random", "secrets"}
BANNED_IN_PURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
STARTS_A_TASK = {"asyncio.create_task", "asyncio.ensure_future", "asyncio.gather", "loop.create_task"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".avsc", ".sql", ".go", ".sh", ".ts", ".mod", ".sum", ""}

EVERYTHING = ("evento/", "tests/", "examples/", "bench/")
PLATFORM = ("evento/",)
PURE = ("evento/model/", "evento/schema/", "evento/lifecycle/")
# A user's function has a process of its own, and the test kit is not run in production: both are outside of the platform's rules
# about time, environment and chance.
OUTSIDE = ("evento/sdk/", "evento/testing/")
# What else asks the module `time`, and for what.
TIME_PLACES = {
    "evento/clock.py": {"time_ns"},
    "evento/telemetry.py": {"gmtime", "strftime"},  # how a log line writes its time
    "evento/journal/kafka/patience.py": {"monotonic", "time"},  # threads have no event loop whose time they could ask
}
SLEEP_PLACE = "evento/clock.py"
# Generated code: a codec is compiled once per schema and then runs as fast as one written by hand.
EXEC_PLACES = {"evento/sdk/source.py", "evento/schema/skim.py"}
PRINT_PLACE = "evento/sdk/__main__.py"
RANDOM_PLACES = {"evento/bootstrap.py", "evento/api/ids.py"}  # handed to the engine from there; command ids
ENVIRONMENT_PLACE = "evento/settings.py"


class Source(NamedTuple):
    """A module: where it stands, and what it says."""

    place: str
    text: str

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(_parsed(self.text))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in self.walk() if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Yield each call with its dotted name."""
        return ((ast.unparse(node.func), node) for node in self.walk() if isinstance(node, ast.Call))

    def imports(self) -> Iterator[tuple[str, str]]:
        """Yield (module, name) of each import."""
        for node in self.walk():
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.module or "", alias.name) for alias in node.names)


Rule = Callable[[Source], Iterator[str]]
RULES: dict[Rule, tuple[tuple[str, ...], Source]] = {}


def held_in(folders: tuple[str, ...], offender: Source) -> Callable[[Rule], Rule]:
    """Hold a rule, which yields what breaks it, in these folders. `offender` is a module that breaks it."""

    def register(rule: Rule) -> Rule:
        RULES[rule] = folders, offender
        return rule

    return register


def offender(text: str, place: str = "evento/engine/example.py") -> Source:
    return Source(place, text)


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def tracked() -> tuple[str, ...]:
    """Return every file of the repository, also those that are about to be added to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


@cache
def broken(rule: Rule) -> set[str]:
    """Return every sentence about what breaks a rule."""
    names = (name for name in tracked() if name.endswith(".py") and name.startswith(RULES[rule][0]))
    sources = [Source(name, (ROOT / name).read_text(encoding="utf-8")) for name in names]
    assert sources
    return {f"{source.place}: {sentence}" for source in sources for sentence in rule(source)}


# ------------------------------------------------------------------ sizes
@held_in(EVERYTHING, offender("def long():\n" + "    pass\n" * FUNCTION_LINES_MAX))
def a_function_is_at_most_70_lines(source: Source) -> Iterator[str]:
    for each in source.functions():
        if (each.end_lineno or 0) - each.lineno + 1 > FUNCTION_LINES_MAX:
            yield f"{each.name} is too long"


@held_in(EVERYTHING, offender("\n" * MODULE_LINES_MAX + "x = 1"))
def a_module_is_at_most_500_lines(source: Source) -> Iterator[str]:
    if len(source.text.splitlines()) > MODULE_LINES_MAX:
        yield "is too long"


@held_in(PLATFORM, offender("def many(a, b, c, d, e, f): ..."))
def a_function_takes_at_most_5_positional_parameters(source: Source) -> Iterator[str]:
    for each in source.functions():
        names = [name.arg for name in (*each.args.posonlyargs, *each.args.args) if name.arg not in ("self", "cls")]
        if len(names) > POSITIONAL_MAX:
            yield f"{each.name} has {len(names)} positional parameters"


@held_in(PLATFORM, offender("class Wide(Protocol):\n" + "".join(f"    def f{number}(self): ...\n" for number in range(8))))
def a_port_has_at_most_7_methods(source: Source) -> Iterator[str]:
    for node in source.walk():
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).startswith("Protocol") for base in node.bases):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
            if len(methods) > PORT_METHODS_MAX:
                yield f"{node.name} has {len(methods)} methods"


@held_in(PLATFORM, offender("", "evento/a/b/c/d.py"))
def packages_are_at_most_2_deep(source: Source) -> Iterator[str]:
    if source.place.count("/") > 3:
        yield "is too deep"


# ------------------------------------------------------------------ names and words
@held_in(EVERYTHING, offender("", "evento/engine/helpers.py"))
def no_module_has_a_name_that_says_nothing(source: Source) -> Iterator[str]:
    yield from set(Path(source.place).with_suffix("").parts) & BANNED_MODULES


@held_in(EVERYTHING, offender("x = 1"))
def a_module_says_what_it_is_for(source: Source) -> Iterator[str]:
    if source.text and not ast.get_docstring(_parsed(source.text)):
        yield "says nothing of itself"


@held_in(PLATFORM, offender("class Public:\n    '''Words.'''\n    def method(self): ..."))
def what_is_public_says_what_it_does(source: Source) -> Iterator[str]:
    if source.place != "evento/clock.py":  # its two lines say it
        yield from (f"{name} says nothing" for name in _wordless(_parsed(source.text).body))


def _wordless(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Yield public classes and functions without a word. What a subclass does again needs none: its base has them."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        derived = isinstance(node, ast.ClassDef) and any(ast.unparse(base) not in ("Struct", "Protocol") for base in node.bases)
        if not ast.get_docstring(node) and not derived:
            yield owner + node.name
        if isinstance(node, ast.ClassDef) and not derived:
            yield from _wordless(node.body, f"{node.name}.")


# ------------------------------------------------------------------ what stands nowhere, or in one place
@held_in(EVERYTHING, offender("try:\n    pass\nexcept:\n    pass"))
def nothing_is_caught_without_saying_what(source: Source) -> Iterator[str]:
    for node in source.walk():
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}"


@held_in(PLATFORM, offender("subprocess.run('ls', shell=True)"))
def nothing_is_executed_that_was_not_written_here(source: Source) -> Iterator[str]:
    allowed = {"exec", "compile"} if source.place in EXEC_PLACES else {"print"} if source.place == PRINT_PLACE else set()
    for name, node in source.calls():
        if name in BANNED_CALLS - allowed or any(keyword.arg == "shell" for keyword in node.keywords):
            yield name


@held_in(PLATFORM, offender("import pickle"))
def no_python_object_is_stored_and_chance_comes_from_outside(source: Source) -> Iterator[str]:
    chance = {"random", "secrets"} if source.place in RANDOM_PLACES or source.place.startswith(OUTSIDE) else set()
    yield from (module for module, _ in source.imports() if module in BANNED_IMPORTS - chance)


@held_in(PLATFORM, offender("await asyncio.sleep(1)"))
def time_and_sleep_come_from_the_clock(source: Source) -> Iterator[str]:
    """`loop.time()` is allowed: it measures, and is virtual in a simulation."""
    if source.place.startswith(OUTSIDE):
        return
    allowed = TIME_PLACES.get(source.place, set())
    for module, name in source.imports():
        if module == "time" and (not allowed or (name and name not in allowed)):
            yield "time"
    for name, _ in source.calls():
        base, _, attribute = name.rpartition(".")
        asks = (base == "time" and attribute not in allowed) or name in ("datetime.now", "datetime.utcnow", "date.today")
        if asks or (attribute == "sleep" and "clock" not in base and source.place != SLEEP_PLACE):
            yield name


@held_in(PLATFORM, offender("x = os.environ['HOME']"))
def only_settings_reads_the_environment(source: Source) -> Iterator[str]:
    if source.place != ENVIRONMENT_PLACE and not source.place.startswith(OUTSIDE):
        for node in source.walk():
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                yield f"line {node.lineno}"


@held_in(PURE, offender("async def wait(): ...", "evento/model/example.py"))
def the_pure_rooms_do_nothing(source: Source) -> Iterator[str]:
    """No waiting, no clock, no chance, no log, no file: a simulator can run them, and a test in a millisecond."""
    for node in source.walk():
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno}: async"
    yield from (module for module, _ in source.imports() if module.partition(".")[0] in BANNED_IN_PURE)
    yield from (name for name, _ in source.calls() if name.rpartition(".")[2] in ("open", "uuid4", "uuid1"))


@held_in(("evento/engine/", "evento/reads/", "evento/lifecycle/", "evento/model/"), offender("# as SQLite does"))
def the_engine_never_names_a_backend(source: Source) -> Iterator[str]:
    found = re.search(r"sqlite|kafka", source.text, re.IGNORECASE)
    if found:
        yield found[0]


@held_in(PLATFORM, offender("asyncio.create_task(work())"))
def tasks_are_started_in_groups_only(source: Source) -> Iterator[str]:
    if not source.place.startswith(OUTSIDE):
        yield from (name for name, _ in source.calls() if name in STARTS_A_TASK)


@held_in(PLATFORM, offender("queue = asyncio.Queue()"))
def every_queue_has_a_size(source: Source) -> Iterator[str]:
    for name, node in source.calls():
        if name in ("asyncio.Queue", "asyncio.PriorityQueue", "asyncio.LifoQueue") and not (node.args or node.keywords):
            yield name


# ------------------------------------------------------------------ the tests of it
def _name(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_it_is_held_that(rule: Rule) -> None:
    assert not broken(rule) - RATCHET


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_an_offender_is_seen_by_the_rule_that(rule: Rule) -> None:
    assert list(rule(RULES[rule][1]))


def test_the_ratchet_lists_only_what_is_still_so() -> None:
    still_so = {sentence for rule in RULES for sentence in broken(rule)}
    assert not RATCHET - still_so, "take it off the list"


def test_there_are_at_most_6_scripts_of_30_lines() -> None:
    scripts = [name for name in tracked() if name.startswith(("scripts/", ".ci/"))]
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in scripts}
    assert 0 < len(scripts) <= SCRIPTS_MAX
    assert max(lines.values()) <= SCRIPT_LINES_MAX, lines


def test_the_architecture_is_told_in_200_lines() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= ARCHITECTURE_LINES_MAX


def found_in_text(pattern: str, *, but: tuple[str, ...] = ()) -> list[str]:
    wanted = re.compile(pattern)
    found = []
    for name in tracked():
        if Path(name).suffix not in TEXT_SUFFIXES or name in ("LICENSE", Path(__file__).relative_to(ROOT).as_posix(), *but):
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if wanted.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    return found


def test_text_is_searched_at_all() -> None:
    assert found_in_text(r"^# Evento$")


def test_nothing_is_left_for_later_in_a_comment() -> None:
    assert not found_in_text(r"\b(TODO|FIXME|XXX|HACK)\b")


def test_no_file_names_a_place_of_one_machine() -> None:
    """A clone works wherever it is."""
    assert not found_in_text(r"(?<![\w./])/(home|root|Users|work|workspace|build)/\w")


def test_no_file_names_a_package_registry() -> None:
    hosts = r"pythonhosted|pypi\.|registry\.npmjs|registry\.yarnpkg|proxy\.golang|sum\.golang|goproxy|jfrog|artifactory"
    assert not found_in_text(rf"(?i){hosts}|index-url|pip\.conf", but=("scripts/lock",))
