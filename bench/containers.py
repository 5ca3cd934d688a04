"""How long a cold start takes: a Command in, from no container, to its outcome out; beside what the engine alone takes.

The engine alone: the same image, with the same configuration, made and started through the same API, until its first answer. Prints
a line of JSON. The engine is the tests' own Podman.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from processes import free_port, running, wait_until_ready

from evento.client import Client
from evento.functions.engine_api import ContainerEngine
from evento.functions.lockdown import SOCKET_NAME, container_config
from evento.model.resources import FunctionSpec
from tests.containers.engine import ROOT, Engine, an_engine, why_not

BANK = ROOT / "examples" / "bank"
EVENTO = ROOT / ".venv/bin/evento"
POLL_S = 0.002
FIRST_ANSWER_S = 30.0
IDLE_S = 30.0
_COMMAND = 'command: [python, "-m", evento.sdk, "bank:app"]'


@contextmanager
def engine() -> Iterator[Engine]:
    """Give the tests' container engine. Ends the benchmark where there can be none."""
    if why_not():
        raise SystemExit(why_not())
    with tempfile.TemporaryDirectory(prefix="evb-") as folder, an_engine(Path(folder)).serving() as serving:
        yield serving


def bank_image(serving: Engine) -> str:
    """Return an image of the bank's functions."""
    return serving.image("bank", {"bank.py": BANK / "bank.py"}, run=["python3", "-m", "evento.sdk", "bank:app"])


def manifests(folder: Path, image: str, scale: str) -> Path:
    """Write the bank's manifests with its function as a container."""
    text = (BANK / "manifests.yaml").read_text()
    assert _COMMAND in text
    made = folder / "contained.yaml"
    made.write_text(text.replace(_COMMAND, f"image: {image}\n  scale: {scale}"))
    return made


async def engine_alone(serving: Engine, image: str) -> float:
    """Return the seconds from making a container to its first answer."""
    api = ContainerEngine(serving.url)
    try:
        with tempfile.TemporaryDirectory(prefix="evb-") as folder:
            Path(folder).chmod(0o777)
            found = await api.image(image)
            assert found is not None
            spec = FunctionSpec("bank", "bank-functions", image=image)
            config = container_config(spec, image_id=found.id, image_user=found.user, folder=folder, platform="bench")
            started = time.perf_counter()
            await api.create("evento-bench", config)
            await api.start("evento-bench")
            await _first_answer(f"{folder}/{SOCKET_NAME}")
            taken_s = time.perf_counter() - started
            await api.remove("evento-bench")
            return taken_s
    finally:
        await api.close()


async def _first_answer(socket: str) -> None:
    async with asyncio.timeout(FIRST_ANSWER_S):
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(socket)
                break
            except OSError:
                await asyncio.sleep(POLL_S)
        writer.write(b"GET /evento HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.close()


async def cold_start(serving: Engine, client: Client, version: int) -> float:
    """Return the seconds from a Command, sent when no container runs, to its outcome."""
    async with asyncio.timeout(IDLE_S):
        while await asyncio.to_thread(serving.containers, "--filter", "label=dev.evento.function=bank/bank-functions"):
            await asyncio.sleep(0.1)
    started = time.perf_counter()
    answer = await client.send("bank/Checking/a", "ReceiveDeposit", {"amount": "1.00"}, wait_s=60)
    taken_s = time.perf_counter() - started
    assert answer["outcome"] == "succeeded" and answer["version"] == version, answer
    return taken_s


async def measure(data: Path, rounds: int) -> dict[str, object]:
    with engine() as serving:
        image, port, log = bank_image(serving), free_port(), data / "evento.log"
        environment = {"EVENTO_CONTAINER_ENGINE": serving.url, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        command = [EVENTO, "dev", manifests(data, image, "{idle: 200ms}"), "--data", data / "evento", "--port", str(port)]
        alone: list[float] = []
        evento: list[float] = []
        with running(command, log, env=environment, cwd=BANK):
            await asyncio.to_thread(wait_until_ready, f"http://127.0.0.1:{port}/readyz", log)
            async with Client(f"http://127.0.0.1:{port}") as client:
                await client.send("bank/Checking/a", "OpenChecking", {"owner": "A"}, wait_s=60)
                for number in range(rounds):
                    alone.append(await engine_alone(serving, image))
                    evento.append(await cold_start(serving, client, number + 2))
    return {"alone_s": median(alone), "evento_s": median(evento), "rounds": rounds, "all": [alone, evento]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.data, options.rounds))))


if __name__ == "__main__":
    main()
