"""`evento function build` with a real engine: an image of a project that is deployed and serves, the same each time, or why not."""

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from evento.building.engine_build import put_in, take_out
from evento.client import Client
from tests.containers.engine import ROOT, Engine
from tests.containers.platform import running
from tests.containers.projects import base_image, evento_function, project
from tests.faults.node import eventually

NAME = f"localhost/evento-test/built-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}:1"  # others build at the same time
MANIFESTS = ROOT / "examples" / "bank" / "manifests.yaml"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture(scope="module")
def base(engine: Engine) -> str:
    """Give an image as users start from."""
    return base_image(engine)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the project once."""
    return project(tmp_path_factory.mktemp("project") / "bank")


@pytest.fixture
def bank(made: Path, tmp_path: Path) -> Path:
    """Give the project of the bank, with something in it that is nobody's business."""
    shutil.copytree(made, tmp_path / "bank")
    (tmp_path / "bank" / ".env").write_text("PASSWORD=secret")
    return tmp_path / "bank"


async def test_a_project_is_built_deployed_and_serves(engine: Engine, base: str, bank: Path, tmp_path: Path) -> None:
    said = evento_function(engine.url, "build", str(bank), "-t", NAME, "--base", base)
    digest = said.split()[1]
    assert said.startswith(f"{NAME} sha256:")
    found = json.loads(engine.cli("image", "inspect", NAME))[0]
    assert found["Id"].removeprefix("sha256:") == digest.removeprefix("sha256:") and found["Config"]["User"] == "65532:65532"
    assert found["Created"].startswith("1980-01-01")
    listing = "import json, os; print(json.dumps([os.listdir('/app'), os.listdir('/packages')]))"
    said = engine.cli("run", "--rm", "--network", "none", *LIMITS, "--entrypoint", "python3", NAME, "-c", listing)
    project, packages = map(set, json.loads(said))
    assert project == {"__pycache__", "bank.py"} and {"evento", "fastavro"} <= packages and "bin" not in packages

    manifests = tmp_path / "manifests.yaml"
    command = 'command: [python, "-m", evento.sdk, "bank:app"]'
    assert command in MANIFESTS.read_text()
    manifests.write_text(MANIFESTS.read_text().replace(command, f"image: {NAME}"))
    with running(engine) as platform:
        platform.deploy(manifests)
        async with Client(platform.url) as client:
            data = {"owner": "Ada", "overdraft_limit": "1.00"}
            answer = await client.send("bank/Checking/ada", "OpenChecking", data, wait_s=30)
            events = (await client.events("bank/Checking/ada"))["events"]
    assert answer["outcome"] == "succeeded" and [event["revision"] for event in events] == [digest]


def test_what_is_built_elsewhere_and_later_is_the_same_image(engine: Engine, base: str, bank: Path, tmp_path: Path) -> None:
    said = evento_function(engine.url, "build", str(bank), "-t", NAME, "--base", base)
    digest, before = said.split()[1], content(engine)
    evento_function(engine.url, "build", str(bank), "-t", NAME, "--base", base)
    for _ in eventually("nothing is left of building"):
        if not engine.cli("images", "--all", "--quiet", "--filter", "reference=*/evento-build*"):
            break
    forget(engine)
    elsewhere = tmp_path / "elsewhere" / "another"
    shutil.copytree(bank, elsewhere, copy_function=shutil.copyfile)
    said = evento_function(engine.url, "build", str(elsewhere), "-t", NAME, "--base", base, "--output", "json")
    assert content(engine) == before
    assert json.loads(said[: said.index("}") + 1]) == {"image": NAME, "digest": digest}
    assert content(engine)["Id"].removeprefix("sha256:") == digest.removeprefix("sha256:")
    (elsewhere / "bank.py").write_text((elsewhere / "bank.py").read_text() + "# another\n")
    other = evento_function(engine.url, "build", str(elsewhere), "-t", NAME, "--base", base).split()[1]
    assert other != digest and content(engine)["RootFS"]["Layers"][:-1] == before["RootFS"]["Layers"][:-1]


async def test_a_file_that_was_sent_to_the_engine_stays_its_owners(engine: Engine, base: str) -> None:
    """The HTTP client closes a file that it is given, on a thread, and where its owner did so at that moment a build failed."""
    with tempfile.TemporaryFile() as archive:
        await take_out(engine.url, base, archive)
        archive.seek(0)
        await put_in(engine.url, archive)
        await asyncio.get_running_loop().shutdown_default_executor()  # whatever is still to be done on a thread is done
        assert not archive.closed


def forget(engine: Engine) -> None:
    """Remove the image, and all that was made on the way to it."""
    steps = {each.removeprefix("sha256:") for each in engine.cli("history", "--quiet", "--no-trunc", NAME).split()}
    engine.cli("rmi", NAME)
    nameless = engine.cli("images", "--all", "--quiet", "--no-trunc", "--filter", "dangling=true").split()
    for each in {each.removeprefix("sha256:") for each in nameless} & steps:
        engine.cli("rmi", "--force", each, insist=False)


def content(engine: Engine) -> dict[str, Any]:
    """Return what the engine knows of the image, times and places of its own aside."""
    found = json.loads(engine.cli("image", "inspect", NAME))[0]
    return {key: found[key] for key in ("Id", "Config", "RootFS", "Created", "Architecture", "Size")}


def test_what_is_scaffolded_builds_the_same_by_hand_and_may_be_changed(engine: Engine, base: str, bank: Path) -> None:
    evento_function(engine.url, "scaffold", str(bank), "--base", base)
    first = evento_function(engine.url, "build", str(bank), "-t", NAME).split()[1]
    engine.build_folder(f"{NAME}-hand", bank, "--file", str(bank / "Containerfile"))
    config = "{{json .Config.Entrypoint}} {{json .Config.Env}} {{.Config.User}}"
    inspected = [engine.cli("image", "inspect", "--format", config, name) for name in (NAME, f"{NAME}-hand")]
    assert inspected[0] == inspected[1] and "evento.sdk" in inspected[0]
    with (bank / "Containerfile").open("a") as file:
        file.write("ENV MINE=1\n")
    assert evento_function(engine.url, "build", str(bank), "-t", NAME).split()[1] != first
    assert "MINE=1" in engine.cli("image", "inspect", "--format", "{{.Config.Env}}", NAME)


def test_what_goes_wrong_is_said_with_what_to_do(engine: Engine, base: str, bank: Path, tmp_path: Path) -> None:
    said = evento_function(f"unix://{tmp_path}/no.sock", "build", str(bank), "-t", NAME, "--base", base, status=1)
    assert "cannot be reached: is it running?" in said
    said = evento_function(engine.url, "build", str(bank), "-t", NAME, "--base", "localhost/no-such-base:1", status=1)
    assert "the base image localhost/no-such-base:1 is not here" in said and "--base" in said
    (bank / "requirements.txt").write_text("no-such-package==1.0\n")
    said = evento_function(engine.url, "build", str(bank), "-t", NAME, "--base", base, status=1)
    assert "cannot be built" in said and "No matching distribution found for no-such-package==1.0" in said
    said = evento_function(engine.url, "build", str(bank), "-t", "Not A Name", "--base", base, status=1)
    assert "'Not A Name' is no name for an image: give it one such as jar:1" in said
