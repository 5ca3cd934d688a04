"""Commands for any instance, from any node: to the engine here, or to the node that owns the instance. Implements Commands.

While a partition changes hands, its Commands wait here for the next owner, and are sent again, with the same ids, when an owner
was lost before it answered. So a rebalance is a delay, and no error, for as long as a sender waits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count

from evento.clock import Clock
from evento.cluster.asking import Asking
from evento.cluster.knowing import learn
from evento.cluster.link import MakeLink
from evento.cluster.nodes import Nodes
from evento.cluster.parcel import Parcel
from evento.cluster.route import PAUSE_FIRST_S, PAUSE_MAX_S, Route
from evento.engine.engine import Engine
from evento.engine.stream_order import Chunk, StreamOrder
from evento.engine.ticket import Gathered, Waiter
from evento.errors import EventoError, NotReady, Overloaded, Unreachable
from evento.journal.base import Journal
from evento.model.command import Command, Outcome, Pending
from evento.model.keys import EntityKey
from evento.reads.reader import Reader

HELD_COMMANDS_MAX = 10_000  # that wait for an owner
GRACE_S = 5.0  # that a Command is looked after longer than its sender asked to wait
SWEEP_S = 0.25
OpenLinks = Callable[[], AbstractAsyncContextManager[MakeLink]]


class Gateway:
    """The way in for Commands where nodes share the partitions."""

    def __init__(self, journal: Journal, engine: Engine, reader: Reader, clock: Clock, *, own: str, links: OpenLinks) -> None:
        """`own` is this node's address."""
        self._engine = engine
        self._owners = engine.owners
        self._partition_of = journal.partition_of
        self._clock = clock
        self._own = own
        self._links = links
        self._nodes: Nodes | None = None
        self._routes = [Route(number, self._held_one) for number in range(journal.partitions)]
        self._held = 0  # how many Commands wait for an owner, at least
        self._holding = asyncio.Event()
        self._room = asyncio.Event()
        self._numbers = count()
        self._in_order = asyncio.Lock()
        self.asking = Asking(journal, engine, reader, clock, nodes=lambda: self._nodes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reach the other nodes for the time of the context. What waits at its end is told NotReady."""
        async with self._links() as make_link, asyncio.TaskGroup() as tasks:
            nodes = self._nodes = Nodes(make_link, partial(learn, self._engine), tasks, own=self._own)
            loops = [tasks.create_task(self._find_owners()), tasks.create_task(self._sweep())]
            try:
                yield
            finally:
                self._nodes = None
                for task in loops:
                    task.cancel()
                nodes.close()
                self._end()

    # ------------------------------------------------------------ Commands
    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        """See `evento.engine.base.Commands.send`."""
        batch = Gathered(1)
        self._send(self._parcel(command, batch, 0, wait_s))
        await batch.finished.wait()
        (answer,) = batch.answers
        if isinstance(answer, EventoError):
            raise answer
        return answer

    def submit(self, command: Command, waiter: Waiter, *, wait_s: float) -> None:
        """See `evento.engine.base.Commands.submit`."""
        self._send(self._parcel(command, waiter, 0, wait_s))

    async def send_many(
        self, commands: Sequence[Command], *, wait_s: float, order: StreamOrder | None = None
    ) -> Sequence[Outcome | EventoError]:
        """See `evento.engine.base.Commands.send_many`."""
        order = order or StreamOrder()
        broken, batch = order.broken, Chunk(commands, order)
        async with self._in_order:
            for place, command in enumerate(commands):
                if broken and (objection := order.objection(command)) is not None:
                    batch.tell(place, objection)
                    continue
                parcel = self._parcel(command, batch, place, wait_s)
                parcel.eager, parcel.order, parcel.repeats = True, order, partial(_repeats, commands)
                try:
                    await self._send_patiently(parcel)
                except EventoError as error:
                    parcel.finish(error)
        await batch.finished.wait()
        return batch.answers

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        """See `evento.engine.base.Commands.pending`."""
        return await self.asking.pending(parked=parked, after=after, limit=limit)

    async def retry(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.retry`."""
        await self.asking.retry(key, command_id)

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.discard`."""
        await self.asking.discard(key, command_id)

    # ------------------------------------------------------------ sending
    def _parcel(self, command: Command, waiter: Waiter, place: int, wait_s: float) -> Parcel:
        until_s = asyncio.get_running_loop().time() + wait_s
        route = self._routes[self._partition_of(command.key)]
        return Parcel(command, route, waiter, place, next(self._numbers), until_s)

    def _send(self, parcel: Parcel) -> None:
        """Send a Command to its owner, or let it wait for one. Raises what the owner refuses at once, and Overloaded."""
        if self._nodes is None:
            raise NotReady()
        route = parcel.route
        worker = self._engine.worker(route.number)
        if worker is None or route.held or route.out:
            self._send_away(parcel)
            return
        wait_s = max(0.0, parcel.until_s - asyncio.get_running_loop().time())
        try:
            self._engine.take_in(worker, parcel.command, parcel, wait_s=wait_s, eager=parcel.eager)
        except NotReady:
            self._hold(parcel)
        else:
            parcel.given = True
            route.reach()

    def _send_away(self, parcel: Parcel) -> None:
        route = parcel.route
        node = None
        if not route.held and self._nodes is not None and self._engine.worker(route.number) is None:
            node = self._nodes.get(self._owners.of(route.number))
        if node is None or (route.out and route.address != node.link.address):
            self._hold(parcel)
            return
        route.address = node.link.address
        (node.streams if parcel.eager else node.singles).put(parcel)

    def _hold(self, parcel: Parcel) -> None:
        if not parcel.held and self._held >= HELD_COMMANDS_MAX:
            raise Overloaded(retry_after_s=1)
        parcel.route.hold(parcel)

    async def _send_patiently(self, parcel: Parcel) -> None:
        while True:
            try:
                self._send(parcel)
                return
            except Overloaded:
                await self._wait_room(parcel.route)
                if (objection := parcel.objection()) is not None:
                    raise objection from None

    async def _wait_room(self, route: Route) -> None:
        worker = self._engine.worker(route.number)
        node = self._nodes.get(self._owners.of(route.number)) if self._nodes is not None else None
        if self._held >= HELD_COMMANDS_MAX:
            self._room.clear()
            await self._room.wait()
        elif worker is not None:
            await worker.wait_room()
        elif node is not None:
            await node.streams.wait_room()

    # ------------------------------------------------------------ owners that change
    def _held_one(self) -> None:
        self._held += 1
        self._holding.set()

    async def _find_owners(self) -> None:
        """Ask who the owners are as long as somebody waits for one."""
        while True:
            await self._holding.wait()
            await self._owners.ask()
            now_s = asyncio.get_running_loop().time()
            for route in self._routes:
                if route.held and route.not_before_s <= now_s:
                    self._try_again(route, now_s)
            self._count_held()
            if self._held:
                next_s = min(route.not_before_s for route in self._routes if route.held)
                await self._clock.sleep(min(max(next_s - now_s, PAUSE_FIRST_S), PAUSE_MAX_S))
            else:
                self._holding.clear()

    def _try_again(self, route: Route, now_s: float) -> None:
        self._recall(route)
        route.pause(now_s)
        for parcel in route.take_held():
            if (objection := parcel.objection()) is not None:
                parcel.finish(objection)
                continue
            try:
                self._send(parcel)
            except Overloaded:
                route.hold(parcel)
            except EventoError as error:
                parcel.finish(error)

    def _recall(self, route: Route) -> None:
        """Take Commands out of the lanes to a node that is the owner no more."""
        if not route.out:
            return
        owner = self._own if self._engine.worker(route.number) is not None else self._owners.of(route.number)
        if owner is not None and owner != route.address:
            route.recall()

    async def _sweep(self) -> None:
        """Look after what takes too long."""
        while True:
            await self._clock.sleep(SWEEP_S)
            now_s = asyncio.get_running_loop().time()
            for route in self._routes:
                self._recall(route)
                _expire(route, now_s)
            self._count_held()
            if self._nodes is not None:
                self._nodes.forget_all_but(self._owners.addresses)

    def _count_held(self) -> None:
        self._held = sum(len(route.held) for route in self._routes)
        if self._held < HELD_COMMANDS_MAX:
            self._room.set()

    def _end(self) -> None:
        for route in self._routes:
            route.closed = True
            for parcel in (*route.out.values(), *route.held):
                parcel.finish(_not_ready(parcel))
            route.out.clear()
            route.held.clear()
        self._room.set()


def _expire(route: Route, now_s: float) -> None:
    """Refuse what has waited too long, and what stands behind it in its stream: else that would be carried out before it."""
    late = [each for each in (*route.held, *route.out.values()) if each.until_s + GRACE_S < now_s]
    if not late:
        return
    for parcel in late:
        _give_up(parcel, _not_ready(parcel))
    for parcel in (*route.held, *route.out.values()):
        if parcel.waiter is not None and (objection := parcel.objection()) is not None:
            _give_up(parcel, objection)
    route.held = [parcel for parcel in route.held if parcel.waiter is not None]


def _give_up(parcel: Parcel, error: EventoError) -> None:
    parcel.finish(error)
    if parcel.lane is not None:
        parcel.lane.give_back(parcel)


def _not_ready(parcel: Parcel) -> EventoError:
    if parcel.given:
        return Unreachable(
            "the owner of this instance was lost, and there is no other yet; send the Command again, with the same id"
        )
    return NotReady("nobody owns the partition of this instance just now; send the Command again, with the same id")


def _repeats(commands: Sequence[Command], place: int) -> bool:
    """Tell whether one before this place is the same Command."""
    asked = commands[place]
    return any(each.id == asked.id and each.key == asked.key for each in commands[:place])
