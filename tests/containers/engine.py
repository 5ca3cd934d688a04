"""A container engine for tests: Podman's or Docker's own service, with storage of its own, and images made of a small Debian.

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

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "containers"
BASE = BUILD / "base.tar"
PACKAGES = ("fastavro", "uvicorn", "httptools", "uvloop", "click", "h11")
BASE_PYTHON = "3.11"  # what the base image has
READY_S = 120.0
_FORGOTTEN = "30m"
_DIGITS = 12
_SOCKET = "engine.sock"
_REGISTRIES = 2
_TIME = "315532800"


class Engine:
    """A service that runs. `url` is where; `cli` runs the engine's own program on the same storage.

    `registries`: the addresses of registries that it may speak plain HTTP with.
    """

    def __init__(self, folder: Path, command: Sequence[str], serve: Sequence[str], options: Mapping[str, Sequence[str]]) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/{_SOCKET}"
        self.registries = [f"127.0.0.1:{free_port()}" for _ in range(_REGISTRIES)]
        self._command = command
        self._serve = serve
        self._options = options
        self._environment = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"), "DOCKER_BUILDKIT": "0"}
        self._log = folder / "service.log"
        self._service: subprocess.Popen[bytes] | None = None

    @contextmanager
    def serving(self) -> Iterator["Engine"]:
        """Serve for the time of the context."""
        insecure = [f'[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in self.registries]
        (self.folder / "registries.conf").write_text("".join(insecure))
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start the service, and return when it serves."""
        with self._log.open("ab") as log:
            self._service = subprocess.Popen(
                [*self._serve, self.url], stdout=log, stderr=log, env=self._environment, cwd=self.folder
            )
        self._wait_ready(self._service)

    def stop(self) -> None:
        """Stop the service; its containers go on."""
        assert self._service is not None
        self._service.terminate()
        self._service.wait()
        Path(self.url.removeprefix("unix://")).unlink(missing_ok=True)

    @contextmanager
    def beside(self) -> Iterator["Engine"]:
        """Give a service for the same containers that may be stopped and started."""
        yield self

    def cli(self, *arguments: str, data: bytes | None = None, insist: bool = True) -> str:
        """Run the engine's program, insist that it succeeds, and return what it says."""
        command = [*self._command, *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False, env=self._environment)
        assert done.returncode == 0 or not insist, f"{' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def build(self, tag: str, *lines: str) -> None:
        """Build an image as users do, of these lines alone."""
        self.cli("build", "--quiet", *self._options["build"], "--tag", tag, "-", data="\n".join(lines).encode())

    def build_folder(self, tag: str, folder: Path, *arguments: str) -> None:
        """Build an image as users do, of a folder; its times are one, where the engine can do that."""
        self.cli("build", "--quiet", *self._options["build"], *self._options["times"], *arguments, "--tag", tag, str(folder))

    def remove(self, container: str) -> None:
        """Kill a container and remove it."""
        self.cli("rm", "--force", *self._options["rm"], container)

    def containers(self, *filters: str) -> list[str]:
        """Return the names of all containers."""
        return self.cli("ps", "--all", "--format", "{{.Names}}", *filters).split()

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
            if not self.cli("images", "--quiet", tag):
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
            self.cli("import", *self._options["import"], *options, made.name, tag)

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


class Podman(Engine):
    """Podman's service, with storage that is shared with other runs at the same time."""

    def __init__(self, folder: Path) -> None:
        memory = Path("/run") / f"evento-test-{hashlib.sha256(bytes(BUILD)).hexdigest()[:_DIGITS]}"  # forgotten at a reboot
        common = ["podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        command = [*common, *_storage("overlay", memory)]
        if subprocess.run([*command, "info"], capture_output=True, check=False).returncode:
            command = [*common, *_storage("vfs", memory)]  # an overlay cannot lie on another one
        options = {"build": ["--isolation=chroot"], "times": ["--timestamp", _TIME], "rm": ["--time", "0"], "import": ["--quiet"]}
        super().__init__(folder, command, [*command, "system", "service", "-t", "0"], options)

    @contextmanager
    def serving(self) -> Iterator["Engine"]:
        """Serve for the time of the context."""
        with super().serving():
            for left in self.containers("--filter", f"until={_FORGOTTEN}"):  # by a run that was killed
                self.remove(left)
            yield self

    @contextmanager
    def beside(self) -> Iterator["Engine"]:
        """Give a service for the same containers that may be stopped and started."""
        folder = self.folder / "beside"
        folder.mkdir(exist_ok=True)
        with Podman(folder).serving() as other:
            yield other


class Docker(Engine):
    """Docker's daemon, with storage of its own for the time that it serves."""

    def __init__(self, folder: Path) -> None:
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid", "--config-file": "daemon.json"}
        (folder / "daemon.json").write_text("{}")
        command = ["dockerd", *(f"{option}={folder / name}" for option, name in places.items())]
        serve = [*command, "--bridge=none", "--iptables=false", "--live-restore", "--host"]
        options: dict[str, Sequence[str]] = {"build": [], "times": [], "rm": [], "import": []}
        super().__init__(folder, ["docker", "--host", f"unix://{folder}/{_SOCKET}"], serve, options)

    @contextmanager
    def serving(self) -> Iterator["Engine"]:
        """Serve for the time of the context."""
        with super().serving():
            try:
                yield self
            finally:
                for left in self.containers():
                    self.remove(left)


_KINDS = {"podman": (Podman, ("podman", "runc")), "docker": (Docker, ("dockerd", "docker"))}


def an_engine(folder: Path) -> Engine:
    """Return an engine of the kind that is tested."""
    return _KINDS[_kind_tested()][0](folder)


def why_not() -> str:
    """Return why there can be no engine of this kind here, or ""."""
    missing = [name for name in _KINDS[_kind_tested()][1] if shutil.which(name) is None]
    if missing or not BASE.exists():
        return f"functions in containers are not tested: there is no {', '.join(missing) or BASE.name}; see scripts/containers"
    return "" if os.geteuid() == 0 else "functions in containers are tested as root only"


def _kind_tested() -> str:
    """Return which engine is tested: Podman, or what EVENTO_TEST_ENGINE says."""
    return os.environ.get("EVENTO_TEST_ENGINE", "podman")


def _storage(driver: str, memory: Path) -> list[str]:
    places = {"--root": BUILD / driver, "--runroot": memory / driver, "--tmpdir": memory / f"{driver}-tmp"}
    return ["--storage-driver", driver, *(str(part) for place in places.items() for part in place)]


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
