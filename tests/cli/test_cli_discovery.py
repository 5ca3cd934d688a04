"""`evento function discovery`: the file that a function without an SDK answers."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import environment, evento, evento_process

from evento.protocol.envelope import DISCOVERY, decode

MANIFESTS = """
apiVersion: evento.dev/v1
kind: Function
metadata: {name: clerk, namespace: shop}
spec: {url: "http://clerk.example:8080"}
---
apiVersion: evento.dev/v1
kind: Function
metadata: {name: till, namespace: shop}
spec: {command: [./till]}
---
apiVersion: evento.dev/v1
kind: Function
metadata: {name: idler, namespace: shop}
spec: {url: "http://idler.example:8080"}
---
apiVersion: evento.dev/v1
kind: Entity
metadata: {name: Till, namespace: shop}
spec: {schema: {type: record, name: Till, namespace: shop, fields: [{name: money, type: Money}]}, apply: till}
---
apiVersion: evento.dev/v1
kind: Event
metadata: {name: Refused, namespace: shop}
spec: {entity: Till, schema: {type: record, name: Refused, namespace: shop, fields: []}}
---
apiVersion: evento.dev/v1
kind: Event
metadata: {name: Paid, namespace: shop}
spec: {entity: Till, schema: {type: record, name: Paid, namespace: shop, fields: []}}
---
apiVersion: evento.dev/v1
kind: Event
metadata: {name: Counted, namespace: shop}
spec: {entity: Till, schema: {type: record, name: Counted, namespace: shop, fields: []}}
---
apiVersion: evento.dev/v1
kind: Command
metadata: {name: Pay, namespace: shop}
spec:
  entity: Till
  schema: {type: record, name: Pay, namespace: shop, fields: []}
  events: [Paid]
  rejections: [Refused]
  handle: clerk
---
apiVersion: evento.dev/v1
kind: Command
metadata: {name: Count, namespace: shop}
spec: {entity: Till, schema: {type: record, name: Count, namespace: shop, fields: []}, events: [Counted], handle: till}
""".replace("type: Money", "type: {type: record, name: Money, namespace: shop, fields: [{name: cents, type: long}]}")


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    file = tmp_path / "manifests.yaml"
    file.write_text(MANIFESTS)
    return file


def made(manifests: Path, function: str, *more: str) -> dict[str, Any]:
    file = manifests.with_name("discovery.avro")
    done = evento("function", "discovery", str(manifests), function, "-o", str(file), *more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{file.stat().st_size} bytes in {file}\n")
    return decode(DISCOVERY, file.read_bytes())


def test_it_says_what_a_function_handles_and_applies(manifests: Path) -> None:
    described = made(manifests, "shop/till", "--single")
    assert (described["protocol"], described["sdk"], described["revision"], described["single"]) == (1, "", "", True)
    (till,) = described["entities"]
    assert (till["namespace"], till["name"], till["applies"]) == ("shop", "Till", True)
    assert '"cents"' in till["schema"]
    assert [(each["name"], each["events"], each["rejections"]) for each in till["commands"]] == [("Count", ["Counted"], [])]
    assert [each["name"] for each in till["events"]] == ["Counted", "Paid", "Refused"]


def test_a_function_without_apply_has_the_events_of_its_commands(manifests: Path) -> None:
    described = made(manifests, "shop/clerk")
    (till,) = described["entities"]
    assert (described["single"], till["applies"]) == (False, False)
    assert [(each["name"], each["events"], each["rejections"]) for each in till["commands"]] == [("Pay", ["Paid"], ["Refused"])]
    assert [each["name"] for each in till["events"]] == ["Paid", "Refused"]


def test_it_is_the_same_each_time_also_on_the_standard_output_and_in_another_order(manifests: Path, tmp_path: Path) -> None:
    made(manifests, "shop/till")
    other = tmp_path / "other.yaml"
    other.write_text("\n---\n".join(reversed(MANIFESTS.split("\n---\n"))))
    program = [sys.executable, "-m", "evento", "function", "discovery"]
    for source, seed in ((manifests, "1"), (other, "2")):
        command = [*program, str(source), "shop/till"]
        done = subprocess.run(command, capture_output=True, check=True, env=environment(PYTHONHASHSEED=seed))
        assert done.stdout == (tmp_path / "discovery.avro").read_bytes()


@pytest.mark.parametrize(
    ("function", "code", "told"),
    [
        ("shop/tell", 1, "there is no Function 'tell' in namespace shop; did you mean till?"),
        ("shop/idler", 1, "has nothing to serve: no Command names it as `handle`, and no Entity as `apply`"),
        ("till", 2, "is not like bank/savings"),
    ],
)
def test_a_name_that_serves_nothing_is_refused_with_what_is_wrong(manifests: Path, function: str, code: int, told: str) -> None:
    done = evento("function", "discovery", str(manifests), function)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in " ".join(done.stderr.split())


def test_manifests_that_are_not_sound_are_refused_as_by_deploy(manifests: Path) -> None:
    manifests.write_text(MANIFESTS.replace("events: [Paid]", "events: [Payed]"))
    done = evento("function", "discovery", str(manifests), "shop/till")
    assert done.returncode == 1
    assert "the manifests are not sound" in done.stderr and "Payed" in done.stderr


def test_a_terminal_is_spared_the_bytes(manifests: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "evento", "function", "discovery", str(manifests), "shop/till"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert "say which file" in " ".join(done.stderr.split())


def test_help_has_an_example(tmp_path: Path) -> None:
    done = evento_process("function", "discovery", "--help", cwd=tmp_path)
    assert "evento function discovery manifests.yaml bank/savings --single" in " ".join(done.stdout.split())
