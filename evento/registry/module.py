"""The same documents from a Python module written with the SDK, asked for in a process of its own.

User code never runs in the platform's process: `python -m evento.sdk --describe module:app` prints the manifests as JSON, and from
there on they are read like any others. Knows nothing of the SDK but this command.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from evento.registry.documents import Document, Documents, Problem, documents_of
from evento.registry.limits import DESCRIPTION_BYTES_MAX

DESCRIBE_S = 30.0
_ATTRIBUTE = "app"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")
_FILE = re.compile(r"(.+\.py)(?::([A-Za-z_]\w*))?")
_TOLD_CHARACTERS_MAX = 2000


def is_module(target: str) -> bool:
    """Tell whether `target` names a Python module rather than manifests: `bank.py`, `bank.py:app`, `bank:app`, `shop.bank`."""
    if _FILE.fullmatch(target):
        return True
    return bool(_MODULE.fullmatch(target)) and not target.endswith((".yaml", ".yml")) and not os.path.exists(target)


def read_module(target: str, *, timeout_s: float = DESCRIBE_S) -> Documents:
    """Return the documents that a module's app describes; the app is called `app` unless the target says otherwise.

    Starts a process and waits for it, `timeout_s` seconds at most: not for the event loop. What goes wrong is among the problems.
    """
    file = _FILE.fullmatch(target)
    if file:
        path = Path(os.path.realpath(file[1]))
        if not os.path.isfile(path):
            return _refused(target, "there is no such file")
        folder, name = path.parent, f"{path.stem}:{file[2] or _ATTRIBUTE}"
    elif _MODULE.fullmatch(target):
        folder, name = Path.cwd(), target if ":" in target else f"{target}:{_ATTRIBUTE}"
    else:
        return _refused(target, "must be a Python file, or a module such as shop.bank:app")
    return _described(target, folder, name, timeout_s)


def _described(target: str, folder: Path, name: str, timeout_s: float) -> Documents:
    # Files instead of pipes: their size is looked at afterwards, and nothing that the module started can hold them open for us.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        command = [sys.executable, "-m", "evento.sdk", "--describe", name]
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=told, start_new_session=True)  # noqa: S603
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return _refused(target, f"did not describe itself within {timeout_s:g} s; what it does when imported takes too long")
        finally:
            _end(process)
        if code != 0:
            return _refused(target, f"cannot be described: {_tail(told) or f'exit code {code}'}")
        return _documents(target, folder, out)


def _documents(target: str, folder: Path, out: IO[bytes]) -> Documents:
    out.seek(0)
    printed = out.read(DESCRIPTION_BYTES_MAX + 1)
    if len(printed) > DESCRIPTION_BYTES_MAX:
        return _refused(target, f"describes more than {DESCRIPTION_BYTES_MAX} bytes")
    try:
        contents = json.loads(printed)
    except (ValueError, RecursionError) as error:
        return _refused(target, f"printed something else than its description: {error}")
    read = documents_of(contents, file=target)
    return Documents(tuple(_with_directory(document, folder) for document in read.documents), read.problems)


def _with_directory(document: Document, folder: Path) -> Document:
    """A command runs where the module was found, unless it says where below that."""
    spec = document.content.get("spec")
    if document.content.get("kind") != "Function" or not isinstance(spec, dict) or "command" not in spec:
        return document
    directory = spec.get("directory", "")
    if not isinstance(directory, str) or "\0" in directory:
        return document
    return Document({**document.content, "spec": {**spec, "directory": os.path.realpath(folder / directory)}}, document.origin)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and what it started, which has the process group to itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _tail(told: IO[bytes]) -> str:
    size = told.seek(0, os.SEEK_END)
    told.seek(max(0, size - _TOLD_CHARACTERS_MAX))
    return told.read(_TOLD_CHARACTERS_MAX).decode(errors="replace").strip()


def _refused(target: str, message: str) -> Documents:
    return Documents(problems=(Problem(message, file=target),))
