"""Does what a page tells the reader to do, against a real platform, and compares what is shown with what comes.

A page is Markdown. A comment right before a fenced block says what to do with it:

    <!-- file: bank.py -->     the block is the content of this file
    <!-- background -->        the block's command is a platform that goes on running
    <!-- copy: a/b.py -->      the reader copies this file of the repository (a comment of its own)
    <!-- waits -->             what is shown comes about by itself, within some seconds
    <!-- not run -->           the block is only shown
    (no comment)               a block of `console` is run, line by line

and `<!-- stop -->` on a line of its own is the reader's Ctrl-C. In what is shown, `…` stands for anything within a line, and a line
with nothing but `…` for any lines; how many blanks there are does not matter. A command without output shown must succeed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
READY_S = 180.0
COMMAND_S = 180.0
PATIENCE_S = 90.0
STOP_S = 90.0
DEFAULT_PORT = "7070"
_MUST_BE_TRIED = {"python", "bash", "sh"}  # other languages, as YAML, may be shown alone
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>(?!stop -->|copy: )[^\n]*?) -->\n+)?^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<alone>stop|copy: [^\n]*?) -->$",
    re.M | re.S,
)


class Block(NamedTuple):
    """A fenced block: its language, what the comment before it says, its text, and where it begins; or a comment alone."""

    kind: str
    mark: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(match["kind"] or "", match["alone"] or match["mark"] or "", match["text"] or "", line)


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, with the lines that are shown as its output."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, *output = part.rstrip("\n").split("\n")
        while command.endswith("\\"):
            command = command[:-1] + output.pop(0).strip()
        yield command, [line for line in output if line.strip()]


def matches(shown: list[str], found: str) -> bool:
    """Tell whether output is what was shown."""
    pattern = ""
    for line in shown:
        parts = [re.escape(part) for part in " ".join(line.split()).split("…")]
        pattern += r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(parts) + r"\n"
    lines = [" ".join(line.split()) for line in found.splitlines() if line.strip()]
    return re.fullmatch(pattern, "".join(line + "\n" for line in lines)) is not None


class Reader:
    """Somebody at a terminal in an empty folder, who does what a page says."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.port = str(free_port())
        self.folder = folder / "here"
        self.folder.mkdir()
        self.log = folder / "platform.log"
        self.environ = {
            **{name: value for name, value in environ.items() if not name.startswith(("EVENTO_", "PYTEST_"))},
            "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
            "EVENTO_PORT": self.port,
            "EVENTO_URL": f"http://127.0.0.1:{self.port}",
            "EVENTO_DATA": str(folder / "data"),  # elsewhere: `evento dev` watches the folder that its files are in
            "COLUMNS": "200",
        }
        self._platform: subprocess.Popen[bytes] | None = None

    def follow(self, page: Path) -> None:
        """Do everything that a page says, in order."""
        for block in blocks(page):
            place = f"{page.name}:{block.line}"
            if block.mark == "stop":
                self.stop()
            elif block.mark.startswith("copy: "):
                shutil.copy(ROOT / block.mark.removeprefix("copy: "), self.folder)
            elif block.mark.startswith("not run"):
                continue
            elif block.mark.startswith("file: "):
                self.write(block.mark.removeprefix("file: "), block.text)
            elif block.mark == "background":
                self.start(next(commands(block.text))[0])
            elif block.kind == "console":
                for command, shown in commands(block.text):
                    self._run(command, shown, place, patience_s=PATIENCE_S if block.mark == "waits" else 0)
            elif block.kind in _MUST_BE_TRIED:
                raise AssertionError(f"{place}: say by a comment what this block is for")

    def stop(self) -> None:
        """Press Ctrl-C, if a platform is running."""
        platform, self._platform = self._platform, None
        if platform is None:
            return
        platform.send_signal(signal.SIGINT)
        try:
            assert platform.wait(STOP_S) == 0, self.log.read_text()
        finally:
            platform.kill()

    def start(self, command: str) -> None:
        assert self._platform is None, "stop the one that runs, first"
        with self.log.open("wb") as log:
            self._platform = subprocess.Popen(command.split(), cwd=self.folder, env=self.environ, stdout=log, stderr=log)
        self._wait(self._is_ready)

    def write(self, name: str, text: str) -> None:
        noticed = self._notices()
        path = self.folder / name
        before = path.read_text() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if self._platform is not None and before is not None and before != text:
            self._wait(lambda: self._notices() > noticed)

    def _notices(self) -> int:
        """Return how often the running platform has said that it saw a change."""
        log = self.log.read_text() if self.log.exists() else ""
        return log.count("is in force") + log.count("not deployed")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _wait(self, condition: object) -> None:
        assert callable(condition)
        give_up = time.monotonic() + READY_S
        while not condition():
            assert self._platform is not None and self._platform.poll() is None and time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.05)

    def _run(self, command: str, shown: list[str], place: str, *, patience_s: float) -> None:
        if shutil.which(command.split()[0]) is None and command.startswith("curl"):
            return  # not every machine has it
        give_up = time.monotonic() + patience_s
        status, found = self._output(command)
        while patience_s and not matches(shown, found) and time.monotonic() < give_up:
            status, found = self._output(command)
        if shown:
            assert matches(shown, found), f"{place}: $ {command}\nshown:\n" + "\n".join(shown) + f"\nfound:\n{found}"
        else:
            assert status == 0, f"{place}: $ {command}\nended with {status}\n{found}"

    def _output(self, command: str) -> tuple[int, str]:
        ended = subprocess.run(
            ["bash", "-c", command.replace(f":{DEFAULT_PORT}", f":{self.port}")],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return ended.returncode, ended.stdout.replace(f":{self.port}", f":{DEFAULT_PORT}")


def read_along(folder: Path, *pages: Path) -> None:
    """Follow pages, one after another, in one folder."""
    reader = Reader(folder, os.environ)
    try:
        for page in pages:
            reader.follow(page)
    finally:
        reader.stop()
