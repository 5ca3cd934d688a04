"""Calls to a function that others run are signed, and a function written with the SDK lets in nothing else."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from bad_servers import answer, one, read_request, reply_body, saying, serving, spec

from evento.clock import SystemClock
from evento.errors import FunctionUnavailable
from evento.functions.addresses import Guard
from evento.functions.base import InstanceCall, Item, Operation
from evento.functions.runtimes import Runtimes, UrlRuntime
from evento.keys import SigningKey, make_signing_key
from evento.testing.function_kit import wait_healthy
from evento.testing.puppet import Play, puppet
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
_US = 1_000_000


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return make_signing_key(tmp_path / "signing.pem")


class OtherClock(SystemClock):
    """A clock that is wrong."""

    def __init__(self, off_s: int) -> None:
        self.off_s = off_s

    def now_us(self) -> int:
        return super().now_us() + self.off_s * _US


@contextmanager
def function(**environment: str) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """Run the puppet on a port, as somebody elsewhere would."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTO_")}
    command = [sys.executable, "-m", "evento.sdk", "evento.testing.puppet:puppet"]
    told = {**kept, "PYTHONPATH": str(ROOT), "PORT": str(port), **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=told, stderr=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.communicate()


def order() -> InstanceCall:
    play = puppet.entities["Puppet"].commands["Play"].codec.encode(Play())
    return InstanceCall("a", 0, None, [Item("Play", play, 1, "c")])


async def play(url: str, key: SigningKey | None, *, off_s: int = 0) -> int:
    """Get ready and call, as a platform does; return how many Commands were done."""
    runtime = UrlRuntime(OtherClock(off_s), guard=Guard("loopback"), key=key)
    async with Runtimes(runtime, runtime, runtime).serve(spec(url=url, start_s=60.0)) as client:
        await client.ready()
        reply = await client.call(Operation.TURN, "puppet", "Puppet", [order()])
    return len(reply.instances[0].results)


async def test_signed_calls_are_let_in_and_no_others(key: SigningKey, tmp_path: Path) -> None:
    with function(EVENTO_FUNCTION_KEYS=key.public) as (url, _):
        await wait_healthy(url)
        assert await play(url, key) == 1
        with pytest.raises(FunctionUnavailable, match=r"puppet: the function refuses the .*the headers Content-Digest"):
            await play(url, None)
        with pytest.raises(FunctionUnavailable, match="is not known here; known are " + key.id):
            await play(url, make_signing_key(tmp_path / "other.pem"))


@pytest.mark.parametrize(("off_s", "message"), [(-400, r"40\d s ago by this function's clock"), (400, r"s in the future")])
async def test_a_clock_that_is_wrong_is_told(key: SigningKey, off_s: int, message: str) -> None:
    with function(EVENTO_FUNCTION_KEYS=key.public) as (url, _):
        await wait_healthy(url)
        with pytest.raises(FunctionUnavailable, match=message):
            await play(url, key, off_s=off_s)
        assert await play(url, key, off_s=off_s * 2 // 3) == 1


async def test_a_key_is_replaced_without_a_pause(key: SigningKey, tmp_path: Path) -> None:
    """Both public keys, in a file with remarks: calls of either are let in."""
    new = make_signing_key(tmp_path / "new.pem")
    file = tmp_path / "keys"
    file.write_text(f"# of the platform\n{key.public}  # until 2027\n\n{new.public}\n")
    with function(EVENTO_FUNCTION_KEYS_FILE=str(file)) as (url, _):
        await wait_healthy(url)
        assert await play(url, key) == await play(url, new) == 1


async def test_a_refused_call_is_no_attempt_and_is_not_taken_apart(tmp_path: Path, key: SigningKey) -> None:
    calls = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        while True:
            await read_request(reader)
            calls += 1
            writer.write(answer(b"the clock is wrong", "401 Unauthorized", "Content-Type: text/plain\r\n"))

    runtime = UrlRuntime(SystemClock(), key=key)
    async with serving(tmp_path / "s", behave), Runtimes(runtime, runtime, runtime).serve(spec(url=f"unix:{tmp_path}/s")) as client:
        with pytest.raises(FunctionUnavailable, match=r"it answered 401.*the clock is wrong"):
            await client.call(Operation.TURN, "test", "Counter", [one(instance=f"i{n}") for n in range(20)])
    assert calls == 1


async def test_a_platform_without_a_key_signs_nothing(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(reply_body()))

    async with serving(tmp_path / "s", behave), UrlRuntime(SystemClock()).serve(spec(url=f"unix:{tmp_path}/s")) as client:
        await client.call(Operation.TURN, "test", "Counter", [one()])
    assert b"signature" not in heads[0].lower() and b"digest" not in heads[0].lower()


async def test_the_path_of_the_url_is_signed_with_the_rest(tmp_path: Path, key: SigningKey) -> None:
    heads: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await saying(answer(reply_body()))(reader, writer)

    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    runtime = UrlRuntime(SystemClock(), guard=Guard("loopback"), key=key)
    async with server, runtime.serve(spec(url=f"http://127.0.0.1:{port}/fn", start_s=5.0)) as client:
        with pytest.raises(FunctionUnavailable):
            await client.ready()
    lines = dict(line.split(": ", 1) for line in heads[0].decode().split("\r\n")[1:] if line)
    created = int(lines["Signature-Input"].partition("created=")[2].partition(";")[0])
    expected = key.headers(method="GET", path="/fn/evento", body=b"", created_s=created)
    assert {name: lines[name] for name in expected} == expected


async def test_nothing_of_a_large_unsigned_body_is_kept(key: SigningKey) -> None:
    """The refusal comes before the body is read; the function lives on."""
    with function(EVENTO_FUNCTION_KEYS=key.public) as (url, process):
        await wait_healthy(url)

        async def endless() -> "object":
            for _ in range(4096):
                yield bytes(65536)  # 256 MiB in all

        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(f"{url}/evento", data=endless()) as refused:
                    assert refused.status == 401
            except aiohttp.ClientError:
                pass  # it hung up on us while we were sending
        status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
        peak_kb = int(status.partition("VmHWM:")[2].split()[0])
        assert peak_kb < 150 * 1024
        assert await play(url, key) == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"EVENTO_FUNCTION_KEYS": ""}, "has no key in it"),
        ({"EVENTO_FUNCTION_KEYS": "secret"}, "'secret': a public key is ed25519:"),
        ({"EVENTO_FUNCTION_KEYS_FILE": "/nowhere/keys"}, "/nowhere/keys"),
        ({"EVENTO_FUNCTION_KEYS": "a", "EVENTO_FUNCTION_KEYS_FILE": "b"}, "both set"),
    ],
)
def test_a_function_with_unusable_keys_does_not_start(environment: dict[str, str], message: str) -> None:
    with function(**environment) as (_, process):
        assert process.wait(90) == 1
        assert process.stderr is not None
        said = process.stderr.read()
    assert "does not start" in said and message in said and len(said.strip().splitlines()) == 1


def test_a_function_with_keys_and_without_cryptography_does_not_start(key: SigningKey, tmp_path: Path) -> None:
    (tmp_path / "cryptography").mkdir()
    (tmp_path / "cryptography" / "__init__.py").write_text("raise ModuleNotFoundError('cryptography')")
    with function(EVENTO_FUNCTION_KEYS=key.public, PYTHONPATH=f"{tmp_path}:{ROOT}") as (_, process):
        assert process.wait(90) == 1
        assert process.stderr is not None
        assert "pip install 'evento-platform[signed]'" in process.stderr.read()
