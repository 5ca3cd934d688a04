"""Functions as local processes: real processes, real signals (catalogue 33 to 36, 42)."""

import asyncio
import json
import logging
import os
import signal
import stat
import sys
import textwrap
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from bad_servers import one, spec

from evento.clock import SystemClock
from evento.errors import FunctionCrashed, FunctionError, FunctionTimeout, FunctionUnavailable, SettingsError
from evento.functions.base import Expected, ExpectedEntity, FunctionClient, Operation
from evento.functions.process import ProcessRuntime
from evento.functions.runtimes import Runtimes, UrlRuntime
from evento.model.resources import FunctionSpec

SCRIPT = str(Path(__file__).with_name("scripted_function.py"))
LOGGER = "evento.function.test.puppet"
WAIT_S = 60.0


def scripted(mode: str = "", **fields: object) -> FunctionSpec:
    return spec(**({"command": ("python", SCRIPT), "env": {"MODE": mode}, "revision": "rev-1"} | fields))


@asynccontextmanager
async def serving(function: FunctionSpec, expected: Expected | None = None) -> AsyncIterator[FunctionClient]:
    async with ProcessRuntime(SystemClock(), os.environ).serve(function, expected or Expected()) as client:
        yield client


async def do(client: FunctionClient, order: str = "ok") -> str:
    reply = await client.call(Operation.TURN, "test", "Counter", [one(order.encode())])
    return reply.instances[0].results[0][0].payload.decode()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> bool:
    for _ in range(int(WAIT_S / 0.02)):
        if not runs(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def started() -> set[int]:
    """Return the functions' processes: those that the guards, which this process has started, have started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(") ")[2].split()[1])
    guards = {pid for pid, parent in parents.items() if parent == os.getpid()}
    return {pid for pid, parent in parents.items() if parent in guards}


async def test_it_starts_when_needed_serves_and_is_gone_afterwards() -> None:
    async with serving(scripted()) as client:
        await client.ready()
        assert client.revision == "rev-1"
        pid = int(await do(client, "pid"))
        child = int(await do(client, "spawn"))
        assert pid == int(await do(client, "pid"))
    assert await gone(pid) and await gone(child)


async def test_many_who_need_it_at_once_start_it_once() -> None:
    async with serving(scripted()) as client:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(client.ready())
        async with asyncio.TaskGroup() as tasks:
            pids = [tasks.create_task(do(client, "pid")) for _ in range(20)]
        assert len({task.result() for task in pids}) == 1


async def test_nothing_is_started_that_nobody_needs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        async with serving(scripted("exit")):
            await asyncio.sleep(0.3)
    assert not caplog.records


async def test_it_gets_a_small_environment_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTO_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    async with serving(scripted(env={"MINE": "yes", "EVENTO_REVISION": "forged"})) as client:
        await client.ready()
        environment = json.loads(await do(client, "env"))
        parent = int(environment["EVENTO_PARENT_PID"])
        assert os.getpgid(int(await do(client, "pid"))) == parent != os.getpgid(0)
    assert environment["MINE"] == "yes" and environment["EVENTO_REVISION"] == "rev-1" and environment["LC_TIME"] == "C"
    assert environment["PATH"] == os.environ["PATH"]
    assert "secret" not in environment.values()
    assert {name for name in environment if name.startswith("EVENTO_")} == {"EVENTO_SOCKET", "EVENTO_REVISION", "EVENTO_PARENT_PID"}


async def test_it_runs_in_its_directory_with_the_platforms_python(tmp_path: Path) -> None:
    async with serving(scripted(directory=str(tmp_path))) as client:
        await client.ready()
        directory, executable, _ = json.loads(await do(client, "where"))
        socket = Path(json.loads(await do(client, "env"))["EVENTO_SOCKET"])
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert (directory, executable) == (str(tmp_path), sys.executable)
    assert not socket.parent.exists()


async def test_what_it_writes_is_in_the_log_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        async with serving(scripted()) as client:
            await client.ready()
            await do(client, "print hello \x1b[31m world")
            async with asyncio.timeout(WAIT_S):
                while (LOGGER, logging.INFO, r"hello \x1b[31m world") not in caplog.record_tuples:  # noqa: ASYNC110  it comes by a pipe
                    await asyncio.sleep(0.02)


async def test_a_flood_of_output_does_not_block_it_and_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        async with serving(scripted(timeout_s=60.0)) as client:
            await client.ready()
            await do(client, "flood")
            assert await do(client) == "ok"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) < 2000 and max(map(len, lines)) <= 4096
    assert any("lines were dropped" in line for line in lines)


async def test_a_function_that_ends_at_once_is_unavailable_and_says_why() -> None:
    async with serving(scripted("exit")) as client:
        started = asyncio.get_running_loop().time()
        with pytest.raises(FunctionUnavailable, match="exited with status 7; its last output: this will not do"):
            await client.ready()
        assert asyncio.get_running_loop().time() - started < spec().start_s / 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"command": ("no-such-program", "x")}, "cannot run 'no-such-program': No such file"),
        ({"directory": "/no/such/directory"}, "cannot run 'python' in '/no/such/directory'"),
        ({"command": ("python", "-c", "pass")}, "exited with status 0"),
    ],
)
async def test_what_cannot_be_run_is_unavailable_and_says_why(fields: dict[str, object], message: str) -> None:
    async with serving(scripted(**fields)) as client:
        with pytest.raises(FunctionUnavailable, match=message):
            await client.ready()


async def test_a_function_that_never_listens_is_unavailable_in_time_and_killed() -> None:
    async with serving(scripted("mute", start_s=0.5)) as client:
        with pytest.raises(FunctionUnavailable, match=r"not ready within 0\.5 s: no connection"):
            await client.ready()


async def test_a_function_that_serves_less_than_expected_is_unavailable_and_says_what() -> None:
    expected = Expected([ExpectedEntity("test", "Counter", applies=True, commands={"Do": "", "Undo": ""})])
    async with serving(scripted(env={"NO_APPLY": "1"}), expected) as client:
        with pytest.raises(FunctionUnavailable, match="has no apply; Command test/Counter/Undo is not handled"):
            await client.ready()


async def test_a_call_after_a_failed_start_is_told_soon_why_it_failed() -> None:
    async with serving(scripted("exit")) as client:
        for _ in range(5):
            with pytest.raises(FunctionUnavailable):
                await client.ready()
        with pytest.raises(FunctionUnavailable, match=r"being started; the last start failed: .* this will not do"):
            await do(client)


async def test_a_call_while_it_starts_is_told_soon_that_it_is_not_ready() -> None:
    async with serving(scripted("mute")) as client:
        started = asyncio.get_running_loop().time()
        with pytest.raises(FunctionUnavailable, match="being started"):
            await do(client)
        assert asyncio.get_running_loop().time() - started < spec().start_s / 2


@pytest.mark.parametrize(
    ("order", "message"),
    [("crash", "exited with status 3"), ("signal 9", "killed by signal 9, as when memory"), ("signal 11", "signal 11")],
)
async def test_a_crash_in_a_call_is_told_and_the_function_is_back_soon(order: str, message: str) -> None:
    async with serving(scripted()) as client:
        await client.ready()
        first, spawned = await do(client, "pid"), int(await do(client, "spawn"))
        with pytest.raises(FunctionCrashed, match=message):
            await do(client, order)
        assert await gone(spawned)
        await client.ready()
        assert await do(client, "pid") != first


async def test_it_is_restarted_without_being_asked() -> None:
    async with serving(scripted()) as client:
        await client.ready()
        pid = int(await do(client, "pid"))
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid)
        async with asyncio.timeout(WAIT_S):
            while not started():  # noqa: ASYNC110  nobody is told
                await asyncio.sleep(0.02)
            # It was started, and nobody had asked. Who asks at this very moment may still meet the end of the one before.
            next_pid = pid
            while next_pid == pid:
                with suppress(FunctionCrashed, FunctionUnavailable):
                    next_pid = int(await do(client, "pid"))
                await asyncio.sleep(0.02)


async def test_restarts_are_further_and_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Recording(SystemClock):
        async def sleep(self, delay_s: float) -> None:
            waits.append(delay_s)

    async with ProcessRuntime(Recording(), os.environ).serve(scripted(command=("false",))) as client:
        while len(waits) < 10:
            with pytest.raises(FunctionUnavailable):
                await client.ready()
    assert waits[:10] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


async def another(client: FunctionClient, gone: Collection[int]) -> int:
    """Return the function's process once it is none of these."""
    while True:
        with suppress(FunctionError):
            pid = int(await do(client, "pid"))
            if pid not in gone:
                return pid
        await asyncio.sleep(0.02)


async def test_killed_under_load_it_recovers_and_only_calls_under_way_fail() -> None:
    outcomes: list[str] = []
    over = asyncio.Event()

    async def caller(client: FunctionClient) -> None:
        while not over.is_set():
            try:
                outcomes.append(await do(client))
            except FunctionError as error:
                outcomes.append(error.code)

    async with serving(scripted()) as client:
        await client.ready()
        killed = set[int]()
        async with asyncio.timeout(2 * WAIT_S), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(caller(client))
            for _ in range(3):
                pid, enough = await another(client, killed), outcomes.count("ok") + 100
                while outcomes.count("ok") < enough:  # noqa: ASYNC110  the callers have no time to tell
                    await asyncio.sleep(0.02)
                if len(killed) < 2:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            over.set()
        assert await do(client) == "ok"
    assert 1 <= outcomes.count("function-crashed") <= 16
    assert set(outcomes) <= {"ok", "function-crashed", "function-unavailable"}


async def test_a_function_that_blocks_is_killed_and_replaced() -> None:
    async with serving(scripted(timeout_s=2.0)) as client:
        await client.ready()
        pid = int(await do(client, "pid"))
        with pytest.raises(FunctionTimeout):
            await do(client, "block")
        assert await gone(pid)
        await client.ready()
        assert int(await do(client, "pid")) != pid


async def test_a_function_that_hangs_in_some_calls_is_replaced_when_that_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.functions.supervised._SUSPECT_S", WAIT_S)
    async with serving(scripted(timeout_s=1.5)) as client:
        await client.ready()
        pid = await do(client, "pid")
        for _ in range(2):
            with pytest.raises(FunctionTimeout):
                await do(client, "hang")
        assert await do(client, "pid") == pid
        for _ in range(3):
            with pytest.raises(FunctionTimeout):
                await do(client, "hang")
        await client.ready()
        assert await do(client, "pid") != pid


async def test_a_stuck_function_that_is_not_called_is_found_by_its_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.functions.supervised.HEALTH_EVERY_S", 0.2)
    async with serving(scripted(timeout_s=3.0)) as client:
        await client.ready()
        pid = int(await do(client, "pid"))
        os.kill(pid, signal.SIGSTOP)
        assert await gone(pid)
        await client.ready()


async def test_stopping_lets_calls_under_way_end() -> None:
    async with serving(scripted()) as client:
        await client.ready()
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(do(client, "sleep 1.0"))
            await asyncio.sleep(0.1)
            pid = int(await do(client, "pid"))
            os.kill(pid, signal.SIGTERM)
            assert await slow == "sleep 1.0"


async def test_a_function_that_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.functions.child.DRAIN_S", 0.3)
    async with serving(scripted("stubborn")) as client:
        await client.ready()
        pid = int(await do(client, "pid"))
        spawned = int(await do(client, "spawn"))
    assert await gone(pid) and await gone(spawned)


async def test_after_stopping_calls_are_refused() -> None:
    async with serving(scripted()) as client:
        await client.ready()
    with pytest.raises(FunctionUnavailable, match="stopped"):
        await do(client)


async def test_an_error_of_the_context_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serving(scripted()) as client:
            await client.ready()
            raise ZeroDivisionError


PLATFORM = """
    import asyncio, json, sys
    sys.path.insert(0, {tests!r})
    from test_process import scripted, serving, do

    async def main():
        async with serving(scripted()) as client, serving(scripted(name="other")) as other:
            await client.ready()
            await other.ready()
            for one in (client, other):
                print(await do(one, "pid"), await do(one, "spawn"), flush=True)
                print(json.loads(await do(one, "env"))["EVENTO_SOCKET"], flush=True)
            await asyncio.sleep(1000)

    {run}(main())
"""


@pytest.mark.parametrize("run", ["asyncio.run", "__import__('uvloop').run"])
async def test_nothing_outlives_a_platform_that_is_killed(run: str) -> None:
    program = textwrap.dedent(PLATFORM).format(tests=str(Path(__file__).parent), run=run)
    platform = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert platform.stdout is not None
    words = b"".join([await platform.stdout.readline() for _ in range(4)]).decode().split()
    pids, sockets = [int(word) for word in words if word.isdigit()], [Path(word) for word in words if not word.isdigit()]
    guards = [os.getpgid(pid) for pid in pids]
    assert len(pids) == 4 and all(map(os.path.exists, sockets))
    platform.kill()
    await platform.wait()
    for pid in {*pids, *guards}:
        assert await gone(pid)
    assert not any(map(os.path.exists, [socket.parent for socket in sockets]))


async def test_nothing_outlives_a_guard_that_is_killed() -> None:
    async with serving(scripted()) as client:
        await client.ready()
        pid, spawned = int(await do(client, "pid")), int(await do(client, "spawn"))
        os.kill(os.getpgid(pid), signal.SIGKILL)
        assert await gone(pid) and await gone(spawned)
        await client.ready()


async def test_a_directory_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    with pytest.raises(SettingsError, match="too long"):
        async with ProcessRuntime(SystemClock(), os.environ, long).serve(scripted()):
            pass


async def test_a_directory_for_temporary_files_with_a_long_path_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    async with serving(scripted()) as client:
        await client.ready()


class NoContainers:
    """Stands where containers would be run: those tests are in tests/containers."""

    @asynccontextmanager
    async def serve(self, function: FunctionSpec, expected: Expected | None = None) -> AsyncIterator[FunctionClient]:
        raise FunctionUnavailable(f"{function.image} as a container")
        yield


async def test_runtimes_choose_by_what_the_manifest_gives() -> None:
    runtimes = Runtimes(ProcessRuntime(SystemClock(), os.environ), UrlRuntime(SystemClock()), NoContainers())
    async with runtimes.serve(scripted()) as local:
        await local.ready()
        socket = json.loads(await do(local, "env"))["EVENTO_SOCKET"]
        async with runtimes.serve(spec(url=f"unix:{socket}")) as remote:
            await remote.ready()
            assert await do(remote, "pid") == await do(local, "pid")
    with pytest.raises(FunctionUnavailable, match="bank:1 as a container"):
        async with runtimes.serve(spec(image="bank:1")):
            pass


async def test_one_command_that_crashes_the_process_spoils_no_other() -> None:
    runtimes = Runtimes(ProcessRuntime(SystemClock(), os.environ), UrlRuntime(SystemClock()), NoContainers())
    async with runtimes.serve(scripted()) as client:
        await client.ready()
        calls = [one(b"crash" if n == 13 else b"ok", f"i{n}") for n in range(40)]
        reply = await client.call(Operation.TURN, "test", "Counter", calls)
    failed = {index: instance.failure for index, instance in enumerate(reply.instances) if instance.failure}
    assert list(failed) == [13] and failed[13].code == "function-crashed" and "status 3" in failed[13].message
