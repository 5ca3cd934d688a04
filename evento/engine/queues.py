"""The instances of one partition in memory: a queue each, which of them may be taken, and the cache of their states.

Instances that may be taken stand in lanes, one per function and one more for what that function failed before: a function that is
slow or hangs holds back only its own, and a Command that makes it hang only others like it. Does no I/O and knows neither journal
nor functions; waiting is the event loop's `call_later`.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum

from evento.engine.ticket import Ticket
from evento.errors import FunctionCrashed, FunctionOutOfMemory, FunctionTimeout, InvalidFunctionResult
from evento.model.command import State
from evento.model.keys import EntityKey

_INPUTS_EVERY = 4
_EVICT_LOOKS = 2000  # instances looked at per eviction, so that it never holds the event loop for long
_INSTANCE_BYTES = 500  # what an instance in memory costs besides its payload, roughly
_TYPICAL_BYTES = 32 * 1024  # what one is taken to cost that is not in memory, until others of its Entity were seen
_TYPICAL_SHARE = 4  # each that is seen moves that by a sixteenth, as a shift


class Suspicion(IntEnum):
    """What the head of a queue did before: nothing bad; failed alone; or took a whole call with it, so it is tried alone."""

    NONE = 0
    FAILED = 1
    SPOILED_A_CALL = 2


# Namespace, function that handles the head of the queue, and what is held against that head.
Lane = tuple[str, str, Suspicion]
_SPOILING = frozenset((FunctionCrashed.code, FunctionOutOfMemory.code, FunctionTimeout.code, InvalidFunctionResult.code))


class Instance:
    """What the engine keeps in memory of one instance.

    `state` may be ahead of what is durable: as long as `commits` are under way it must not be dropped, and nobody is told of it.
    """

    __slots__ = ("busy", "commits", "key", "listed", "loose", "queue", "state", "timer", "weight")

    def __init__(self, key: EntityKey) -> None:
        self.key = key
        self.queue: list[Ticket] = []  # a deque would take ten times the memory, and most are empty
        self.state: State | None = None
        self.weight = 0  # bytes counted for it
        self.busy = False  # in a batch
        self.listed = False  # among those that may be taken
        self.loose = False  # a Command in its queue may be stored though one ahead of it is not
        self.commits = 0
        self.timer: Callable[[], None] | None = None  # set while its queue must wait; cancels the waiting

    @property
    def idle(self) -> bool:
        """Tell whether only a cached state would be lost if this were dropped."""
        return not (self.busy or self.listed or self.commits or self.queue or self.timer)


class Line:
    """The instances of a lane that may be taken, in order. Those whose head came as a record, for whose answer nobody waits, stand
    apart (`inputs`): the others (`direct`) overtake them, but for one in _INPUTS_EVERY.
    """

    __slots__ = ("direct", "inputs", "turn")

    def __init__(self) -> None:
        self.direct: deque[Instance] = deque()
        self.inputs: deque[Instance] = deque()
        self.turn = 0  # how often there was a choice

    def __len__(self) -> int:
        return len(self.direct) + len(self.inputs)


class Queues:
    """All instances that have work, and as many more as the cache holds."""

    def __init__(self, wake: Callable[[], None], *, batch_bytes: int, cached_instances: int, cached_bytes: int) -> None:
        """`batch_bytes`: of payloads and states in one batch, until one more instance goes over it."""
        self._wake = wake
        self._batch_bytes = batch_bytes
        self._typical_bytes: dict[tuple[str, ...], int] = {}  # by Entity
        self._cached_instances = cached_instances
        self._cached_bytes = cached_bytes
        self._instances: OrderedDict[EntityKey, Instance] = OrderedDict()
        self._ready: dict[Lane, Line] = {}
        self._usual: dict[tuple[str, str, str], Line] = {}  # where Commands of a type stand that did not fail before
        self._handlers: Callable[[Ticket], str] = _no_handler
        self._bytes = 0

    def __bool__(self) -> bool:
        return any(self._ready.values())

    def lanes(self) -> list[Lane]:
        """Return the lanes in which somebody waits to be taken."""
        return [lane for lane, ready in self._ready.items() if ready]

    def count(self, lane: Lane) -> int:
        """Return how many instances wait in a lane."""
        return len(self._ready[lane])

    def has_inputs(self, lane: Lane) -> bool:
        """Tell whether there is one in a lane whose head came as a record."""
        return bool(self._ready[lane].inputs)

    def leave_inputs(self) -> None:
        """Let nobody be taken any more whose head came as a record: who is done with so much leaves that to the next."""
        for ready in self._ready.values():
            ready.inputs.clear()

    def use_handlers(self, handlers: Callable[[Ticket], str]) -> None:
        """Put instances into the lanes of these functions from now on."""
        self._handlers = handlers
        self._usual.clear()

    def instance(self, key: EntityKey) -> Instance:
        """Return the instance, new and empty if it is not in memory."""
        instance = self._instances.get(key)
        if instance is None:
            instance = self._instances[key] = Instance(key)
        return instance

    def waiting(self) -> Iterator[Instance]:
        """Return the instances that have a queue."""
        return (instance for instance in self._instances.values() if instance.queue)

    # ------------------------------------------------------------ queues
    def push(self, ticket: Ticket) -> Instance:
        """Put a ticket at the end of its instance's queue."""
        key = ticket.command.key
        instance = self._instances.get(key) or self.instance(key)
        instance.queue.append(ticket)
        if not instance.listed:
            self.offer(instance)
        return instance

    def offer(self, instance: Instance) -> None:
        """List the instance if it may be taken: not busy, not listed, and its head need not wait."""
        if instance.busy or instance.listed or instance.timer is not None or not instance.queue:
            return
        head = instance.queue[0]
        if head.parked:
            instance.timer = _nothing
            return
        if head.due_us is not None:
            delay_s = head.not_before_s - asyncio.get_running_loop().time()
            if delay_s > 0:
                self.block(instance, delay_s)
                return
            head.due_us = None
        instance.listed = True
        namespace, entity, _ = instance.key
        ready = self._usual.get((namespace, entity, head.command.type))
        if ready is None or head.attempts:
            ready = self._lane_of(head)
        (ready.inputs if head.is_input else ready.direct).append(instance)
        self._wake()

    def _lane_of(self, head: Ticket) -> Line:
        namespace, entity, _ = head.command.key
        ready = self._ready.setdefault((namespace, self._handlers(head), _suspicion(head)), Line())
        if not head.attempts:
            self._usual[namespace, entity, head.command.type] = ready
        return ready

    def block(self, instance: Instance, delay_s: float) -> None:
        """Let the instance's queue wait. The time is up when the timer says so, even if the wall clock was set back meanwhile."""
        instance.timer = asyncio.get_running_loop().call_later(delay_s, self._time_is_up, instance).cancel

    def _time_is_up(self, instance: Instance) -> None:
        if instance.queue:
            instance.queue[0].due_us = None
        self.release(instance)

    def release(self, instance: Instance) -> None:
        """End the instance's waiting."""
        if instance.timer is not None:
            instance.timer()
            instance.timer = None
        self.offer(instance)

    def release_all(self) -> None:
        """Try all that wait for a retry or a function now; what is parked stays so."""
        for instance in list(self.waiting()):
            if instance.timer is not None and not instance.queue[0].parked:
                instance.queue[0].due_us = None
                self.release(instance)

    def cancel_timers(self) -> None:
        """Cancel all waiting, for good."""
        for instance in self._instances.values():
            if instance.timer is not None:
                instance.timer()

    def take(self, lane: Lane, *, commands: int, of_one: int) -> list[tuple[Instance, list[Ticket]]]:
        """Take a batch of up to `commands` from a lane, `of_one` instance at most; the instances are busy then."""
        batch: list[tuple[Instance, list[Ticket]]] = []
        line, room_bytes = self._ready[lane], self._batch_bytes
        direct, inputs = line.direct, line.inputs
        if lane[2] is Suspicion.SPOILED_A_CALL:
            commands = 1
        while (direct or inputs) and commands > 0 and room_bytes > 0:
            if inputs:
                line.turn += 1
                instance = (inputs if not direct or line.turn % _INPUTS_EVERY == 0 else direct).popleft()
            else:
                instance = direct.popleft()
            instance.listed = False
            queue = instance.queue
            if instance.busy or not queue:
                continue
            instance.busy = True
            count = len(queue)
            if count > 1:
                count = _may_go(queue, min(count, commands, of_one))
            if count == len(queue):
                instance.queue, tickets = [], queue
            else:
                tickets = queue[:count]
                del queue[:count]
            commands -= count
            room_bytes -= instance.weight or self._typical_bytes.get(instance.key[:2], _TYPICAL_BYTES)  # it will be in memory
            for ticket in tickets:
                room_bytes -= len(ticket.command.payload)
            batch.append((instance, tickets))
        return batch

    # ------------------------------------------------------------ cache
    def keep(self, instance: Instance, state: State) -> None:
        """Keep the state as that of the instance now, the most recently used."""
        payload = state.payload
        weight = _INSTANCE_BYTES if payload is None else len(payload) + _INSTANCE_BYTES
        self._bytes += weight - instance.weight
        entity = instance.key[:2]
        typical = self._typical_bytes.get(entity, _TYPICAL_BYTES)
        self._typical_bytes[entity] = typical + ((weight - typical) >> _TYPICAL_SHARE)
        instance.state, instance.weight = state, weight
        self._instances.move_to_end(instance.key)

    def evict(self) -> None:
        """Drop idle instances, the least recently used first, until the cache is within its bounds."""
        looks = _EVICT_LOOKS
        while looks and (len(self._instances) > self._cached_instances or self._bytes > self._cached_bytes):
            looks -= 1
            key, instance = self._instances.popitem(last=False)
            if instance.idle:
                self._bytes -= instance.weight
            else:
                self._instances[key] = instance


def _suspicion(head: Ticket) -> Suspicion:
    if not head.attempts or head.failure is None:
        return Suspicion.NONE
    return Suspicion.SPOILED_A_CALL if head.failure.code in _SPOILING else Suspicion.FAILED


def _may_go(queue: Sequence[Ticket], count: int) -> int:
    """Return how many of the first `count` may go: up to one that is parked or waits for its next attempt, wherever it stands."""
    for place in range(1, count):
        if queue[place].parked or queue[place].due_us is not None:
            return place
    return count


def _no_handler(_: Ticket) -> str:
    return ""


def _nothing() -> None:
    """Stand for the timer of a parked queue: only an operator ends its waiting."""
