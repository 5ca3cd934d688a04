"""Nodes of one cluster, each with an HTTP face of its own, in one process; started, stopped and lost one by one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from secrets import token_bytes

import aiohttp

from evento.api.app import create_app
from evento.api.server import listening
from evento.bootstrap import Node, run_node
from evento.clock import SystemClock
from evento.cluster.peering import Credentials
from evento.registry.reading import read_deployment
from evento.settings import Settings
from tests.cluster.shared import Shared, SharedJournal
from tests.ports import free_port

SOURCE = Path(__file__).with_name("counter.py")
SECRET = "a secret that nodes share"  # noqa: S105
WAIT_S = 90.0


class Member:
    """One node."""

    def __init__(self, shared: Shared, folder: Path, secret: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.shared = shared
        self.node: Node | None = None
        self._settings = Settings(data=str(folder), port=self.port, cluster_secret=secret, shutdown_s=2.0)
        self._secret = secret
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start it, and wait until it takes Commands."""
        self._task = tasks.create_task(self._run())
        async with asyncio.timeout(WAIT_S):
            await self._ready.wait()

    async def stop(self) -> None:
        """Stop it as an operator does."""
        self._stop.set()
        await self._ended()

    async def lose(self) -> None:
        """End it in the middle of what it does: nobody is told anything, and its partitions are free."""
        assert self._task is not None
        for number in [number for number, owner in self.shared.owners.items() if owner == self.url]:
            self.shared.parts[number].owner = None
            del self.shared.owners[number]
        self._task.cancel()
        await self._ended()

    async def _ended(self) -> None:
        assert self._task is not None
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        journal = SharedJournal(self.shared, self.url)
        credentials = Credentials(self._secret, self.url, SystemClock(), token_bytes)
        async with run_node(journal, self._settings, credentials=credentials) as node:
            self.node = node
            await node.wait_open()
            async with listening(create_app(node.platform(self._settings)), host="127.0.0.1", port=self.port, shutdown_s=1):
                self._ready.set()
                await self._stop.wait()
                assert node.peering is not None
                node.peering.stopping.set()


class Cluster:
    """The nodes, and a client's session."""

    def __init__(self, shared: Shared, folder: Path, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        self.shared = shared
        self.session = session
        self.members: list[Member] = []
        self._folder = folder
        self._tasks = tasks

    async def join(self, *partitions: int, secret: str = SECRET) -> Member:
        """Start another node, which is given these partitions."""
        member = Member(self.shared, self._folder / str(len(self.members)), secret)
        self.members.append(member)
        self.shared.assign(member.url, *partitions)
        await member.start(self._tasks)
        return member

    async def count(self, member: Member, instance: str, by: int, **headers: str) -> tuple[int, dict[str, object]]:
        return await self.post(member, f"/v1/tests/Counter/{instance}/Count", {"by": by}, **headers)

    async def post(self, member: Member, path: str, data: object = None, **headers: str) -> tuple[int, dict[str, object]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(member.url + path, json=data, headers=named) as response:
            return response.status, await response.json() if response.status != 204 else {}

    async def get(self, member: Member, path: str) -> tuple[int, dict[str, object]]:
        async with self.session.get(member.url + path) as response:
            return response.status, await response.json()

    async def owned(self, owners: dict[int, Member]) -> None:
        """Wait until partitions are with these nodes."""
        await until(lambda: all(self.shared.owners.get(number) == member.url for number, member in owners.items()))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; not for ever."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster_of(folder: Path, *, partitions: int = 4, nodes: int = 2) -> AsyncIterator[Cluster]:
    """Run nodes that have the partitions in turn, with the counter deployed."""
    shared = Shared(partitions)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        cluster = Cluster(shared, folder, session, tasks)
        try:
            first = await cluster.join(*range(partitions))
            assert first.node is not None
            await first.node.deploy_documents(await asyncio.to_thread(read_deployment, [str(SOURCE)]))
            for number in range(1, nodes):
                given = range(number, partitions, nodes)
                member = await cluster.join(*given)
                await cluster.owned(dict.fromkeys(given, member))
            yield cluster
        finally:
            for member in cluster.members:
                await member.stop()
