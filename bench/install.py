"""Installs what the benchmark compares with, pinned, into bench/.cache: nothing of it is a dependency of Evento."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
CACHE = BENCH / ".cache"
PEERS = BENCH / "peers"
PEER_PYTHON = CACHE / "venv/bin/python"
HYPERCORN = CACHE / "venv/bin/hypercorn"
NODE = CACHE / "node"
RESTATE_SERVER = NODE / "node_modules/.bin/restate-server"
LOADGEN = CACHE / "loadgen"
EVENTO = ROOT / ".venv/bin/evento"


class MissingTool(Exception):
    """A program that the benchmark needs is not installed."""


def install(*, python: bool, node: bool) -> None:
    """Build the load generator, and install the Python and the node packages of the peers asked for, unless they are there."""
    CACHE.mkdir(exist_ok=True)
    _need("go", "the load generator")
    subprocess.run(["go", "build", "-o", LOADGEN, "."], cwd=BENCH / "loadgen", check=True)
    if python:
        _once("venv", PEERS / "requirements.txt", _install_python)
    if node:
        _need("npm", "Restate")
        _once("node", PEERS / "package.json", _install_node)


def _need(program: str, purpose: str) -> None:
    if shutil.which(program) is None:
        raise MissingTool(f"{program} is not installed; {purpose} needs it. See bench/README.md")


def _once(name: str, pins: Path, work: Callable[[Path], None]) -> None:
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()
    done = CACHE / f"{name}.installed"
    if done.exists() and done.read_text() == digest:
        return
    print(f"installing {pins.relative_to(ROOT)} into {CACHE.relative_to(ROOT)}/{name} ...", file=sys.stderr, flush=True)
    shutil.rmtree(CACHE / name, ignore_errors=True)
    work(pins)
    done.write_text(digest)


def _install_python(pins: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
    subprocess.run([PEER_PYTHON, "-m", "pip", "install", "--quiet", "--requirement", pins], check=True)


def _install_node(pins: Path) -> None:
    NODE.mkdir()
    shutil.copy(pins, NODE)
    subprocess.run(
        ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], cwd=NODE, check=True
    )
