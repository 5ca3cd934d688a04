"""The process: starts, drains, dies with its parent, and is light."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from evento.protocol.envelope import CALL, DISCOVERY, REPLY, decode, encode
from evento.testing.function_kit import wait_healthy
from evento.testing.puppet import Act, Play, puppet
from tests.ports import free_port

PUPPET = "evento.testing.puppet:puppet"
ROOT = Path(__file__).parents[2]


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTO_") and name not in ("PORT", "HOST")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


@contextmanager
def running(*arguments, cwd=ROOT, **more):
    process = subprocess.Popen([sys.executable, "-m", "evento.sdk", *arguments], cwd=cwd, env=environment(**more))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def play(*acts):
    codec = puppet.entities["Puppet"].commands["Play"].codec
    call = {
        "operation": "turn",
        "namespace": "puppet",
        "entity": "Puppet",
        "types": ["Play"],
        "ids": ["a"],
        "versions": [0],
        "states": [b""],
        "counts": [len(acts)],
        "item_types": [0] * len(acts),
        "payloads": [codec.encode(act) for act in acts],
        "times": [0] * len(acts),
        "command_ids": ["c"] * len(acts),
        "contexts": [None] * len(acts),
    }
    return encode(CALL, call)


async def post(path, body):
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
    async with session, session.post("http://f/evento", data=body) as answer:
        return answer.status, await answer.read()


async def test_it_serves_a_unix_socket_for_this_user_alone_and_its_revision(tmp_path):
    path = str(tmp_path / "f.sock")
    with running(PUPPET, EVENTO_SOCKET=path, EVENTO_REVISION="sha256:1"):
        await wait_healthy(f"unix:{path}")
        assert os.stat(path).st_mode & 0o777 == 0o600
        status, body = await post(path, play(Play()))
        assert status == 200
        assert decode(REPLY, body)["revision"] == "sha256:1"


async def test_it_replaces_the_socket_that_a_killed_one_left(tmp_path):
    path = str(tmp_path / "f.sock")
    for _ in range(2):
        with running(PUPPET, EVENTO_SOCKET=path):
            await wait_healthy(f"unix:{path}")


async def test_it_serves_a_port():
    port = free_port()
    with running(PUPPET, PORT=str(port)):
        await wait_healthy(f"http://127.0.0.1:{port}")


async def test_sigterm_lets_it_finish_what_is_under_way_and_exit_0(tmp_path):
    path = str(tmp_path / "f.sock")
    with running(PUPPET, EVENTO_SOCKET=path) as process:
        await wait_healthy(f"unix:{path}")
        async with asyncio.TaskGroup() as group:
            call = group.create_task(post(path, play(Play(Act.SLEEP, seconds=1.0))))
            await asyncio.sleep(0.2)
            await post(path, play(Play()))  # what is answered came after the first
            process.send_signal(signal.SIGTERM)
        status, body = call.result()
        assert (status, decode(REPLY, body)["done"]) == (200, [1])
        assert await asyncio.to_thread(process.wait, 60) == 0


def test_it_dies_with_a_parent_that_is_killed(tmp_path):
    path = tmp_path / "f.sock"
    parent = f"""
import os, subprocess, sys, time
os.environ["EVENTO_PARENT_PID"] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-m", "evento.sdk", "{PUPPET}"])
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment(EVENTO_SOCKET=str(path)), cwd=ROOT
    ) as process:
        child = int(process.stdout.readline())
        until = time.monotonic() + 60
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.kill()
    until = time.monotonic() + 60
    while alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_does_not_start_for_a_parent_that_is_gone(tmp_path):
    with running(PUPPET, EVENTO_SOCKET=str(tmp_path / "f.sock"), EVENTO_PARENT_PID="1") as process:
        assert process.wait(60) == 1


@pytest.mark.parametrize("arguments", [[], ["nowhere:app"], ["evento.testing.puppet:nothing"], ["--describe"]])
def test_a_wrong_target_is_told_in_one_line(arguments):
    done = subprocess.run([sys.executable, "-m", "evento.sdk", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_it_describes_itself_and_what_the_module_prints_is_no_part_of_it(tmp_path):
    (tmp_path / "noisy.py").write_text("print('hello')\nfrom evento.testing.puppet import puppet as noisy\n")
    done = subprocess.run(
        [sys.executable, "-m", "evento.sdk", "--describe", "noisy:app"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    documents = json.loads(done.stdout)
    assert [document["kind"] for document in documents] == ["Entity", *["Event"] * 4, "Command", "Function"]
    assert documents[-1]["spec"]["command"] == ["python", "-m", "evento.sdk", "noisy:app"]
    assert "hello" in done.stderr


def test_the_revision_without_a_given_one_changes_with_the_source(tmp_path):
    source = (ROOT / "evento/testing/puppet.py").read_text()
    code = "from evento.sdk.load import load; from evento.sdk.revision import revision_of; print(revision_of(load('mine')))"
    revisions = []
    for text in (source, source, source + "\n# changed\n"):
        (tmp_path / "mine.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
        )
        revisions.append(done.stdout)
    assert revisions[0] == revisions[1] != revisions[2]


def test_the_sdk_loads_nothing_of_the_platform():
    code = "import evento.sdk, evento.sdk.server, evento.sdk.testing, sys; print(*sorted(sys.modules))"
    loaded = set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())
    assert "fastavro" in loaded
    heavy = {
        "apsw",
        "aiohttp",
        "msgspec",
        "starlette",
        "pydantic",
        "typer",
        "rich",
        "avro",
        "ruamel.yaml",
        "prometheus_client",
        "rbloom",
    }
    assert not heavy & loaded
    ours = {name for name in loaded if name.startswith("evento.") and name.split(".")[1] not in ("sdk", "protocol")}
    assert ours == set()


async def test_the_discovery_is_that_of_the_declarations(tmp_path):
    path = str(tmp_path / "f.sock")
    with running(PUPPET, EVENTO_SOCKET=path):
        await wait_healthy(f"unix:{path}")
        session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path))
        async with session, session.get("http://f/evento") as answer:
            (entity,) = decode(DISCOVERY, await answer.read())["entities"]
    assert (entity["name"], entity["applies"], entity["commands"][0]["rejections"]) == ("Puppet", True, ["Refused"])
