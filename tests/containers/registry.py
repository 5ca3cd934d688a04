"""A registry of images for tests: Docker's own (Debian's package `docker-registry`), on loopback, with or without a password."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.engine import Engine

PROGRAM = "docker-registry"
USER, PASSWORD = "joe", "secret-of-joe"
_ENTRY = "joe:$2y$05$aYliK767zkdyldvzT7ywDuFO.JzUFIu0sctbDZqDefzVfzyZ6jp26"  # both, as bcrypt has them
READY_S = 120.0


class Registry:
    """A registry that runs, or does not. Its images outlive that."""

    def __init__(self, folder: Path, address: str, *, images: Path | None = None, closed: bool = False) -> None:
        """`images` of another registry may be served, too; a `closed` one asks for USER and PASSWORD."""
        folder.mkdir(parents=True, exist_ok=True)
        self.address = address
        self.images = images or folder / "images"
        self._file = folder / "registry.json"
        self._log = folder / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.images)}},
            "http": {"addr": address, "secret": "of nobody"},
        }
        if closed:
            passwords = folder / "htpasswd"
            passwords.write_text(f"{_ENTRY}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(passwords)}}
        self._file.write_text(json.dumps(settings))  # which is YAML

    @contextmanager
    def serving(self) -> Iterator["Registry"]:
        """Serve for the time of the context."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start it, and return when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(self._file)], stdout=log, stderr=log)
        give_up = time.monotonic() + READY_S
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < give_up, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def put(self, engine: Engine, image: str, name: str) -> str:
        """Push an image of the engine under a name, and return that with this registry in front. The engine forgets it."""
        reference = f"{self.address}/{name}"
        engine.cli("tag", image, reference)
        engine.cli("push", reference)
        engine.cli("rmi", reference)
        return reference

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True  # who are you?
        except OSError:
            return False


def why_not() -> str:
    """Return why there can be no registry here, or ""."""
    return "" if shutil.which(PROGRAM) else f"pulling is not tested: there is no {PROGRAM}; see scripts/containers"
