"""The text of a function's Containerfile, and of what is ignored with it. Pure.

Packages are installed in a stage of their own, so that what installs them is no part of the image. No shell reads any of it, and
the base needs no program but Python.
"""

import json
from collections.abc import Sequence

from evento.building.project import CONTAINERFILE, IGNORED, REQUIREMENTS, WHEELS, Project

BASE = "python:3.13-slim"
USER = "65532:65532"
_PIP = ("python3", "-m", "pip", "install", "--no-cache-dir", "--no-compile", "--disable-pip-version-check", "--quiet")
_COMPILE = ("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/packages", "/app")
_TIDY = (
    f"import pathlib, shutil; shutil.rmtree('/packages/bin', True); shutil.rmtree('/app/{WHEELS}', True); "
    f"pathlib.Path('/app/{CONTAINERFILE}').unlink(True)"
)
# Engines tell files apart by their times too.
_ONE_TIME = (
    "import os; at = int(os.environ['SOURCE_DATE_EPOCH']); [os.utime(os.path.join(folder, name), (at, at)) "
    "for top in ('/packages', '/app') for folder, _, names in os.walk(top) for name in (*names, '.')]"
)


def containerfile(project: Project, base: str = BASE) -> str:
    """Return the text of a Containerfile. What it makes is the same each time, as far as packages are named exactly."""
    wheels = ("--no-index", "--find-links", f"/app/{WHEELS}") if project.wheels else ()
    listed = ("--requirement", f"/app/{REQUIREMENTS}") if project.listed else ()
    install = (*_PIP, "--root-user-action", "ignore", "--target", "/packages", *wheels, *listed, *project.requirements)
    lines = [
        f"# The image of the function in {project.target}: the base, its packages, the project. Nobody is root in it.",
        f"ARG BASE={base}",
        "FROM ${BASE} AS made",
        "ARG SOURCE_DATE_EPOCH=315532800",
        "ENV PYTHONHASHSEED=0",
        "COPY . /app",
        _run(install),
        _run(("python3", "-c", _TIDY)),
        _run(_COMPILE),
        _run(("python3", "-c", _ONE_TIME)),
        "",
        "FROM ${BASE}",
        "COPY --from=made /packages /packages",
        "COPY --from=made /app /app",
        "ENV PYTHONPATH=/app:/packages PYTHONDONTWRITEBYTECODE=1",
        "WORKDIR /app",
        f"USER {USER}",
        f"ENTRYPOINT {json.dumps(['python3', '-m', 'evento.sdk', project.target])}",
    ]
    return "\n".join(lines) + "\n"


def containerignore() -> str:
    """Return the text of a .containerignore: the names that are no part of a function, wherever they stand."""
    return "\n".join(f"**/{pattern}" for pattern in IGNORED) + "\n"


def _run(command: Sequence[str]) -> str:
    return f"RUN {json.dumps(list(command))}"
