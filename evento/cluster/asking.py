"""Reads and operators' wishes for any instance, from any node. Implements Reads, and what of Commands is no sending.

An instance is read where it is owned: there is what was told to be durable. A list is put together of what every owner has of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from evento.clock import Clock
from evento.cluster.knowing import learn
from evento.cluster.nodes import Nodes
from evento.cluster.performing import perform
from evento.cluster.route import PAUSE_FIRST_S, PAUSE_MAX_S
from evento.cluster.wire import (
    Ask,
    AskAll,
    AskDiscard,
    AskInstances,
    AskOne,
    AskOutcome,
    AskPending,
    AskRefresh,
    AskRetry,
    AskState,
    AskStream,
    decode_result,
    error_of,
)
from evento.engine.engine import Engine
from evento.errors import EventoError, NotFound, NotReady, Unreachable
from evento.journal.base import InstanceEntry, Journal
from evento.model.command import Outcome, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.reads.reader import Reader

T = TypeVar("T")
REFRESH_S = 3.0
OWNER_WAIT_S = 10.0  # for an owner, while a partition changes hands


class Asking:
    """Asks the owner, which may be this node."""

    def __init__(
        self, journal: Journal, engine: Engine, reader: Reader, clock: Clock, *, nodes: Callable[[], Nodes | None]
    ) -> None:
        self._partitions = journal.partitions
        self._partition_of = journal.partition_of
        self._engine = engine
        self._reader = reader
        self._clock = clock
        self._nodes = nodes

    # ------------------------------------------------------------ one instance
    async def state(self, key: EntityKey, *, version: int | None = None, at_us: int | None = None) -> State:
        """See `evento.engine.base.Reads.state`."""
        found: State = await self._one(AskState(key, version, at_us))
        return found

    async def stream(self, key: EntityKey, *, after: int = 0, limit: int = 100) -> Sequence[Turn]:
        """See `evento.engine.base.Reads.stream`."""
        found: Sequence[Turn] = await self._one(AskStream(key, after, limit))
        return found

    async def outcome(self, key: EntityKey, command_id: str) -> Outcome:
        """See `evento.engine.base.Reads.outcome`."""
        found: Outcome = await self._one(AskOutcome(key, command_id))
        return found

    async def retry(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.retry`."""
        await self._one(AskRetry(key, command_id))

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.discard`."""
        try:
            await self._one(AskDiscard(key, command_id))
        except NotFound:
            # It may have been discarded by this very request, whose answer was lost.
            if (await self.outcome(key, command_id)).kind is not OutcomeKind.DISCARDED:
                raise

    # ------------------------------------------------------------ lists
    async def instances(self, namespace: str, entity: str, *, after: str = "", limit: int = 100) -> Sequence[InstanceEntry]:
        """See `evento.engine.base.Reads.instances`."""

        def ask(partitions: tuple[int, ...]) -> AskAll:
            return AskInstances(partitions, namespace, entity, after, limit)

        found: list[InstanceEntry] = await self._patiently(lambda: self._all(ask))
        return sorted(found, key=lambda entry: entry.key.id)[:limit]

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        """See `evento.engine.base.Commands.pending`. No two partitions have a number in common."""

        def ask(partitions: tuple[int, ...]) -> AskAll:
            return AskPending(partitions, parked, after, limit)

        found: list[Pending] = await self._patiently(lambda: self._all(ask))
        return sorted(found, key=lambda entry: entry.number)[:limit]

    # ------------------------------------------------------------ all nodes
    async def refresh(self) -> None:
        """Have the other nodes put in force what was deployed here, so that who deployed can use it at any of them at once.

        A node that does not answer soon will find it by itself.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S), asyncio.TaskGroup() as tasks:
                for address in self._engine.owners.addresses:
                    tasks.create_task(_caught(self._ask(address, AskRefresh())))

    # ------------------------------------------------------------ asking
    async def _one(self, ask: AskOne) -> Any:
        number = self._partition_of(ask.key)
        return await self._patiently(lambda: self._ask(self._owner(number), ask))

    async def _all(self, ask: Callable[[tuple[int, ...]], AskAll]) -> list[Any]:
        """Ask each owner for what it has in its partitions; each partition is asked for once, of the one node that owns it."""
        owned: dict[str | None, list[int]] = {}
        for number in range(self._partitions):
            owned.setdefault(self._owner(number), []).append(number)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(_caught(self._ask(owner, ask(tuple(numbers))))) for owner, numbers in owned.items()]
        found: list[Any] = []
        for task in asked:
            result = task.result()
            if isinstance(result, EventoError):
                raise result
            found += result
        return found

    async def _ask(self, owner: str | None, ask: Ask) -> Any:
        if owner is None:
            return await perform(ask, self._engine, self._reader)
        nodes = self._nodes()
        node = nodes.get(owner) if nodes is not None else None
        if node is None:
            raise Unreachable(f"the node {owner} cannot be asked")
        reply = await node.link.ask(ask)
        if reply.elsewhere:
            raise NotReady(f"the node {owner} is not the owner any more")
        if reply.problem is not None:
            raise error_of(reply.problem)
        result = decode_result(ask, reply.result)
        await learn(self._engine, result)
        return result

    def _owner(self, number: int) -> str | None:
        """Return the address of the owner; None if that is this node. Raises NotReady if nobody is known to be."""
        if self._engine.worker(number) is not None:
            return None
        owner = self._engine.owners.of(number)
        if owner is None:
            raise NotReady(f"nobody owns partition {number} just now; ask again")
        return owner

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + OWNER_WAIT_S
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return await attempt()
            except (NotReady, Unreachable):
                if loop.time() + pause_s > until_s:
                    raise
            await self._clock.sleep(pause_s)
            await self._engine.owners.ask()
            pause_s = min(2 * pause_s, PAUSE_MAX_S)


async def _caught(work: Awaitable[Any]) -> Any:
    """Return the error instead of raising it: the first of several would come as a group."""
    try:
        return await work
    except EventoError as error:
        return error
