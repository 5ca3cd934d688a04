"""The owner of one partition: takes Commands in, runs batches of turns, commits, tells (design §6).

Commands of one instance run in the order of acceptance, in one batch at a time; an instance whose head waits (a retry, a function
that is down, an operator) holds back only itself. An instance is free again as soon as its batch is settled: the next batch builds
on states that are not durable yet, and commits after it. So nothing is told before its own commit, and a failed commit fails all
that follow.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count, takewhile
from math import ceil
from typing import cast

from evento.clock import Clock
from evento.engine.callers import Callers
from evento.engine.folding import Folding
from evento.engine.inbound import Inbound, Source
from evento.engine.observer import Observer
from evento.engine.queues import Instance, Lane, Queues
from evento.engine.ticket import Entry, Origin, Ticket, Waiter
from evento.engine.turns import Batch, Execution, Known, id_reused
from evento.engine.unfinished import Limits, Unfinished
from evento.errors import EventoError, InvalidRequest, JournalRewind, NotReady, Overloaded
from evento.journal.base import Partition
from evento.lifecycle.run import Progress
from evento.lifecycle.settle import Settled, pending_of, settle
from evento.model.command import Command, Outcome, OutcomeKind, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Conflict, Run, Transition
from evento.registry.catalog import Catalog

_US = 1_000_000
_SMALL_BATCH = 32  # Commands; to make smaller ones of them costs more than it gains
_CALL_S = 0.1  # for so long a function may work on what came as records; then it is time for others
_POLL_S = 0.005  # how often a drain or a discard looks whether what it waits for is over
_DISCARD_WAIT_S = 5.0
_RESUME_RETRY_S = 60.0
_HAND_OVER_S = 3.0  # to finish what is under way before the partition is given up
_LOOK_AGAIN_S = 60.0  # a scheduled Command goes by the wall clock, which may be set meanwhile


class _Revoked(Exception):
    pass


class Worker:
    """Runs one partition: `run` is its task, everything else is called from the same event loop."""

    def __init__(
        self,
        partition: Partition,
        folding: Folding,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        limits: Limits,
        observer: Observer,
        inbound: Inbound | None = None,
        partitions: int = 1,
    ) -> None:
        self._partition = partition
        self._inbound = inbound
        self._folding = folding
        self._clock = clock
        self._jitter = jitter
        self._limits = limits
        self._observer = observer
        self._wake = asyncio.Event()
        self._queues = Queues(
            self._wake.set,
            batch_bytes=limits.batch_bytes,
            cached_instances=limits.cached_instances,
            cached_bytes=limits.cached_bytes,
        )
        self._execution: Execution | None = None
        self.unfinished = Unfinished(limits)
        self._to_store: list[Ticket] = []
        self._storing = False  # one at a time: what is stored later must not be durable earlier
        self._partitions = partitions
        self._numbers = count()
        self._executing: Counter[Lane] = Counter()
        self._under_way: Counter[Lane] = Counter()  # executing or committing
        self._last_size: Counter[Lane] = Counter()  # of the last batch, in instances
        self._committing = 0
        self._open = False
        self._draining = False
        self.taken_up = asyncio.Event()  # set once Commands are taken, or never will be

    # ------------------------------------------------------------ life
    async def run(self) -> None:
        """Take up the partition's pending Commands, then work until cancelled, or until the partition is to be given up.

        Raises JournalRewind when a new worker should take over by reading again, any other error when the process must not go on.
        Either way all who wait are told to ask again with the same id.
        """
        try:
            await self._take_up()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_ownership())
                if self._inbound is not None:
                    tasks.create_task(self._inbound.run(self))
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    self._start_work(tasks)
        except BaseExceptionGroup as group:
            if group.split(_Revoked)[1] is None:
                return
            if group.split((JournalRewind, _Revoked))[1] is None:
                raise JournalRewind("the partition must be read again") from group
            raise
        finally:
            self._abandon()

    async def _watch_ownership(self) -> None:
        await self._partition.wait_revoked()
        await self.drain(_HAND_OVER_S)
        raise _Revoked

    def _start_work(self, tasks: asyncio.TaskGroup) -> None:
        if self._execution is None:
            return  # what is pending waits for the catalog
        if self._to_store and not self._storing:
            self._storing = True
            tickets, self._to_store = self._to_store, []
            tasks.create_task(self._store(tickets))
        if self._inbound is not None and self._inbound.refused:
            tasks.create_task(self._commit(Transition()))
        limits = self._limits
        for lane in self._queues.lanes():
            batches = max(limits.batches, self._execution.calls_max(lane[0], lane[1]))
            while self._executing[lane] < batches and self._committing < limits.commits:
                if self._under_way[lane] and 2 * self._queues.count(lane) < self._last_size[lane]:
                    break  # a small batch beside a large one is dear; when that one is through, more will have come
                # A share of what is under way: if all went together, each stage would wait for the one before it.
                share = max(_SMALL_BATCH, ceil(len(self.unfinished) / limits.batches))
                commands = min(share, self._batch_max(lane))
                if batches > limits.batches:  # a function with many replicas: a share for each call that it can take
                    commands = min(commands, ceil(self._queues.count(lane) / (batches - self._executing[lane])))
                batch = self._queues.take(lane, commands=commands, of_one=limits.run_commands)
                if not batch:
                    break
                self._executing[lane] += 1
                self._under_way[lane] += 1
                self._last_size[lane] = len(batch)
                tasks.create_task(self._process(lane, batch))

    def _batch_max(self, lane: Lane) -> int:
        """Return how many Commands go together at most: more where they came as records, as far as the function is fast."""
        usual, most = self._limits.batch_commands, self._limits.input_batch_commands
        if self._execution is None or not self._queues.has_inputs(lane):
            return usual
        return max(usual, min(most, int(self._execution.pace(lane[0], lane[1]) * _CALL_S)))

    def configure(self, catalog: Catalog, callers: Callers) -> None:
        """Use this catalog and these functions from the next batch on, and try at once what failed with the old ones."""
        self._execution = Execution(catalog, callers, self._partition, self._folding)
        self._queues.use_handlers(self._execution.handler_of)
        self._queues.release_all()
        self.unfinished.room.set()

    @property
    def open(self) -> bool:
        """Tell whether Commands are taken, once something is deployed."""
        return self._open and not self._draining

    @property
    def intake_stopped(self) -> str | None:
        """Tell why no more records are taken in; "" if they are, None if there can be none."""
        return None if self._inbound is None else self._inbound.stopped

    async def drain(self, timeout_s: float) -> None:
        """Take no more Commands, and finish what can be finished within `timeout_s`."""
        self._draining = True
        self._queues.leave_inputs()
        self.unfinished.room.set()
        try:
            async with asyncio.timeout(timeout_s):
                while any(self._executing.values()) or self._committing or self._queues or self._to_store or self._storing:
                    await self._clock.sleep(_POLL_S)
        except TimeoutError:
            return

    async def _take_up(self) -> None:
        highest = now_us = self._clock.now_us()
        for entry in await self._partition.read_pending():
            ticket = Ticket(entry.command, entry.number)
            ticket.attempts, ticket.due_us, ticket.parked = entry.attempts, entry.due_us, entry.parked
            ticket.failure = entry.failure
            if entry.attempts and entry.due_us is not None:
                # A retry never waits longer than this after a start, whatever the wall clock said when it failed.
                ticket.due_us = min(entry.due_us, now_us + int(_RESUME_RETRY_S * _US))
                ticket.set_waiting(now_us, asyncio.get_running_loop().time())
            ticket.stored = ticket.checked = ticket.done = True
            highest = max(highest, entry.number)
            self.unfinished.take_up(ticket)
            self._line_up(ticket)
        # No two partitions of a deployment give the same number, so that a list of all of them can be read page by page.
        first = highest + 1
        self._numbers = count(first + (self._partition.number - first) % self._partitions, self._partitions)
        self._open = True
        self.taken_up.set()

    def _abandon(self) -> None:
        self._open = False
        self.taken_up.set()
        self._queues.cancel_timers()
        for ticket in self.unfinished.clear():
            ticket.settled = True
            ticket.tell(NotReady("Evento stopped before this Command was finished. Send it again, with the same id"))

    # ------------------------------------------------------------ intake
    async def wait_room(self) -> None:
        """Wait until there is room for another Command, or the worker closes."""
        while self.open and not self.unfinished.has_room():
            await self.unfinished.wait_change()

    def accept(self, command: Command, waiter: Waiter, place: int = 0, *, eager: bool, new: bool = False) -> Ticket:
        """Take a Command in; `waiter` hears once what became of it. An eager one is content with pending, once that is durable.
        A `new` one cannot be known already, and is not looked for.

        Raises NotReady, Overloaded, or IdReused when the same id is under way with other content.
        """
        first = self._find_same(command, new=new)
        if first is not None:
            first.join(waiter, place, eager)
            return first
        if not self.unfinished.has_room():
            raise Overloaded(retry_after_s=1)
        ticket = Ticket(command, next(self._numbers), waiter, place, eager)
        ticket.checked = new
        self._take_in(ticket)
        return ticket

    def accept_input(self, command: Command, source: Source, place: int) -> Origin:
        """See `evento.engine.inbound.Intake`."""
        first = self._find_same(command)
        if first is not None:
            entry = Entry(place, command.key, command.id)
            first.join(source, place, eager=False)
            first.add_origin(entry)
            return entry
        ticket = Ticket(command, next(self._numbers), source, place)
        ticket.is_input = True
        self._take_in(ticket)
        return ticket

    def _find_same(self, command: Command, *, new: bool = False) -> Ticket | None:
        """Return the ticket of the same Command, if it is under way. Raises NotReady, IdReused."""
        if not self._open or self._draining or self._execution is None:
            raise NotReady()
        first = None if new else self.unfinished.find(command.key, command.id)
        if first is not None and not self._execution.same_content(command, first.command):
            raise id_reused(first.command)
        return first

    def _take_in(self, ticket: Ticket) -> None:
        self.unfinished.add(ticket)
        ticket.due_us = ticket.command.due_us
        self._line_up(ticket)

    def has_input_room(self) -> bool:
        """See `evento.engine.inbound.Intake`."""
        return self.open and self._execution is not None and self.unfinished.has_room_for_inputs()

    async def wait_input_room(self) -> None:
        """See `evento.engine.inbound.Intake`."""
        while not self.has_input_room():
            await self.unfinished.wait_change()

    def tell_refusals(self) -> None:
        """See `evento.engine.inbound.Intake`."""
        self._wake.set()

    def hurry(self, ticket: Ticket, waiter: Waiter) -> None:
        """Make this waiter eager and its Command durable: the answer comes without waiting for the turn."""
        ticket.hurry(waiter)
        if ticket.durable:
            ticket.tell_unfinished()
        else:
            self._queues.instance(ticket.command.key).loose = True
            self._schedule_storing(ticket)

    def _line_up(self, ticket: Ticket) -> None:
        """Put a ticket into its instance's queue, or on the clock if it is scheduled for later."""
        if ticket.due_us is not None and not ticket.attempts:
            delay_s = (ticket.due_us - self._clock.now_us()) / _US
            if delay_s > 0:
                self._schedule_storing(ticket)
                asyncio.get_running_loop().call_later(min(delay_s, _LOOK_AGAIN_S), self._due, ticket)
                return
            ticket.due_us = None
        instance = self._queues.push(ticket)
        instance.loose = instance.loose or ticket.stored or ticket.to_store
        if instance.timer is not None and not ticket.stored and not _kept_elsewhere(ticket, instance):
            self._store_queue(instance)  # what may wait long must not live in memory alone

    def _due(self, ticket: Ticket) -> None:
        if self.unfinished.holds(ticket) and ticket.due_us is not None:
            self._line_up(ticket)

    # ------------------------------------------------------------ storing what cannot be finished now
    def _store_queue(self, instance: Instance) -> None:
        """Store all of a waiting queue: were one durable before those ahead of it, it would overtake them after a crash."""
        unstored: Iterable[Ticket] = instance.queue
        if not instance.loose:  # what is stored stands ahead of what is not
            unstored = reversed(list(takewhile(lambda ticket: not (ticket.stored or ticket.to_store), reversed(instance.queue))))
        instance.loose = False
        for ticket in unstored:
            self._schedule_storing(ticket)

    def _schedule_storing(self, ticket: Ticket) -> None:
        if not (ticket.stored or ticket.to_store or ticket.settled):
            ticket.to_store = True
            self._to_store.append(ticket)
            self._wake.set()

    async def _store(self, tickets: Sequence[Ticket]) -> None:
        assert self._execution is not None  # noqa: S101 - accept refuses without it
        known = await self._execution.find_known([ticket for ticket in tickets if not ticket.checked and not ticket.stored])
        for ticket, _ in known:
            self._drop(ticket)
        _mark_known(known)
        self._tell_known(known)
        tickets = [ticket for ticket in tickets if not (ticket.stored or ticket.settled)]
        # From here to the append nothing is awaited: a settlement sees either no entry at all, or one that is ahead of it.
        for ticket in tickets:
            ticket.stored = ticket.storing = True
            ticket.to_store = False
            ticket.mark_kept()
        await self._commit(Transition(pending=tuple(pending_of(ticket) for ticket in tickets)))
        self._storing = False
        self._wake.set()
        for ticket in tickets:
            ticket.storing = False
            self.unfinished.leave_inbox(ticket)
            if not ticket.settled:
                ticket.tell_unfinished()

    def _drop(self, ticket: Ticket) -> None:
        """Take a ticket out of its queue, where it still may be."""
        ticket.settled = True
        queue = self._queues.instance(ticket.command.key).queue
        if ticket in queue:
            queue.remove(ticket)

    # ------------------------------------------------------------ a batch
    async def _process(self, lane: Lane, batch: Batch) -> None:
        assert self._execution is not None  # noqa: S101 - accept refuses without it
        execution = self._execution
        executed = await execution.execute(batch, self._clock.now_us())
        settled = settle(executed.runs, now_us=self._clock.now_us(), jitter=self._jitter, refolded=executed.refolded)
        self._advance(execution, batch, executed.runs)
        _mark_known(executed.known)
        self._executing[lane] -= 1
        self._committing += 1
        self._wake.set()
        commit_s = await self._commit(settled.transition)
        self._committing -= 1
        self._under_way[lane] -= 1
        for instance, _ in batch:
            instance.commits -= 1
        self._tell_known(executed.known)
        turns = self._tell(executed.runs, settled)
        self._observer.committed(turns, commit_s, self._clock.now_us())
        self._queues.evict()
        self._wake.set()

    def _advance(self, execution: Execution, batch: Batch, runs: Sequence[Progress]) -> None:
        """Let the instances go on from the settled states; unfinished tickets return to the front of their queues."""
        in_order = iter(runs)
        for instance, tickets in batch:
            instance.busy = False
            instance.commits += 1
            if not tickets:
                self._queues.offer(instance)
                continue
            run = next(in_order)  # there is one for each instance that has tickets, in the same order
            for ticket in tickets if run.failure is None else tickets[: run.done]:
                ticket.settled = ticket.done = True
                if ticket.origins is not None:
                    ticket.mark_kept()
            self._queues.keep(instance, run.state_after())
            if run.failure is None:
                if instance.queue:
                    self._queues.offer(instance)
                continue
            instance.queue[:0] = tickets[run.done :]
            if run.counted:
                tickets[run.done].mark_storing()
                tickets[run.done].mark_kept()
                tickets[run.done].set_waiting(self._clock.now_us(), asyncio.get_running_loop().time())
                self._observer.failed(run)
                self._queues.offer(instance)
                for ticket in instance.queue:
                    self._schedule_storing(ticket)
            else:
                self._queues.block(instance, execution.delay_s(run))

    async def _commit(self, transition: Transition) -> float:
        if self._inbound is not None:
            transition = self._inbound.completed(transition)
        if transition.is_empty():
            return 0.0
        loop = asyncio.get_running_loop()
        started = loop.time()
        result = await self._partition.append(transition)
        if isinstance(result, Conflict):
            raise JournalRewind(f"{result.key} is at version {result.actual}, not {result.before}: somebody else wrote")
        return loop.time() - started

    def _tell(self, runs: Sequence[Progress], settled: Settled) -> Sequence[Turn]:
        """Tell what has ended and what is to be tried again, and return the turns."""
        finished: list[Ticket] = []
        turns: list[Turn] = []
        for run in runs:
            finished += cast("Sequence[Ticket]", run.works[: len(run.turns)])
            turns += run.turns
        self.unfinished.remove(finished)
        for ticket, turn in zip(finished, turns, strict=True):
            if not ticket.is_input or ticket.others is not None:  # to records it is told by its commit
                ticket.tell(Outcome(turn.kind, turn))
        for run in settled.failed:
            ticket = cast("Ticket", run.works[run.done])
            ticket.storing = False
            self.unfinished.leave_inbox(ticket)
            ticket.tell_unfinished()
        return turns

    def _tell_known(self, known: Sequence[Known]) -> None:
        for ticket, turn in known:
            self._finish(ticket, turn if isinstance(turn, EventoError) else Outcome(turn.kind, turn, duplicate=True))

    def _finish(self, ticket: Ticket, answer: Outcome | EventoError) -> None:
        self.unfinished.remove((ticket,))
        ticket.settled = True
        ticket.tell(answer)

    # ------------------------------------------------------------ operators
    async def retry(self, key: EntityKey, command_id: str) -> None:
        """Try a waiting or parked Command now. Raises NotFound."""
        ticket = self.unfinished.find_or_raise(key, command_id)
        if ticket.settled:
            return  # its turn is over, and on its way into the journal
        scheduled = ticket.due_us is not None and not ticket.attempts
        ticket.parked, ticket.due_us = False, None
        if ticket.durable:
            await self._commit(Transition(pending=(pending_of(ticket),)))
        instance = self._queues.instance(key)
        if scheduled and ticket not in instance.queue:
            self._line_up(ticket)
        elif instance.queue and instance.queue[0] is ticket and not instance.busy:
            self._queues.release(instance)

    async def discard(self, key: EntityKey, command_id: str) -> None:
        """End an unfinished Command without an event. Raises NotFound, InvalidRequest when its turn takes too long just now."""
        ticket = self.unfinished.find_or_raise(key, command_id)
        instance = self._queues.instance(key)
        try:
            async with asyncio.timeout(_DISCARD_WAIT_S):
                while instance.busy or not ticket.durable:
                    await self._clock.sleep(_POLL_S)
        except TimeoutError as error:
            raise InvalidRequest(f"{command_id} is being executed just now; try again") from error
        if self.unfinished.find_or_raise(key, command_id).settled:
            raise InvalidRequest(f"{command_id} is finished just now; ask for its outcome")
        instance.busy = True
        try:
            await self._discard(instance, ticket)
        finally:
            instance.busy = False
        self._queues.release(instance)

    async def _discard(self, instance: Instance, ticket: Ticket) -> None:
        if instance.state is None:
            instance.state = (await self._partition.read_states([instance.key])).get(instance.key)
        version = instance.state.version if instance.state else 0
        turn = Turn(ticket.command, OutcomeKind.DISCARDED, version, (), self._clock.now_us(), "", ticket.attempts, ticket.failure)
        self._drop(ticket)
        await self._commit(Transition(runs=(Run(instance.key, version, (turn,), None),), resolved=(ticket.number,)))
        self._finish(ticket, Outcome(turn.kind, turn))
        self._observer.committed((turn,), 0.0, self._clock.now_us())


def _kept_elsewhere(ticket: Ticket, instance: Instance) -> bool:
    """Tell whether a waiting ticket need not be stored: it is where it came from, and waits for a function that is down, so that
    there may be very many of its kind. What waits behind a Command that failed is stored, or nothing after it could be let go."""
    head = instance.queue[0]
    return (ticket.is_input or ticket.origins is not None) and not (head.attempts or head.parked)


def _mark_known(known: Sequence[Known]) -> None:
    for ticket, answer in known:
        if not isinstance(answer, EventoError):  # a refusal is told by a commit of its own
            ticket.mark_kept()
