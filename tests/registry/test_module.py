"""Real modules, described by the real SDK in a real process."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from declaring import ListLog

from evento.registry.deployment import Action, Registry
from evento.registry.documents import Documents, function_name
from evento.registry.module import is_module, read_module
from evento.registry.reading import read_deployment

EXAMPLE = Path(__file__).parents[2] / "examples" / "bank"
MODULE = """
from dataclasses import dataclass
from evento.sdk import Namespace

print("imported")
shop = Namespace("shop")


@shop.entity
@dataclass(frozen=True)
class Order:
    paid: bool = False


@shop.event(Order)
@dataclass(frozen=True)
class Paid:
    cents: int


@shop.command(Order)
@dataclass(frozen=True)
class Pay:
    cents: int


@shop.handle
def pay(command: Pay, order: Order | None) -> Paid:
    return Paid(command.cents)


@shop.apply
def paid(event: Paid, order: Order | None) -> Order:
    return Order(paid=True)
"""


def names(read: Documents) -> set[tuple[object, object]]:
    return {(document.content["kind"], document.content["metadata"]["name"]) for document in read.documents}  # type: ignore[index]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(MODULE)
    return tmp_path


@pytest.mark.parametrize("target", ["{}/shop.py", "{}/shop.py:shop"])
def test_a_file_is_described_and_its_command_runs_beside_it(shop: Path, target: str) -> None:
    read = read_module(target.format(shop))
    assert not read.problems
    assert {("Entity", "Order"), ("Event", "Paid"), ("Command", "Pay")} < names(read)
    (function,) = (document.content["spec"] for document in read.documents if document.content["kind"] == "Function")
    assert function["directory"] == str(shop)  # type: ignore[index]
    plan = Registry(ListLog()).plan(read)
    assert not plan.problems
    assert {change.action for change in plan.changes} == {Action.CREATED}


@pytest.mark.parametrize("target", ["shop", "shop:shop", "shop.py"])
def test_a_module_is_found_from_the_current_directory(shop: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    read = read_deployment([target])
    assert not read.problems
    assert ("Command", "Pay") in names(read)


def test_a_function_in_a_manifest_takes_the_place_of_the_modules_process(shop: Path) -> None:
    manifest = shop / "functions.yaml"
    manifest.write_text(
        "\n---\n".join(
            f"apiVersion: evento.dev/v1\nkind: Function\nmetadata: {{name: shop-functions, namespace: {namespace}}}\n"
            "spec: {image: shop:1}"
            for namespace in ("shop", "other")
        )
    )
    read = read_deployment([f"{shop}/shop.py", str(manifest)])
    assert not read.problems
    specs = {function_name(document): document.content["spec"] for document in read.documents if function_name(document)}
    assert specs == {"shop/shop-functions": {"image": "shop:1"}, "other/shop-functions": {"image": "shop:1"}}
    assert ("Command", "Pay") in names(read)


def test_the_module_never_runs_in_this_process(shop: Path) -> None:
    (shop / "shop.py").write_text("import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n" + MODULE)
    assert not read_module(f"{shop}/shop.py").problems
    assert int((shop / "pid").read_text()) != os.getpid()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("x = 1", "cannot be described"),
        ("import sys; sys.exit(3)", "cannot be described: exit code 3"),
        ("import os; os._exit(0)", "printed something else than its description"),
        ("import os; os.kill(os.getpid(), 9)", "cannot be described: exit code -9"),
        ("import os; os.write(1, b'hello'); os._exit(0)", "printed something else than its description"),
        ("import os; os.write(1, b'[5]'); os._exit(0)", "a document must be a mapping with apiVersion, kind, metadata and spec"),
        ("import os; os.write(1, b'[' * 99999); os._exit(0)", "printed something else than its description"),
    ],
)
def test_a_module_that_cannot_be_described_is_a_problem(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "shop.py").write_text(source)
    (problem,) = read_module(f"{tmp_path}/shop.py").problems
    assert message in problem.message
    assert problem.file == f"{tmp_path}/shop.py"


def test_a_module_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import subprocess, time, pathlib\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    started = time.monotonic()
    (problem,) = read_module(f"{tmp_path}/shop.py", timeout_s=8).problems
    assert "did not describe itself within 8 s" in problem.message
    assert time.monotonic() - started < 120
    child = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    while _runs(child):
        assert time.monotonic() - started < 120  # killed, but the system may take a moment to end it
        time.sleep(0.01)


def _runs(process: Path) -> bool:
    try:
        return process.read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("target", ["/none/shop.py", "shop.yaml;rm", "-c", "a b"])
def test_what_is_no_module_is_a_problem(target: str) -> None:
    assert len(read_module(target).problems) == 1


def test_targets_are_told_apart(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    (shop / "manifests").mkdir()
    assert [is_module(target) for target in ("shop.py", "shop:app", "a.b", "manifests", "missing.yaml", "x/y")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_modules_and_manifests_are_read_together(shop: Path) -> None:
    (shop / "more.yaml").write_text(
        "apiVersion: evento.dev/v1\nkind: Function\nmetadata: {name: f, namespace: shop}\nspec: {url: 'http://a'}\n"
    )
    read = read_deployment([f"{shop}/shop.py", f"{shop}/more.yaml"])
    assert not read.problems
    assert {("Function", "f"), ("Entity", "Order")} < names(read)


@pytest.mark.parametrize("name", ["bank.py", "manifests.yaml"])
def test_the_bank_example_is_good_in_both_forms(name: str) -> None:
    if not (EXAMPLE / name).exists():
        pytest.skip(f"there is no {name} in the example")
    registry = Registry(ListLog())
    plan = registry.plan(read_deployment([str(EXAMPLE / name)]))
    assert not plan.problems
    catalog = asyncio.run(registry.commit(plan))
    assert {entity for _, entity in catalog.entities} >= {"Checking"}
