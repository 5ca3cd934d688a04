"""Projects for `evento function build`: a base image as users start from, wheels of this checkout, and the program itself."""

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pip

from tests.containers.engine import BASE, BASE_PYTHON, BUILD, PACKAGES, ROOT, Engine
from tests.faults.node import EVENTO, environment

BANK = ROOT / "examples" / "bank" / "bank.py"
_PYTHON = "localhost/evento-test/python-pip:1"
_DEBIAN = "localhost/evento-test/debian:1"
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
BUILD_S = 600


def base_image(engine: Engine) -> str:
    """Return an image of Python with pip, and nothing of Evento."""
    with _alone("base"):
        if not engine.cli("images", "--quiet", _PYTHON):
            engine.cli("import", str(BASE), _DEBIAN)
            with tempfile.TemporaryDirectory(prefix="evt-pip-") as folder:
                place = Path(folder, "pip")
                shutil.copytree(Path(pip.__file__).parent, place, ignore=shutil.ignore_patterns("__pycache__"))
                file = f"FROM {_DEBIAN}\nCOPY pip /usr/lib/python3/dist-packages/pip\n"
                Path(folder, "Containerfile").write_text(file)
                engine.build_folder(_PYTHON, Path(folder), "--file", f"{folder}/Containerfile")
    return _PYTHON


def project(folder: Path, module: Path = BANK) -> Path:
    """Make a project of one module in a new folder; its packages are wheels in it: this checkout's, and what that needs."""
    folder.mkdir()
    shutil.copy(module, folder)
    wheels = folder / "wheels"
    pinned = [f"{name}=={version(name)}" for name in PACKAGES]
    target = ["--no-deps", "--only-binary", ":all:", "--python-version", BASE_PYTHON, "--dest", str(wheels)]
    subprocess.run([*_PIP, "download", *target, *pinned], check=True)
    subprocess.run([*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)], check=True)
    return folder


def evento_function(engine_url: str, *arguments: str, status: int = 0) -> str:
    """Run `evento function …`, insist on its status, and return what it says."""
    done = subprocess.run(
        [EVENTO, "function", *arguments],
        capture_output=True,
        text=True,
        env=environment(EVENTO_CONTAINER_ENGINE=engine_url),
        check=False,
        timeout=BUILD_S,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def _alone(what: str) -> Iterator[None]:
    with (BUILD / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
