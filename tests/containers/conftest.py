"""One container engine for all tests of a process, and the images they use."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.engine import ROOT, Engine, an_engine, why_not


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Give a running engine. Without one a person is told what is not tested; in CI that is a failure."""
    reason = why_not()
    if reason:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = Path(tempfile.mkdtemp(prefix="evt-"))
    try:
        with an_engine(folder).serving() as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def puppet(engine: Engine) -> str:
    """Give the image of a function that does what it is ordered to."""
    return engine.image("puppet", {"puppet.py": ROOT / "tests/containers/puppet.py"}, run=["python3", "/app/puppet.py"])
