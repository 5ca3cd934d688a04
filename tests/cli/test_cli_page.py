"""The reference page on the command line: its example runs as printed, against the bank; it names every verb."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import evento, start

from evento.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/cli.md").read_text()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    running, process = start(ROOT / "examples/bank/bank.py", tmp_path / "data")
    yield running.url
    process.terminate()
    assert process.wait(20) == 0


def test_the_example_runs_as_printed(url: str) -> None:
    session = re.findall(r"^\$ evento (.*)\n((?:[^$`].*\n)*)", PAGE, re.MULTILINE)
    assert len(session) >= 4
    for command, printed in session:
        assert evento(*shlex.split(command), EVENTO_URL=url).stdout == printed


def test_every_verb_is_on_the_page() -> None:
    for command in app.registered_commands:
        assert f"`evento {command.name}" in PAGE
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert f"`evento {group.name} {command.name}" in PAGE
