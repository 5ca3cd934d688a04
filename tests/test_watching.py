"""`evento dev` deploys again when a source changes, and only then; and it ends soon when asked."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evento.watching import stamps
from tests.docs.walkthrough import ROOT, Reader

IN_FORCE = "is in force"
QUIET_S = 2.0  # several looks at the files
END_S = 14.0  # below the 15 s for which a replaced function lingers


def test_what_is_made_while_it_runs_is_not_watched(tmp_path: Path) -> None:
    watched = ["bank.py", "schemas/a.avsc", "manifests.yaml"]
    for name in (*watched, "data/evento.db", "dev.log", ".git/HEAD", "__pycache__/bank.pyc", ".bank.py.swp", "bank.py~"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.py")
    found = stamps([str(tmp_path / "bank.py")], data_dir=tmp_path / "data")
    assert sorted(found) == sorted(str(tmp_path / name) for name in watched)
    assert stamps([str(tmp_path)], data_dir=tmp_path / "data") == found


def test_a_change_is_seen_and_a_module_name_means_the_folder_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bank.py").write_text("")
    before = stamps(["bank:app"], data_dir=Path("data"))
    os.utime("bank.py", (1, 1))
    assert before != stamps(["bank:app"], data_dir=Path("data"))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path, os.environ)
    (reader.folder / "bank.py").write_bytes((ROOT / "examples/bank/bank.py").read_bytes())
    reader.environ["EVENTO_DATA"] = "data"  # as it is by default: in the folder that is watched
    yield reader
    reader.stop()


def test_commands_do_not_make_it_deploy_again_and_a_new_version_does(reader: Reader) -> None:
    reader.start("evento dev bank.py")
    for _ in range(3):
        send(reader, "OpenChecking", '{"owner": "Ada"}')
        time.sleep(QUIET_S / 3)
    assert reader.log.read_text().count(IN_FORCE) == 1

    reader.write("bank.py", (reader.folder / "bank.py").read_text() + "\n# changed\n")
    send(reader, "OpenChecking", '{"owner": "Ada"}')
    assert reader.log.read_text().count(IN_FORCE) == 2

    started = time.monotonic()
    reader.stop()
    assert time.monotonic() - started < END_S


def send(reader: Reader, command: str, body: str) -> None:
    url = f"http://127.0.0.1:{reader.port}/v1/bank/Checking/ada/{command}"
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=90).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        assert error.code == 422  # a rejection is an outcome
        error.close()
