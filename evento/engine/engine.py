"""The engine as a whole: a worker per owned partition, replaced when it must read again, and the way in for Commands."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from evento.clock import Clock
from evento.engine.callers import Callers
from evento.engine.folding import Folding
from evento.engine.inbound import Inbound
from evento.engine.judging import Judging
from evento.engine.observer import Observer
from evento.engine.owners import Owners
from evento.engine.stream_order import Chunk, StreamOrder
from evento.engine.ticket import Answer, Ticket, Waiter
from evento.engine.unfinished import Limits, shared
from evento.engine.waiting import Patience, Waiting
from evento.engine.worker import Worker
from evento.errors import EventoError, JournalRewind, NotReady, Overloaded, VersionConflict
from evento.journal.base import Journal, Partition
from evento.model.command import Command, NewCommand, Outcome, OutcomeKind, Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Transition
from evento.registry.catalog import Catalog

logger = logging.getLogger(__name__)

_OPEN_POLL_S = 0.01
_REWIND_DELAY_S = 0.1  # before a partition is read again, so that a journal that keeps failing is not hammered


async def _nothing_newer() -> None:
    """Stand for asking whether there is a newer catalog, where only this node deploys."""


def _nothing_to_do() -> None:
    """Stand for whoever wants to know that a partition came."""


class Engine:
    """Runs every partition of a journal. Implements `evento.engine.base.Commands`."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        limits: Limits | None = None,
        observer: Observer | None = None,
        refresh: Callable[[], Awaitable[None]] = _nothing_newer,
    ) -> None:
        """`refresh` looks whether another node has deployed something, and puts it in force."""
        self._journal = journal
        self._clock = clock
        self._jitter = jitter
        self._limits = shared(limits or Limits(), journal.partitions)
        self._observer = observer or Observer()
        self.folding = Folding(journal.history)
        self._workers: dict[int, tuple[Worker, Partition]] = {}
        self.on_owned: Callable[[], None] = _nothing_to_do  # called for each partition that comes to this node
        self._configuration: tuple[Catalog, Callers] | None = None
        self.owners = Owners(journal, clock, lambda: self.all_here)
        self.judging = Judging(lambda: self.configuration[0], refresh)
        self._in_order = asyncio.Lock()
        self._patience = Patience()
        self._stopping = False

    # ------------------------------------------------------------ life
    @asynccontextmanager
    async def running(self, *, drain_s: float = 10.0) -> AsyncIterator[None]:
        """Run all partitions that are given to this node for the time of the context; leaving it drains them, `drain_s` at most.

        They open by and by: `wait_open`. If one fails for good (JournalError), the context is cancelled and raises.
        """
        self._stopping = False
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._run_partition(number)) for number in range(self._journal.partitions)]
            running.append(tasks.create_task(self.owners.run()))
            try:
                yield
                async with asyncio.TaskGroup() as drains:
                    for worker, _ in self._workers.values():
                        drains.create_task(worker.drain(drain_s))
            finally:
                self._stopping = True
                for task in running:
                    task.cancel()

    async def _run_partition(self, number: int) -> None:
        # A worker that ends by itself while it is cancelled ends as if it were not: its task group tells of one of the two only.
        while not self._stopping:
            try:
                async with self._journal.own(number) as owned:
                    await self._work(number, owned)
            except JournalRewind as error:
                logger.warning("partition %d is read again: %s", number, error.__cause__ or error)
            await self._clock.sleep(_REWIND_DELAY_S)

    async def _work(self, number: int, owned: Partition) -> None:
        inbound = None
        if owned.inputs is not None:
            inbound = Inbound(owned.inputs, self.judging.judge_input, self._clock.now_us)
        worker = Worker(
            owned,
            self.folding,
            self._clock,
            self._jitter,
            limits=self._limits,
            observer=self._observer,
            inbound=inbound,
            partitions=self._journal.partitions,
        )
        self._workers[number] = (worker, owned)
        if self._configuration is not None:
            worker.configure(*self._configuration)
            self.on_owned()
        try:
            await worker.run()
        finally:
            del self._workers[number]

    async def wait_open(self) -> None:
        """Return when each partition takes Commands, here or with another node."""
        while not self.open:
            await self._clock.sleep(_OPEN_POLL_S)

    def configure(self, catalog: Catalog, callers: Callers) -> None:
        """Use this catalog and these functions from the next batch on. Commands are taken from the first call on."""
        self._configuration = (catalog, callers)
        for worker, _ in self._workers.values():
            worker.configure(catalog, callers)

    @property
    def configuration(self) -> tuple[Catalog, Callers]:
        """Return the catalog and functions in use. Raises NotReady before the first deployment."""
        if self._configuration is None:
            raise NotReady("nothing is deployed yet")
        return self._configuration

    @property
    def open(self) -> bool:
        """Tell whether every partition takes Commands: here, or with the node that owns it."""
        return (self.all_here or not self.ownerless) and all(worker.open for worker, _ in self._workers.values())

    @property
    def here(self) -> frozenset[int]:
        """Return the partitions that this node owns."""
        return frozenset(self._workers)

    @property
    def all_here(self) -> bool:
        """Tell whether this node owns every partition."""
        return len(self._workers) == self._journal.partitions

    @property
    def ownerless(self) -> int:
        """Return how many partitions no node owns, as far as is known."""
        others = self.owners.partitions
        return sum(number not in self._workers and number not in others for number in range(self._journal.partitions))

    def count_partitions(self) -> int:
        """Return how many partitions this node owns."""
        return len(self._workers)

    def owner(self, key: EntityKey) -> str | None:
        """Return the address of the other node that an instance is with; None if it is here, or nobody knows."""
        number = self._journal.partition_of(key)
        return None if number in self._workers else self.owners.of(number)

    def worker(self, number: int) -> Worker | None:
        """Return who works on a partition here; None if it is not this node's, or not just now."""
        place = self._workers.get(number)
        return None if place is None else place[0]

    def partition(self, key: EntityKey) -> Partition:
        """Return the partition an instance belongs to. Raises NotReady if it is not owned here, or not just now."""
        return self._place(key)[1]

    async def read_states(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, State]:
        """Return the durable states of instances of one partition."""
        return await self.partition(keys[0]).read_states(keys) if keys else {}

    async def store_states(self, states: Sequence[tuple[EntityKey, State]]) -> None:
        """Store states folded anew, each where its instance has not moved on."""
        by_partition: dict[int, list[tuple[EntityKey, State]]] = {}
        for key, state in states:
            by_partition.setdefault(self._journal.partition_of(key), []).append((key, state))
        for found in by_partition.values():
            await self.partition(found[0][0]).append(Transition(states=tuple(found)))

    # ------------------------------------------------------------ Commands
    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        """See `evento.engine.base.Commands.send`."""
        one = _One(asyncio.get_running_loop())
        waiting = self.take_in(self._worker(command.key), command, one, wait_s=wait_s)
        try:
            answer = await one.future
        finally:
            waiting.stop()
        if isinstance(answer, EventoError):
            raise answer
        return answer

    def submit(self, command: Command, waiter: Waiter, *, wait_s: float) -> None:
        """See `evento.engine.base.Commands.submit`."""
        self._take_in(self._worker(command.key), command, Waiting(waiter, _final), wait_s, new=type(command) is NewCommand)

    def take_in(self, worker: Worker, command: Command, waiter: Waiter, *, wait_s: float, eager: bool = False) -> Waiting:
        """Give a Command to the worker of its partition, perhaps not for the first time. An eager waiter is content with pending,
        once that is durable.

        Raises what `submit` raises.
        """
        waiting = Waiting(waiter, _final)
        self._take_in(worker, command, waiting, wait_s, eager=eager)
        return waiting

    def _take_in(
        self, worker: Worker, command: Command, waiting: Waiting, wait_s: float, *, eager: bool = False, new: bool = False
    ) -> None:
        self._patience.limit(waiting, worker, worker.accept(command, waiting, eager=eager, new=new), wait_s=wait_s)

    async def send_many(
        self, commands: Sequence[Command], *, wait_s: float, order: StreamOrder | None = None
    ) -> Sequence[Outcome | EventoError]:
        """See `evento.engine.base.Commands.send_many`."""
        order = order or StreamOrder()
        broken, waiter = order.broken, Chunk(commands, order)
        accepted: list[tuple[Worker, Ticket]] = []
        async with self._in_order:  # calls that wait for room must not overtake each other
            for place, command in enumerate(commands):
                if broken and (objection := order.objection(command)) is not None:
                    waiter.tell(place, objection)
                    continue
                try:
                    worker = self._worker(command.key)
                    try:
                        ticket = worker.accept(command, waiter, place, eager=True, new=type(command) is NewCommand)
                    except Overloaded:
                        ticket = await _accept_when_room(worker, command, waiter, place)
                    accepted.append((worker, ticket))
                except EventoError as error:
                    waiter.tell(place, error)
        timer = asyncio.get_running_loop().call_later(wait_s, _hurry_all, accepted, waiter)
        try:
            await waiter.finished.wait()
        finally:
            timer.cancel()
        return [_final(answer) for answer in waiter.answers]

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        """See `evento.engine.base.Commands.pending`."""
        return self.pending_in(self._workers, parked=parked, after=after, limit=limit)

    def pending_in(self, partitions: Collection[int], *, parked: bool | None, after: int, limit: int) -> Sequence[Pending]:
        """Return what is pending in these partitions, as far as they are here."""
        workers = (worker for number, (worker, _) in self._workers.items() if number in partitions)
        everything = (entry for worker in workers for entry in worker.unfinished.pending())
        entries = [entry for entry in everything if entry.number > after and parked in (None, entry.parked)]
        return sorted(entries, key=lambda entry: entry.number)[:limit]

    def count_pending(self) -> tuple[int, int]:
        """Return how many Commands are pending, and how many of them parked."""
        counts = [worker.unfinished.count_pending() for worker, _ in self._workers.values()]
        return sum(count for count, _ in counts), sum(parked for _, parked in counts)

    def count_inbox(self) -> int:
        """Return how many Commands are in memory only."""
        return sum(worker.unfinished.inbox_commands for worker, _ in self._workers.values())

    def stopped_intakes(self) -> Mapping[int, str]:
        """Return why the intake of records stopped, "" where it goes on, for each partition here that has one."""
        found = ((number, worker.intake_stopped) for number, (worker, _) in self._workers.items())
        return {number: why for number, why in found if why is not None}

    async def retry(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.retry`."""
        await self._worker(key).retry(key, command_id)

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """See `evento.engine.base.Commands.discard`."""
        await self._worker(key).discard(key, command_id)

    def unfinished(self, key: EntityKey, command_id: str) -> Outcome | None:
        """Return the outcome of a durable Command that is not finished."""
        ticket = self._worker(key).unfinished.find(key, command_id)
        return ticket.pending() if ticket is not None and ticket.durable else None

    def _worker(self, key: EntityKey) -> Worker:
        return self._place(key)[0]

    def _place(self, key: EntityKey) -> tuple[Worker, Partition]:
        place = self._workers.get(self._journal.partition_of(key))
        if place is None:
            raise NotReady("the partition of this instance is not ready; send the Command again, with the same id")
        return place


class _One:
    """Waits for the answer to one Command."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[Answer] = loop.create_future()

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer, unless nobody waits any more."""
        if not self.future.done():
            self.future.set_result(answer)


_CONFLICT = OutcomeKind.CONFLICT


async def _accept_when_room(worker: Worker, command: Command, waiter: Waiter, place: int) -> Ticket:
    while True:
        await worker.wait_room()
        with suppress(Overloaded):  # those who do not wait may have been quicker
            return worker.accept(command, waiter, place, eager=True)


def _hurry_all(accepted: Sequence[tuple[Worker, Ticket]], waiter: Waiter) -> None:
    for worker, ticket in accepted:
        worker.hurry(ticket, waiter)


def _final(answer: Answer) -> Answer:
    """Turn the outcome of an unmet expected version into the error that a sender hears."""
    if isinstance(answer, EventoError) or answer.kind is not _CONFLICT or answer.turn is None:
        return answer
    turn = answer.turn
    return VersionConflict(
        f"{turn.command.key} is at version {turn.before}, not {turn.command.expected}",
        command_id=turn.command.id,
        expected=turn.command.expected,
        version=turn.before,
    )
