"""How a platform ends: kill -9 leaves no process behind, and SIGTERM under load keeps every word that was given."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from evento.client import Client
from tests.faults import bank
from tests.faults.checker import History, broken
from tests.faults.clients import Sender, read_final
from tests.faults.node import Node, alive, eventually
from tests.faults.shop import POISON, Shop

Json = dict[str, Any]
ACCOUNTS = [f"account-{number}" for number in range(400)]
SINGLE_CLIENTS = 32
FINISHED = 1_000  # then it is stopped, in the middle of work
WORK_S = 180.0
DEADLINE_S = 45.0  # with a stream that would never end by itself
STREAM_IN_FLIGHT = 100  # few, so that the history to be judged stays short
STUBBORN = "import signal, subprocess; signal.signal(15, signal.SIG_IGN); subprocess.Popen(['sleep', '3600']); time.sleep(3600)"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Give a short path for what the platform makes for a while: sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ev"))
    yield folder
    shutil.rmtree(folder)


def gone(pids: Sequence[int]) -> None:
    for _ in eventually(f"the processes {pids} end"):
        if not alive(pids):
            return


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_no_process_and_no_socket_is_left_behind_even_of_a_function_that_hangs_and_ignores_signals(
    tmp_path: Path, temporary: Path, ending: signal.Signals
) -> None:
    shop = Shop(tmp_path / "shop")
    with Node(tmp_path, env={"TMPDIR": str(temporary)}) as node:
        shop.poison(STUBBORN)
        node.start(shop.folder)
        async with Client(node.url) as client:
            await client.send("bank/Checking/a", "OpenChecking", {"owner": "A"})
            await client.send("bank/Checking/a", "ReceiveDeposit", {"amount": POISON}, wait_s=0)
        for _ in eventually("the function hangs in its call"):
            started = node.descendants()
            if len(started) == 3:  # the guard, the function, and what that has started
                break
        assert os.listdir(temporary)
        if ending is signal.SIGKILL:
            node.kill()
        else:
            assert node.stop() == 0
        gone(started)
        for _ in eventually("the sockets are removed"):
            if not os.listdir(temporary):
                break


def test_a_guard_that_is_killed_takes_its_function_along_and_another_is_started(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start(bank.MODULE)
        node.evento("send", "bank/Checking/a", "OpenChecking", "owner=A")
        guard, function = node.descendants()
        os.kill(guard, signal.SIGKILL)
        gone([guard, function])
        node.evento("send", "bank/Checking/a", "ReceiveDeposit", "amount=1.00")


class Load:
    """Commands by single requests and in streams, until the platform ends."""

    def __init__(self, node: Node) -> None:
        self.history = History()
        self.refused: list[Json] = []  # answered with 5xx: they may be sent again, but must not have been executed
        self.unanswered: list[Json] = []
        self.statuses: set[int] = set()
        self.enough = asyncio.Event()  # is finished, so that what follows means something
        self._node = node

    async def run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
            for number in range(SINGLE_CLIENTS):
                group.create_task(self._single(session, number))
            for number in range(2):
                group.create_task(self._stream(number))

    async def _single(self, session: aiohttp.ClientSession, client: int) -> None:
        for number in range(100_000):
            account = ACCOUNTS[(client + number) % len(ACCOUNTS)]
            command = bank.command(account, "ReceiveDeposit", {"amount": "1.00"}, f"single-{client}-{number}")
            self.history.invoke(command)
            sent = time.monotonic()
            url = f"{self._node.url}/v1/{command['entity']}/{account}/ReceiveDeposit"
            try:
                async with session.post(url, json=command["data"], headers={"idempotency-key": command["command_id"]}) as response:
                    answer = await response.json(content_type=None)
            except aiohttp.ClientConnectorError:
                return  # nobody listens any more
            except aiohttp.ClientError:
                self.unanswered.append(command)
                return
            self.statuses.add(response.status)
            if response.status >= 500:
                self.refused.append(command)
                return
            self.history.tell(command, answer, sent, time.monotonic())
            if not self.enough.is_set() and self.history.finished >= FINISHED:
                self.enough.set()

    async def _stream(self, number: int) -> None:
        commands = [
            bank.command(ACCOUNTS[at % len(ACCOUNTS)], "ReceiveDeposit", {"amount": "1.00"}, f"stream-{number}-{at}")
            for at in range(200_000)
        ]
        history = History()
        await Sender(self._node.url, history, in_flight_max=STREAM_IN_FLIGHT).send_once(commands)
        self.history.invoked.update(history.invoked)
        self.history.told += history.told
        self.refused += [history.invoked[name] for name in history.refused]
        told = {(told.place, told.command_id) for told in history.told}
        self.unanswered += [c for name, c in history.invoked.items() if name not in told and name not in history.refused]


async def test_sigterm_under_load_loses_nothing_told_and_executes_nothing_refused(tmp_path: Path) -> None:
    with Node(tmp_path, env={"EVENTO_SHUTDOWN_S": "2"}) as node:
        node.start()
        node.deploy(bank.MODULE)
        load = Load(node)
        await Sender(node.url, load.history).send_all(bank.opening(ACCOUNTS))
        loading = asyncio.create_task(load.run())
        await asyncio.wait_for(load.enough.wait(), WORK_S)
        node.terminate()
        terminated = time.monotonic()
        await loading
        assert await asyncio.to_thread(node.wait) == 0
        assert time.monotonic() - terminated < DEADLINE_S
        assert load.statuses <= {200, 503}, load.statuses

        node.start()
        async with Client(node.url) as client:
            final = await read_final(client, bank.CHECKING)
            assert not broken(load.history, final, bank.fold)
        executed = {(place, event["command_id"]) for place, stream in final.streams.items() for event in stream}
        refused = {((c["entity"], c["id"]), c["command_id"]) for c in load.refused}
        assert not refused & executed, "told to send again what was executed"
        again = load.refused + load.unanswered
        answers = await Sender(node.url, load.history).send_all(again)
        assert {answer["outcome"] for answer in answers} <= {"succeeded"}
        async with Client(node.url) as client:
            final = await read_final(client, bank.CHECKING)
        assert load.history.finished == sum(map(len, final.streams.values()))
        assert not broken(load.history, final, bank.fold)
        node.verify()
