"""`evento function build` with a real engine: an image of a project that is deployed and serves, the same each time, or why not."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pip
import pytest

from evento.client import Client
from tests.containers.engine import BASE, BASE_PYTHON, BUILD, PACKAGES, ROOT, Engine
from tests.containers.platform import running
from tests.faults.node import EVENTO, environment

BARE = "localhost/evento-test/python-pip:1"
NAME = "localhost/evento-test/built:1"
MANIFESTS = ROOT / "examples" / "bank" / "manifests.yaml"


@pytest.fixture(scope="module")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give an image as users start from: Python with pip, and nothing of Evento."""
    if engine.podman("images", "--quiet", BARE):
        return BARE
    folder = tmp_path_factory.mktemp("pip")
    shutil.copytree(Path(pip.__file__).parent, folder / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    engine.podman("import", "--quiet", str(BASE), "localhost/evento-test/debian:1")
    (folder / "Containerfile").write_text("FROM localhost/evento-test/debian:1\nCOPY pip /usr/lib/python3/dist-packages/pip\n")
    engine.podman("build", "-q", "--isolation=chroot", "-t", BARE, str(folder))
    return BARE


@pytest.fixture(scope="module")
def wheels() -> Path:
    """Give the wheels that an image needs: this checkout's, and those of the packages it needs."""
    pinned = [f"{name}=={version(name)}" for name in PACKAGES]
    folder = BUILD / "wheels"
    python = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with alone():
        shutil.rmtree(folder, ignore_errors=True)
        target = ["--no-deps", "--only-binary", ":all:", "--python-version", BASE_PYTHON, "--dest", str(folder)]
        subprocess.run([*python, "download", *target, *pinned], check=True)
        subprocess.run([*python, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)], check=True)
    return folder


@contextmanager
def alone() -> Iterator[None]:
    with (BUILD / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def project(tmp_path: Path, wheels: Path) -> Path:
    """Give the bank's module as a project whose packages are in its folder."""
    folder = tmp_path / "bank"
    folder.mkdir()
    shutil.copy(ROOT / "examples" / "bank" / "bank.py", folder)
    shutil.copytree(wheels, folder / "wheels")
    (folder / ".env").write_text("PASSWORD=secret")
    return folder


def evento(engine: str, *arguments: str, status: int = 0) -> str:
    """Run `evento function …`, insist on its status, and return what it says."""
    done = subprocess.run(
        [EVENTO, "function", *arguments],
        capture_output=True,
        text=True,
        env=environment(EVENTO_CONTAINER_ENGINE=engine),
        check=False,
        timeout=300,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_a_project_is_built_deployed_and_serves_and_is_the_same_when_it_is_built_again(
    engine: Engine, base: str, project: Path, tmp_path: Path
) -> None:
    said = evento(engine.url, "build", str(project), "-t", NAME, "--base", base)
    digest = said.split()[1]
    assert said.startswith(f"{NAME} sha256:")
    found = json.loads(engine.podman("image", "inspect", NAME))[0]
    assert f"sha256:{found['Id']}" == digest and found["Config"]["User"] == "65532:65532"
    assert found["Created"].startswith("1980-01-01")
    files = engine.podman("run", "--rm", "--network", "none", *LIMITS, "--entrypoint", "find", NAME, "/app", "/packages/bin")
    assert sorted(line for line in files.split() if "__pycache__" not in line) == ["/app", "/app/bank.py"]

    engine.podman("rmi", NAME)
    again = evento(engine.url, "build", str(project), "-t", NAME, "--base", base, "--output", "json")
    assert digest in again, "what is built twice differs"

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


def test_what_is_scaffolded_builds_the_same_by_hand_and_may_be_changed(engine: Engine, base: str, project: Path) -> None:
    evento(engine.url, "scaffold", str(project), "--base", base)
    first = evento(engine.url, "build", str(project), "-t", NAME).split()[1]
    engine.podman("build", "-q", "--isolation=chroot", "--timestamp", "315532800", "-t", f"{NAME}-hand", str(project))
    config = "{{json .Config.Entrypoint}} {{json .Config.Env}} {{.Config.User}}"
    inspected = [engine.podman("image", "inspect", "--format", config, name) for name in (NAME, f"{NAME}-hand")]
    assert inspected[0] == inspected[1] and "evento.sdk" in inspected[0]
    with (project / "Containerfile").open("a") as file:
        file.write("ENV MINE=1\n")
    assert evento(engine.url, "build", str(project), "-t", NAME).split()[1] != first
    assert "MINE=1" in engine.podman("image", "inspect", "--format", "{{.Config.Env}}", NAME)


def test_what_goes_wrong_is_said_with_what_to_do(engine: Engine, base: str, project: Path, tmp_path: Path) -> None:
    said = evento(f"unix://{tmp_path}/no.sock", "build", str(project), "-t", NAME, "--base", base, status=1)
    assert "cannot be reached: is it running?" in said
    said = evento(engine.url, "build", str(project), "-t", NAME, "--base", "localhost/no-such-base:1", status=1)
    assert "the base image localhost/no-such-base:1 is not here" in said and "--base" in said
    (project / "requirements.txt").write_text("no-such-package==1.0\n")
    said = evento(engine.url, "build", str(project), "-t", NAME, "--base", base, status=1)
    assert "cannot be built" in said and "No matching distribution found for no-such-package==1.0" in said
    said = evento(engine.url, "build", str(project), "-t", "Not A Name", "--base", base, status=1)
    assert "hint: " in said


LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
