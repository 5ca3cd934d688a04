"""Functions in Go and in TypeScript, without any SDK, pass the conformance kit and take over the Savings of a bank in Python."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History
from tests.faults.clients import Sender, read_final
from tests.faults.node import ROOT, Node, environment, eventually

Json = dict[str, Any]
SAVINGS = "bank/Savings"
ACCOUNTS = [f"saver-{number}" for number in range(50)]
LINES_MAX = 115  # "about a hundred": design §5


class Language(NamedTuple):
    """An example: its folder and that of its schemas, what must be there to build it, how it is built, and how it is run."""

    folder: str
    schemas: str
    needs: str
    build: Sequence[Sequence[str]]
    run: Sequence[str]


LANGUAGES = {
    "go": Language("bank-go", "bank", "go", [["go", "build", "-o", "savings", "."]], ["./savings"]),
    "typescript": Language(
        "bank-ts",
        "schemas",
        "npm",
        [["npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "build"]],
        ["node", "build/main.js"],
    ),
}


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """Give each language whose tools are here. Without Node a person is told; in CI that is a failure."""
    found = LANGUAGES[request.param]
    if shutil.which(found.needs) is None:
        reason = f"examples/{found.folder} is not tested: there is no {found.needs}"
        (pytest.skip if found.needs == "npm" and not os.environ.get("CI") else pytest.fail)(reason)
    return found


@pytest.fixture(scope="module")
def folder(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the function in a folder of its own."""
    source, built = ROOT / "examples" / language.folder, tmp_path_factory.mktemp("built") / language.folder
    shutil.copytree(source, built, ignore=shutil.ignore_patterns("savings", "build", "node_modules"))
    for command in language.build:
        done = subprocess.run(command, cwd=built, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return built


@pytest.fixture
def serving(language: Language, folder: Path, tmp_path: Path) -> Iterator[str]:
    """Run the function on its own, as its author does."""
    socket = tmp_path / "s"
    process = subprocess.Popen(language.run, cwd=folder, env={**os.environ, "EVENTO_SOCKET": str(socket)})
    try:
        for _ in eventually("the function listens"):
            if socket.exists():
                break
        yield f"unix:{socket}"
    finally:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)


def test_the_schemas_in_its_folder_are_the_published_ones(language: Language) -> None:
    """They are copies, so that the folder is a project of its own."""
    examples = ROOT / "examples"
    for copies, published in (("protocol", ROOT / "evento" / "protocol"), (language.schemas, examples / "bank-go" / "bank")):
        files = sorted((examples / language.folder / copies).glob("*.avsc"))
        assert files
        for file in files:
            assert file.read_text() == (published / file.name).read_text(), file


def test_with_an_avro_library_alone_a_function_is_about_a_hundred_lines() -> None:
    folder = ROOT / "examples" / "bank-go"
    (program,) = folder.glob("*.go")
    assert len(program.read_text().splitlines()) <= LINES_MAX


def test_the_discovery_that_it_serves_is_that_of_its_manifests(tmp_path: Path) -> None:
    folder, made = ROOT / "examples" / "bank-go", tmp_path / "discovery.avro"
    program = [str(Path(sys.executable).with_name("evento")), "function", "discovery"]
    arguments = [str(folder / "manifests.yaml"), "bank/savings", "--single", "-o", str(made)]
    subprocess.run([*program, *arguments], env=environment(), check=True, capture_output=True)
    assert made.read_bytes() == (folder / "discovery.avro").read_bytes(), "make it anew: evento function discovery"


def test_it_passes_the_conformance_kit(serving: str, tmp_path: Path) -> None:
    program = [str(part) for part in (Path(sys.executable).with_name("evento"), "function", "check", serving)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks passed" in done.stderr


def savings(name: str, data: Json, prefix: str) -> list[Json]:
    return [bank.command(account, name, data, f"{account}-{prefix}", entity=SAVINGS) for account in ACCOUNTS]


def year(prefix: str) -> list[Json]:
    """Return Commands that succeed, and some that are refused."""
    rates = ["0.5", "1.25", "3.3333"]
    return [
        *savings("OpenSavings", {"owner": "Sam"}, f"{prefix}-open"),
        *savings("ReceiveDeposit", {"amount": "100.05"}, f"{prefix}-in"),
        *savings("WithdrawCash", {"amount": "30.10"}, f"{prefix}-out"),
        *savings("WithdrawCash", {"amount": "30000.00"}, f"{prefix}-too-much"),
        *(command for rate in rates for command in savings("CreditInterest", {"rate_percent": rate}, f"{prefix}-{rate}")),
        *savings("CloseSavings", {}, f"{prefix}-close"),
    ]


async def test_it_takes_over_savings_from_python_with_the_same_states_and_decisions(folder: Path, tmp_path: Path) -> None:
    history = History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        sender = Sender(node.url, history)
        in_python = await sender.send_all(year("python"))
        await sender.send_all(bank.opening(["dora"]))
        async with Client(node.url) as client:
            before = await read_final(client, SAVINGS)
            node.deploy(folder / "manifests.yaml")
            assert await read_final(client, SAVINGS) == before, "folded by another function, the states are others"
            again = [{**command, "id": f"other-{command['id']}"} for command in year("python")]
            in_other = await sender.send_all(again)
            assert [decision(answer) for answer in in_other] == [decision(answer) for answer in in_python]
            both = [*bank.opening(["emil"]), bank.command("emil", "ReceiveDeposit", {"amount": "1.00"}, "e1")]
            assert {answer["outcome"] for answer in await sender.send_all(both)} == {"succeeded"}
            events = (await client.events(f"{SAVINGS}/other-{ACCOUNTS[0]}"))["events"]
            revisions = {event["revision"] for event in (await client.events("bank/Checking/emil"))["events"]}
            assert revisions.isdisjoint(event["revision"] for event in events)
        node.verify()


def decision(answer: Json) -> tuple[str, list[tuple[str, Json]]]:
    return answer["outcome"], [(event["type"], event["data"]) for event in answer["events"]]


async def test_killed_again_and_again_it_serves_on_and_nothing_is_lost(folder: Path, tmp_path: Path) -> None:
    history = History()
    with Node(tmp_path) as node:
        node.start()
        node.deploy(bank.MODULE)
        node.deploy(folder / "manifests.yaml")
        sender = Sender(node.url, history)
        await sender.send_all(savings("OpenSavings", {"owner": "Sam"}, "open"))
        for number in range(5):
            await sender.send_all([c for n in range(10) for c in savings("ReceiveDeposit", {"amount": "1.00"}, f"{number}-{n}")])
            assert node.kill_function(number)
        async with Client(node.url) as client:
            final = await read_final(client, SAVINGS)
        assert {Decimal(state["balance"]) for _, state in final.states.values()} == {Decimal(50)}
        node.verify()
