"""Executing one batch: known Commands found, states loaded, functions called leg by leg, answers checked. Commits nothing."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from evento.engine.callers import Caller, Callers
from evento.engine.checking import Checker
from evento.engine.folding import Folding, Mark
from evento.engine.queues import Instance
from evento.engine.ticket import Ticket
from evento.errors import EventoError, FunctionError, FunctionUnavailable, IdReused
from evento.functions.base import InstanceCall, Item, Operation, Reply
from evento.journal.base import CommandRef, Partition
from evento.lifecycle.run import Answer, Leg, Progress
from evento.model.command import ABSENT, Command, Failure, State, Turn
from evento.model.keys import EntityKey
from evento.model.resources import EntitySpec
from evento.registry.catalog import Catalog

Legs = list[tuple[Progress, Leg]]
Batch = Sequence[tuple[Instance, list[Ticket]]]
Known = tuple[Ticket, Turn | EventoError]

_REVISION_CHANGED = "revision-changed"
_TURN, _APPLY, _HANDLE = Operation.TURN, Operation.APPLY, Operation.HANDLE
_UNAVAILABLE_DELAY_S = 0.05  # until a function that could not be reached is tried again, unless its breaker says later


class Executed(Struct, frozen=True):
    """What became of a batch before it is settled: its runs, the Commands that were known already, the states folded anew."""

    runs: Sequence[Progress]
    known: Sequence[Known]
    refolded: Sequence[tuple[EntityKey, State]]


class Execution:
    """Executes batches against one version of the catalog and its functions: one attempt uses one revision."""

    def __init__(self, catalog: Catalog, callers: Callers, partition: Partition, folding: Folding) -> None:
        self._catalog = catalog
        self._callers = callers
        self._partition = partition
        self._folding = folding
        self._checker = Checker(catalog)

    async def execute(self, batch: Batch, now_us: int) -> Executed:
        """Execute one batch. The tickets found known are taken out of their runs."""
        known = await self._take_out_known(batch)
        await self._load(batch)
        entity, place = None, ("", "")
        runs = []
        for instance, tickets in batch:
            if tickets:
                key = instance.key
                if entity is None or place != (key.namespace, key.entity):
                    entity, place = self._entity(key), (key.namespace, key.entity)
                runs.append(Progress(key, entity, instance.state or ABSENT, tickets, now_us))
        refolded = await self._refold(runs)
        await self._run_legs(runs)
        return Executed(runs, known, refolded)

    def handler_of(self, ticket: Ticket) -> str:
        """Return the name of the function that handles this Command."""
        command = ticket.command
        spec = self._entity(command.key).commands.get(command.type)
        return spec.handle if spec is not None else ""

    def calls_max(self, namespace: str, function: str) -> int:
        """Return how many calls at a time a function is made for; 0 if it does not say."""
        caller = self._callers.get((namespace, function))
        return caller.calls_max if caller is not None else 0

    def pace(self, namespace: str, function: str) -> float:
        """Return how many items a function does in a second, as far as is known: 0 if nothing is."""
        caller = self._callers.get((namespace, function))
        return caller.pace if caller is not None else 0.0

    def delay_s(self, run: Progress) -> float:
        """Return how long a run that could not be tried waits."""
        failure = run.failure
        if failure is None or failure.function is None or failure.code == _REVISION_CHANGED:
            return 0.0
        return max(_UNAVAILABLE_DELAY_S, self._caller(run.entity, failure.function).delay_s())

    # ------------------------------------------------------------ before the functions
    async def _take_out_known(self, batch: Batch) -> list[Known]:
        known = await self.find_known([ticket for _, tickets in batch for ticket in tickets if not ticket.checked])
        for _, tickets in batch:
            for ticket in tickets:
                if ticket.settled:  # found known just now, or by the storing of it while it stood in the queue
                    tickets[:] = [ticket for ticket in tickets if not ticket.settled]
                    break
        return known

    async def find_known(self, tickets: Sequence[Ticket]) -> list[Known]:
        """Return those Commands that are finished already, with their turns, or with the refusal if their content is another."""
        if not tickets:
            return []
        refs = [CommandRef(ticket.command.key, ticket.command.id) for ticket in tickets]
        turns = await self._partition.read_turns(refs)
        known: list[Known] = []
        for ticket in tickets:
            ticket.checked = True
        if not turns:
            return known
        for ticket, ref in zip(tickets, refs, strict=True):
            turn = turns.get(ref)
            if turn is not None:
                ticket.settled = True
                known.append((ticket, turn if self.same_content(ticket.command, turn.command) else id_reused(turn.command)))
        return known

    def same_content(self, new: Command, first: Command) -> bool:
        """Tell whether a Command sent again is the same one; its schema may have changed in between."""
        if new.type != first.type:
            return False
        if new.schema_id == first.schema_id:
            return new.payload == first.payload
        return new.payload == self._catalog.resolver(first.schema_id, new.schema_id)(first.payload)

    async def _load(self, batch: Batch) -> None:
        missing = [instance for instance, _ in batch if instance.state is None]
        if not missing:
            return
        states = await self._partition.read_states([instance.key for instance in missing])
        for instance in missing:
            instance.state = states.get(instance.key, ABSENT)

    async def _refold(self, runs: Sequence[Progress]) -> list[tuple[EntityKey, State]]:
        """Fold again the states that another apply or schema folded (design §3.8), before any Command sees them."""
        mark: Mark | Failure | None = None
        entity: EntitySpec | None = None
        stale: list[Progress] = []
        for run in runs:
            if mark is None or entity is not run.entity:
                entity = run.entity
                mark = await self._mark(entity)
            if isinstance(mark, Failure):
                run.failure, run.counted = mark, False
            elif run.version and (run.revision != mark.revision or run.before.schema_id != mark.schema_id):
                stale.append(run)
        if not stale:
            return []
        return await self._refold_all(stale)

    async def _refold_all(self, stale: Sequence[Progress]) -> list[tuple[EntityKey, State]]:
        refolded = []
        for run in stale:
            try:
                state = await self._folding.fold(self._catalog, self._callers, run.key, version=run.version)
            except EventoError as error:
                run.failure = Failure(error.code, error.message, run.entity.apply)
                run.counted = not isinstance(error, FunctionUnavailable)
                continue
            run.before, run.state, run.revision = state, state.payload, state.revision
            refolded.append((run.key, state))
        return refolded

    async def _mark(self, entity: EntitySpec) -> Mark | Failure:
        caller = self._caller(entity, entity.apply)
        try:
            if not caller.usable:
                await caller.ready()
        except FunctionUnavailable as error:
            return Failure(error.code, error.message, entity.apply)
        return Mark(entity.schema_id, caller.revision)

    # ------------------------------------------------------------ the functions
    async def _run_legs(self, runs: Sequence[Progress]) -> None:
        active: Sequence[Progress] = runs
        while active:
            groups = _grouped(active)
            if len(groups) == 1:
                ((place, legs),) = groups.items()
                await self._call(place[3], legs)
            elif groups:
                async with asyncio.TaskGroup() as tasks:
                    for place, legs in groups.items():
                        tasks.create_task(self._call(place[3], legs))
            active = [run for legs in groups.values() for run, _ in legs if not run.ended]

    async def _call(self, operation: Operation, legs: Legs) -> None:
        first, leg = legs[0]
        entity, caller = first.entity, self._caller(first.entity, leg.function)
        calls = [InstanceCall(run.key.id, run.version, run.state, self._items(run, leg)) for run, leg in legs]
        try:
            reply = await caller.call(operation, entity.namespace, entity.name, calls)
        except FunctionError as error:
            failure = Failure(error.code, error.message, leg.function)
            counted = not isinstance(error, FunctionUnavailable)
            for run, leg in legs:
                run.absorb(leg, Answer((), None, "", failure, counted))
            return
        self._believe(caller, operation, legs, reply)

    def _believe(self, caller: Caller, operation: Operation, legs: Legs, reply: Reply) -> None:
        revision = reply.revision or caller.revision
        if operation is not _HANDLE and not {run.revision for run, _ in legs if run.version} <= {revision}:
            # The function was replaced while it worked: states folded by the old apply must not be continued by the new one.
            failure = Failure(_REVISION_CHANGED, f"the function is now at revision {revision}", caller.name)
            for run, leg in legs:
                run.absorb(leg, Answer((), None, "", failure, counted=False))
            return
        self._checker.absorb(legs[0][0].entity, legs, reply.instances, revision)

    def _items(self, run: Progress, leg: Leg) -> list[Item]:
        if leg.events:
            command = run.works[run.done].command
            return [Item(event.type, event.payload, run.now_us, command.id, command.context) for event in leg.events]
        commands = run.entity.commands
        items = []
        for work in run.works[leg.start : leg.end]:
            command = work.command
            payload, current = command.payload, commands[command.type].schema_id
            if command.schema_id != current:
                payload = self._catalog.resolver(command.schema_id, current)(payload)
            items.append(Item(command.type, payload, command.accepted_us, command.id, command.context))
        return items

    def _entity(self, key: EntityKey) -> EntitySpec:
        return self._catalog.entity(key.namespace, key.entity)

    def _caller(self, entity: EntitySpec, function: str) -> Caller:
        return self._callers[entity.namespace, function]


def id_reused(first: Command) -> IdReused:
    """Return the refusal of a Command id that was used before with other content (design §3.4)."""
    return IdReused(
        f"command id {first.id!r} was used for another {first.type} before",
        command_id=first.id,
        hint="use a new id for a new Command",
    )


def _grouped(runs: Sequence[Progress]) -> dict[tuple[str, str, str, Operation], Legs]:
    """Ask the runs for their next legs, and put together what goes into one call."""
    groups: dict[tuple[str, str, str, Operation], Legs] = {}
    legs: Legs = []
    entity, function, fused = None, "", False
    for run in runs:
        leg = run.next_leg()
        if leg is None:
            continue
        if entity is not run.entity or leg.function != function or leg.fused != fused or not leg.fused:
            entity, function, fused = run.entity, leg.function, leg.fused
            operation = _TURN if leg.fused else _APPLY if leg.events else _HANDLE
            legs = groups.setdefault((entity.namespace, entity.name, function, operation), [])
        legs.append((run, leg))
    return groups
