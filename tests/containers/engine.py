"""A container engine for tests: Podman's own service on a socket, with storage of its own, and images made of a small Debian.

`scripts/containers` brings both. An image is base and program in one layer, named by the hash of what is in it: made once, until
something changes.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "containers"
BASE = BUILD / "base.tar"
PACKAGES = ("fastavro", "uvicorn", "httptools", "uvloop", "click", "h11")
BASE_PYTHON = "3.11"  # what the base image has
READY_S = 20.0
_FORGOTTEN = "30m"
_DIGITS = 12


class Engine:
    """A service that runs. `url` is where; `podman` runs the program on the same storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/podman.sock"
        memory = Path("/run") / f"evento-test-{hashlib.sha256(bytes(BUILD)).hexdigest()[:_DIGITS]}"  # forgotten at a reboot
        common = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        self._podman = [*common, *_storage("overlay", memory)]
        if subprocess.run([*self._podman, "info"], capture_output=True, check=False).returncode:
            self._podman = [*common, *_storage("vfs", memory)]  # an overlay cannot lie on another one
        self._log = folder / "service.log"
        self._service: subprocess.Popen[bytes] | None = None

    @contextmanager
    def serving(self) -> Iterator["Engine"]:
        """Serve for the time of the context. The storage is shared with other runs at the same time."""
        self.start()
        try:
            for left in self.containers("--filter", f"until={_FORGOTTEN}"):  # by a run that was killed
                self.podman("rm", "--force", "--time", "0", left)
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start the service, and return when it serves."""
        with self._log.open("ab") as log:
            self._service = subprocess.Popen([*self._podman, "system", "service", "-t", "0", self.url], stdout=log, stderr=log)
        self._wait_ready(self._service)

    def stop(self) -> None:
        """Stop the service; its containers go on."""
        assert self._service is not None
        self._service.terminate()
        self._service.wait()
        Path(self.url.removeprefix("unix://")).unlink(missing_ok=True)

    @contextmanager
    def beside(self) -> Iterator["Engine"]:
        """Give another service for the same containers, to be stopped and started."""
        other = Engine(self.folder)
        other.url = f"unix://{self.folder}/other.sock"
        with other.serving():
            yield other

    def podman(self, *arguments: str, data: bytes | None = None, insist: bool = True) -> str:
        """Run podman, insist that it succeeds, and return what it says."""
        done = subprocess.run([*self._podman, *arguments], input=data, capture_output=True, check=False)
        assert done.returncode == 0 or not insist, f"podman {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def containers(self, *filters: str) -> list[str]:
        """Return the names of all containers."""
        return self.podman("ps", "--all", "--format", "{{.Names}}", *filters).split()

    def _wait_ready(self, service: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + READY_S
        while not Path(self.url.removeprefix("unix://")).exists():
            assert service.poll() is None and time.monotonic() < give_up, self._log.read_text()
            time.sleep(0.05)

    # ------------------------------------------------------- images
    def image(self, name: str, files: Mapping[str, Path], *, run: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        """Return an image with these files in /app that runs this; it has what the SDK needs. Made if it is not there."""
        with self._one_at_a_time():
            packages = self._packages()
            variables = {"PYTHONPATH": "/app:/packages", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
            tag = f"localhost/evento-test/{name}:{_digest(files, packages, run, variables)}"
            if not self.podman("images", "--quiet", tag):
                changes = [f"ENV {key}={value}" for key, value in variables.items()]
                changes += [f"ENTRYPOINT {list(run)!r}".replace("'", '"'), "WORKDIR /app"]
                options = [part for change in changes for part in ("--change", change)]
                self._import(tag, files, packages, options)
            return tag

    def _import(self, tag: str, files: Mapping[str, Path], packages: Path, options: Sequence[str]) -> None:
        with tempfile.NamedTemporaryFile(dir=BUILD, suffix=".tar") as made:
            shutil.copyfile(BASE, made.name)
            with tarfile.open(made.name, "a") as tar:
                for place, source in {**_evento(), **files}.items():
                    tar.add(source, f"app/{place}", filter=_plain)
                tar.add(packages, "packages", filter=_plain)
            self.podman("import", "--quiet", *options, made.name, tag)

    def _packages(self) -> Path:
        pinned = [f"{name}=={version(name)}" for name in PACKAGES]
        folder = BUILD / f"packages-{hashlib.sha256(' '.join(pinned).encode()).hexdigest()[:_DIGITS]}"
        if not folder.exists():
            making = folder.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            pip = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--target",
                str(making),
                "--only-binary",
                ":all:",
            ]
            subprocess.run([*pip, "--python-version", BASE_PYTHON, *pinned], check=True)
            making.rename(folder)
        return folder

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (BUILD / "images.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _storage(driver: str, memory: Path) -> list[str]:
    places = {"--root": BUILD / driver, "--runroot": memory / driver, "--tmpdir": memory / f"{driver}-tmp"}
    return ["--storage-driver", driver, *(str(part) for place in places.items() for part in place)]


def why_not() -> str:
    """Return why there can be no engine here, or ""."""
    missing = [name for name in ("podman", "runc") if shutil.which(name) is None]
    if missing or not BASE.exists():
        return f"functions in containers are not tested: there is no {', '.join(missing) or BASE.name}; see scripts/containers"
    return "" if os.geteuid() == 0 else "functions in containers are tested as root only"


def _evento() -> Mapping[str, Path]:
    """Return what a function's image has of Evento: the SDK and the protocol, nothing of the platform."""
    return {f"evento/{part}": ROOT / "evento" / part for part in ("__init__.py", "sdk", "protocol")}


def _digest(files: Mapping[str, Path], packages: Path, run: Sequence[str], env: Mapping[str, str]) -> str:
    digest = hashlib.sha256(f"{BASE.stat().st_mtime_ns} {packages.name} {run} {sorted(env.items())}".encode())
    for place, source in sorted({**_evento(), **files}.items()):
        for path in sorted(source.rglob("*.*")) if source.is_dir() else [source]:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{place}/{path.relative_to(source)}".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return None if "__pycache__" in entry.name else entry
