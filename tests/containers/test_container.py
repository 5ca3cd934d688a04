"""Functions as containers, with a real engine: started when needed, locked down, named when they end, never left behind."""

import asyncio
import json
import logging
import shutil
import stat
import sys
import tempfile
import textwrap
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from evento.clock import SystemClock
from evento.errors import FunctionCrashed, FunctionError, FunctionOutOfMemory, FunctionTimeout, FunctionUnavailable
from evento.functions.base import Expected, ExpectedEntity
from evento.functions.container import ContainerRuntime
from evento.functions.engine_place import engine_url
from evento.functions.leftovers import Belongings
from evento.model.resources import Resources
from evento.testing.function_kit import check_function
from tests.containers.engine import ROOT, Engine
from tests.containers.running import Heard, ask, contained, do, runtime, serving

ASKED = Path("/sys/fs/cgroup/memory/memory.oom_control").exists()  # cgroups v1: the kernel can be asked
LOGGER = "evento.function.test.puppet.1"
WAIT_S = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short path, for data and sockets; it must be clean of sockets at the end."""
    made = Path(tempfile.mkdtemp(prefix="evf-"))
    yield made
    left = folders(made)
    shutil.rmtree(made)
    assert not left, "a folder of a socket was left behind"


def folders(folder: Path) -> list[Path]:
    """Return the folders of sockets in this folder."""
    return list(folder.glob("evento-*"))


def sockets(folder: Path) -> list[Path]:
    """Return the sockets of the containers of the platform in this folder."""
    return list(folder.glob("evento-*/s/f.sock"))


def mine(engine: Engine, folder: Path) -> list[str]:
    """Return the containers of the platform in this folder."""
    belongings = Belongings(folder, folder)
    belongings.take_name()
    return engine.containers("--filter", f"label=dev.evento.platform={belongings.platform}")


async def test_it_starts_when_needed_serves_and_is_gone_afterwards(engine: Engine, folder: Path, puppet: str) -> None:
    async with runtime(engine, folder) as containers:
        function = contained(puppet)
        revision = (await containers.pin(function)).revision
        async with containers.serve(contained(puppet, revision=revision)) as client:
            assert mine(engine, folder) == []
            await client.ready()
            assert client.revision == revision and revision.startswith("sha256:") and len(revision) == 71
            assert await do(client, "hello") == "hello"
            (name,) = mine(engine, folder)
            labels = json.loads(engine.cli("inspect", "--format", "{{json .Config.Labels}}", name))
            assert labels["dev.evento.function"] == "test/puppet" and labels["dev.evento.revision"] == revision
        assert mine(engine, folder) == []
        with pytest.raises(FunctionUnavailable, match="stopped"):
            await do(client)


async def test_it_may_do_nothing_but_its_work(engine: Engine, folder: Path, puppet: str, caplog: pytest.LogCaptureFixture) -> None:
    resources = Resources(processes=20)
    async with serving(engine, folder, contained(puppet, resources=resources, env={"SECRET": "mine"}, timeout_s=60.0)) as client:
        await client.ready()
        who = await ask(client, "who")
        started = int(await do(client, "processes"))
    assert (who["uid"], who["gid"]) == (65532, 65532)
    assert who["capabilities"] == 0 and who["no_new_privileges"] == "1"
    assert who["networks"] == ["lo"]
    assert who["writable"] == ["/tmp", "/run/evento"]
    assert {"noexec", "nosuid", "nodev", "size=65536k"} <= set(who["tmp"].split(","))
    assert who["files"] == [1024, 1024]
    assert who["environment"] == {"SECRET": "mine"}
    assert 5 < started < 20
    assert "does not limit containers" not in caplog.text


async def test_an_image_keeps_its_user_unless_that_is_root(engine: Engine, folder: Path, puppet: str) -> None:
    for user, uid in (("1234", 1234), ("0", 65532), ("root", 65532)):
        name = f"localhost/evento-test/user-{user}"
        engine.build(name, f"FROM {puppet}", f"USER {user}")
        async with serving(engine, folder, contained(name)) as client:
            await client.ready()
            assert (await ask(client, "who"))["uid"] == uid


async def test_what_it_writes_is_in_the_log_under_its_name_and_number(
    engine: Engine, folder: Path, puppet: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "evento.function"):
        async with serving(engine, folder, contained(puppet)) as client:
            await client.ready()
            await do(client, "print hello \x1b[31m world")
    lines = [message for name, _, message in caplog.record_tuples if name == LOGGER]
    assert lines == ["serving", r"hello \x1b[31m world", "stopping"]


async def test_a_flood_of_output_does_not_block_it_and_is_cut(
    engine: Engine, folder: Path, puppet: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "evento.function"):
        async with serving(engine, folder, contained(puppet, timeout_s=60.0)) as client:
            await client.ready()
            await do(client, "flood")
            assert await do(client) == "ok"
    lines = [record.getMessage() for record in caplog.records]
    assert 100 < len(lines) < 2000 and max(map(len, lines)) <= 4096
    assert any("lines were dropped" in line for line in lines)


async def test_a_crash_in_a_call_is_told_and_the_function_is_back_soon(engine: Engine, folder: Path, puppet: str) -> None:
    heard = Heard()
    async with serving(engine, folder, contained(puppet), heard) as client:
        await client.ready()
        first = await do(client, "where")
        with pytest.raises(FunctionCrashed, match=r"exited with status 3; its last output: serving \| about to crash"):
            await do(client, "crash")
        await client.ready()
        assert await do(client, "where") != first
        assert len(mine(engine, folder)) == 1
    assert heard.causes == ["crashed"] and heard.ready == 0


async def test_too_much_memory_is_told_as_such(engine: Engine, folder: Path, puppet: str) -> None:
    heard, resources = Heard(), Resources(memory_bytes=64 * 1024 * 1024)
    async with serving(engine, folder, contained(puppet, resources=resources, timeout_s=60.0), heard) as client:
        await client.ready()
        with pytest.raises(
            FunctionOutOfMemory, match=f"{'was killed because it ' if ASKED else ''}used more memory than its limit of 64Mi"
        ):
            await do(client, "oom")
        await client.ready()
        assert await do(client) == "ok"
    assert heard.causes == ["out-of-memory"]


async def test_who_kills_a_container_is_not_taken_for_the_kernel_where_that_can_be_asked(
    engine: Engine, folder: Path, puppet: str
) -> None:
    async with serving(engine, folder, contained(puppet, timeout_s=60.0)) as client:
        await client.ready()
        (name,) = mine(engine, folder)
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(failing(do(client, "sleep 30")))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(engine.cli, "kill", name)
        error = call.result()
    assert "signal 9" in str(error) and "not the platform" in str(error)
    if ASKED:
        assert type(error) is FunctionCrashed and "not the kernel for its memory" in str(error)
    else:
        assert type(error) is FunctionOutOfMemory and "most likely it used more memory" in str(error)


async def failing(call: Awaitable[str]) -> Exception:
    """Return how a call fails."""
    with pytest.raises(FunctionError) as failed:
        await call
    return failed.value


async def test_a_function_that_blocks_is_killed_and_replaced(engine: Engine, folder: Path, puppet: str) -> None:
    heard = Heard()
    async with serving(engine, folder, contained(puppet, timeout_s=4.0), heard) as client:
        await client.ready()
        first = await do(client, "where")
        with pytest.raises(FunctionTimeout):
            await do(client, "block")
        await client.ready()
        assert await do(client, "where") != first
    assert heard.causes == ["hung"]


@pytest.mark.parametrize(
    ("mode", "start_s", "reason"),
    [
        ("exit", 90.0, "exited with status 7; its last output: this will not do"),
        ("mute", 4.0, r"not ready within 4 s: no connection to unix:.*: No such file"),
        ("refuse", 12.0, r"not ready within 12 s: no connection to unix:.*: Connection refused"),
        ("no-apply", 90.0, "Entity test/Counter has no apply"),
    ],
)
async def test_a_function_that_never_gets_ready_says_why(
    engine: Engine, folder: Path, puppet: str, mode: str, start_s: float, reason: str
) -> None:
    heard, expected = Heard(), Expected([ExpectedEntity("test", "Counter", applies=True)])
    function = contained(puppet, mode, start_s=start_s)
    async with runtime(engine, folder, heard) as containers, containers.serve(function, expected) as client:
        with pytest.raises(FunctionUnavailable, match=reason):
            await client.ready()
    assert set(heard.causes) == {"not-ready"}


async def test_an_image_made_with_the_sdk_keeps_the_protocol_and_lets_the_platform_in(engine: Engine, folder: Path) -> None:
    image = engine.image("bank", {"bank.py": ROOT / "examples/bank/bank.py"}, run=["python3", "-m", "evento.sdk", "bank:app"])
    async with serving(engine, folder, contained(image)) as client:
        await client.ready()
        (socket,) = sockets(folder)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o666  # its owner is another user than the platform
        assert stat.S_IMODE(socket.parent.parent.stat().st_mode) == 0o700
        results = await check_function(f"unix:{socket}")
        assert len(results) > 20 and not [result for result in results if not result.ok]


async def test_an_image_that_there_is_not_is_unavailable_and_says_so(engine: Engine, folder: Path) -> None:
    async with runtime(engine, folder) as containers:
        with pytest.raises(
            FunctionUnavailable,
            match="image localhost/no-such-image:1 is not here and cannot be pulled: its registry cannot be reached: ",
        ):
            await containers.pin(contained("localhost/no-such-image:1"))


async def test_a_program_that_there_is_not_is_unavailable_and_says_so(engine: Engine, folder: Path, puppet: str) -> None:
    image = engine.image("no-program", {"puppet.py": ROOT / "tests/containers/puppet.py"}, run=["/no/such/program"])
    async with serving(engine, folder, contained(image)) as client:
        with pytest.raises(FunctionUnavailable, match=r"refuses: start .*no/such/program"):
            await client.ready()
        assert mine(engine, folder) == []


async def test_what_was_deployed_runs_whatever_the_name_stands_for_today(engine: Engine, folder: Path, puppet: str) -> None:
    name = "localhost/evento-test/moving:1"
    for version in "12":
        engine.build(name, f"FROM {puppet}", f"ENV VERSION={version}")
        if version == "1":
            async with runtime(engine, folder) as containers:
                first = (await containers.pin(contained(name))).revision
    async with runtime(engine, folder) as containers:
        second = (await containers.pin(contained(name))).revision
        for revision, version in ((first, "1"), (second, "2")):
            async with containers.serve(contained(name, revision=revision)) as client:
                await client.ready()
                assert (await do(client, "where")).endswith(f" {version}") and client.revision == revision
        engine.cli("rmi", first.removeprefix("sha256:"))
        async with containers.serve(contained(name, revision=first)) as client:
            with pytest.raises(FunctionUnavailable, match=f"was deployed as {first}, .* does not have: {name} is now {second}"):
                await client.ready()


async def test_a_container_that_somebody_removed_is_replaced(engine: Engine, folder: Path, puppet: str) -> None:
    heard = Heard()
    async with serving(engine, folder, contained(puppet), heard) as client:
        await client.ready()
        (name,) = mine(engine, folder)
        await asyncio.to_thread(engine.remove, name)
        async with asyncio.timeout(WAIT_S):
            await heard.end.wait()
        await client.ready()
        assert await do(client) == "ok"
        assert name not in mine(engine, folder)


async def test_a_function_that_ignores_sigterm_is_killed(
    engine: Engine, folder: Path, puppet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evento.functions.contained.DRAIN_S", 1)
    async with serving(engine, folder, contained(puppet, "stubborn")) as client:
        await client.ready()
    assert mine(engine, folder) == []


async def test_a_function_that_refuses_connections_is_found_by_its_health_and_replaced(
    engine: Engine, folder: Path, puppet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evento.functions.supervised.HEALTH_EVERY_S", 0.3)
    heard = Heard()
    async with serving(engine, folder, contained(puppet), heard) as client:
        await client.ready()
        first = await do(client, "where")
        await do(client, "refuse")
        async with asyncio.timeout(WAIT_S):
            await heard.end.wait()
        await client.ready()
        assert await do(client, "where") != first
    assert heard.causes == ["hung"]


async def test_stopping_lets_calls_under_way_end(engine: Engine, folder: Path, puppet: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        async with serving(engine, folder, contained(puppet)) as client:
            await client.ready()
            slow = tasks.create_task(do(client, "sleep 2.0"))
            await asyncio.sleep(0.1)
        assert slow.done()
    assert slow.result() == "sleep 2.0"


async def test_an_engine_that_is_away_for_a_moment_disturbs_nobody(folder: Path, engine: Engine, puppet: str) -> None:
    with engine.beside() as other:
        async with serving(other, folder, contained(puppet)) as client:
            await client.ready()
            first = await do(client, "where")
            await asyncio.to_thread(other.stop)
            await asyncio.sleep(0.5)
            assert await do(client, "where") == first
            await asyncio.to_thread(other.start)
            await asyncio.sleep(4.0)
            assert await do(client, "where") == first
            with pytest.raises(FunctionCrashed, match="exited with status 3"):
                await do(client, "crash")
            await client.ready()
            assert await do(client, "where") != first


async def test_without_an_engine_functions_are_unavailable_and_it_is_said_where_it_was_looked_for(folder: Path) -> None:
    def locate() -> str:
        return engine_url("auto", {"DOCKER_HOST": "unix:///no/such.sock"}, lambda path: False)

    async with ContainerRuntime(SystemClock(), Belongings(folder, folder), locate).serve(contained("a:1")) as client:
        with pytest.raises(FunctionUnavailable, match=r"no container engine .*/no/such.sock, /run/podman/podman.sock, /var/run"):
            await client.ready()


def test_the_engine_is_looked_for_at_the_usual_places_in_order() -> None:
    environ = {"DOCKER_HOST": "unix:///a.sock", "XDG_RUNTIME_DIR": "/run/user/7"}
    places = ["/a.sock", "/run/podman/podman.sock", "/run/user/7/podman/podman.sock", "/var/run/docker.sock"]
    for there in range(len(places)):
        assert engine_url("auto", environ, places[there:].__contains__) == f"unix://{places[there]}"
    assert engine_url("unix:///mine.sock", environ) == "unix:///mine.sock"
    assert engine_url("auto", {"DOCKER_HOST": "tcp://far:2375"}, lambda path: True) == "unix:///run/podman/podman.sock"


PLATFORM = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from types import SimpleNamespace
    from tests.containers.running import contained, do, serving

    async def main():
        engine = SimpleNamespace(url={engine!r})
        async with serving(engine, Path({folder!r}), contained({image!r})) as client:
            await client.ready()
            print(await do(client), flush=True)
            await asyncio.sleep(1000)

    asyncio.run(main())
"""


async def test_what_a_killed_platform_left_behind_is_removed_at_the_next_start_and_nothing_of_others(
    engine: Engine, folder: Path, puppet: str
) -> None:
    other = folder / "o"
    other.mkdir()
    program = textwrap.dedent(PLATFORM).format(root=str(ROOT), engine=engine.url, folder=str(folder), image=puppet)
    platform = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert platform.stdout is not None
    assert await platform.stdout.readline() == b"ok\n"
    async with serving(engine, other, contained(puppet)) as client:
        await client.ready()
        first = await do(client, "where")
        platform.kill()
        await platform.wait()
        (left,) = mine(engine, folder)
        assert folders(folder)
        async with runtime(engine, folder):
            assert left not in engine.containers()
            assert not folders(folder)
        assert await do(client, "where") == first


def test_a_copied_data_folder_is_another_platform(folder: Path, tmp_path: Path) -> None:
    first, same, copy = (Belongings(place, folder) for place in (folder, folder, tmp_path))
    first.take_name()
    (tmp_path / "platform-name").write_text((folder / "platform-name").read_text())
    for each in (same, copy):
        each.take_name()
    assert first.platform == same.platform != copy.platform
