"""Runs the program `evento` as a person does: as a process, with a clean environment."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from evento.cli.main import app
from tests.ports import free_port

START_S = 180.0


class Done(NamedTuple):
    """How a run of the program ended."""

    returncode: int
    stdout: str
    stderr: str


def environment(**more: str) -> dict[str, str]:
    """Return an environment without the settings and colours of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVENTO_")}
    return {**clean, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120", **more}


def evento(*arguments: str, stdin: str | None = None, **env: str) -> Done:
    """Run the program to its end, in this process."""
    result = CliRunner(env=environment(**env)).invoke(app, arguments, input=stdin, prog_name="evento")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def evento_process(*arguments: str, cwd: Path, **env: str) -> Done:
    """Run the program to its end, in a process of its own."""
    command = [sys.executable, "-m", "evento", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment(**env), cwd=cwd)
    return Done(done.returncode, done.stdout, done.stderr)


class Platform:
    """A platform that `evento dev` runs."""

    def __init__(self, url: str, module: Path, log_file: Path) -> None:
        self.url = url
        self.module = module
        self.log_file = log_file

    def log(self) -> str:
        """Return what it has printed."""
        return self.log_file.read_text()

    def __call__(self, *arguments: str, stdin: str | None = None) -> Done:
        """Run `evento` against it."""
        return evento(*arguments, stdin=stdin, EVENTO_URL=self.url)


def start(module: Path, data: Path, **env: str) -> "tuple[Platform, subprocess.Popen[bytes]]":
    """Start `evento dev` and wait until it takes Commands."""
    port = free_port()
    log_file = data.with_suffix(".log")
    command = [sys.executable, "-m", "evento", "dev", str(module), "--data", str(data), "--port", str(port)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(**env), cwd=module.parent)
    platform = Platform(f"http://127.0.0.1:{port}", module, log_file)
    deadline = time.monotonic() + START_S
    while not _ready(platform.url):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"evento dev did not get ready:\n{platform.log()}")
        time.sleep(0.05)
    return platform, process


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
