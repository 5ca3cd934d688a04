"""Does the work of one call of the protocol: columns in, columns out (function.md).

The result is always that of one call per item: what an item leaves behind is exactly what decoding its bytes would give. Only
where an object provably equals that (`Codec.normal`) the way through bytes is left out.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from evento.sdk.context import Context
from evento.sdk.declared import Command, Entity, Event
from evento.sdk.errors import CodecError, ItemFailed, describe

_log = logging.getLogger("evento.function")


# An event that a handle returned: its type, the object as its bytes would decode, and its bytes.
Fact = tuple[Event, Any, bytes]
_FROM_USER_CODE = ("handler-failed", "apply-failed")  # whose traceback helps the author


class MalformedCall(ValueError):
    """The columns of a call do not fit together."""


# One instance's part of a call: its number, its version, its state (None before its first event), where its items begin and end.
Instance = tuple[int, int, bytes | None, int, int]


class Columns:
    """The part of a reply that grows with the instances: of the whole call, or of one instance."""

    __slots__ = ("counts", "done", "event_types", "failures", "payloads", "states")

    def __init__(self) -> None:
        self.done: list[int] = []
        self.states: list[bytes] = []
        self.counts: list[int] = []
        self.event_types: list[int] = []
        self.payloads: list[bytes] = []
        self.failures: list[tuple[int, ItemFailed]] = []

    def extend(self, other: "Columns") -> None:
        """Add what became of further instances."""
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))


class EntityCalls:
    """Answers the calls for one Entity."""

    def __init__(self, entity: Entity) -> None:
        self._entity = entity
        self._event_names = list(entity.events)
        self._applies = entity.applies
        self._encode, self._decode, self._normal = entity.codec.encode, entity.codec.decode, entity.codec.normal

    async def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """Return the reply, but for its revision. Raises MalformedCall."""
        instances, operation, columns = split(call), call["operation"], Columns()
        if operation == "apply":
            events = [self._entity.events.get(name) for name in call["types"]]
            for instance in instances:
                self._apply(call, events, instance, columns)
        else:
            commands = [self._entity.commands.get(name) for name in call["types"]]
            columns = await self._decide_all(call, commands, instances)
        if columns.failures:
            number, error = columns.failures[0]
            text = "%s: %d of %d instances of %s failed; the first, %s: %s"
            where = (operation, len(columns.failures), len(instances), self._entity.name, call["ids"][number], error)
            _log.warning(text, *where, exc_info=error.__cause__ if error.code in _FROM_USER_CODE else None)
        return {
            "types": self._event_names,
            "done": columns.done,
            "states": [] if operation == "handle" else columns.states,
            "counts": columns.counts,
            "event_types": columns.event_types,
            "payloads": columns.payloads,
            "failures": [{"instance": number, "code": e.code, "message": e.message} for number, e in columns.failures],
        }

    # ------------------------------------------------------- handle and turn
    async def _decide_all(self, call: dict[str, Any], commands: list[Command | None], instances: list[Instance]) -> Columns:
        columns = Columns()
        if not any(command and command.is_async for command in commands):
            for instance in instances:
                await self._decide_run(call, commands, instance, columns)
            return columns
        parts = [Columns() for _ in instances]
        async with asyncio.TaskGroup() as group:
            for instance, part in zip(instances, parts, strict=True):
                group.create_task(self._decide_run(call, commands, instance, part))
        for instance, part in zip(instances, parts, strict=True):
            if not part.done:  # cancelled by its own doing: the group does not mind, the caller would miss an element
                part.done, part.states = [0], [b""]
                part.failures = [(instance[0], ItemFailed("handler-failed", "the handle was cancelled"))]
            columns.extend(part)
        return columns

    async def _decide_run(self, call: dict[str, Any], commands: list[Command | None], instance: Instance, out: Columns) -> None:
        """Take one instance's Commands in order: handle, and for a turn apply; stop at the first that fails."""
        number, version, before, first, last = instance
        applies, item_types, payloads = call["operation"] == "turn", call["item_types"], call["payloads"]
        finished: list[list[Fact]] = []
        try:
            state = None if before is None else self._decode(before)
            for at in range(first, last):
                command = commands[item_types[at]]
                if command is None or command.handle is None or (applies and not self._applies):
                    raise ItemFailed("unknown-type", f"no {call['operation']} here for {call['types'][item_types[at]]}")
                order = command.codec.decode(payloads[at])
                try:
                    if command.wants_context:
                        result = command.handle(order, state, _context(call, number, version, at))
                    else:
                        result = command.handle(order, state)
                    if command.is_async:
                        result = await result
                except Exception as error:  # whatever user code raises is this item's failure, nobody else's
                    raise ItemFailed("handler-failed", describe(error)) from error
                facts = self._accept(command, result)
                if applies:
                    for fact in facts:
                        state = self._evolve(fact[0], fact[1], state)
                    version += len(facts)
                finished.append(facts)
            encoded = self._encode(state) if applies and finished else b""
        except (ItemFailed, CodecError) as error:
            work = [(fact[0], fact[2]) for facts in finished for fact in facts] if applies else []
            pure, encoded = self._stopped(before, _failure(error), work, (number, out))
            if not pure:
                finished = []
        for facts in finished:
            out.counts.append(len(facts))
            for event, _, payload in facts:
                out.event_types.append(event.index)
                out.payloads.append(payload)
        out.done.append(len(finished))
        out.states.append(encoded)

    def _accept(self, command: Command, result: Any) -> list[Fact]:
        """Return what a handle returned as events, as their bytes and as what these bytes mean."""
        facts = []
        for fact in result if result.__class__ is list or result.__class__ is tuple else (result,):
            event = command.outcomes.get(fact.__class__)
            if event is None:
                raise self._unexpected(command, fact)
            try:
                payload = event.codec.encode(fact)
                if not event.codec.normal(fact):
                    fact = event.codec.decode(payload)
            except CodecError as error:
                raise ItemFailed("invalid-result", str(error)) from error
            facts.append((event, fact, payload))
        if not facts:
            raise ItemFailed("no-event", f"{command.name} ended in no event")
        return facts

    def _unexpected(self, command: Command, fact: Any) -> ItemFailed:
        if any(event.cls is fact.__class__ for event in self._entity.events.values()):
            return ItemFailed("undeclared-event", f"{command.name} does not declare {fact.__class__.__name__}")
        return ItemFailed(
            "invalid-result", f"{command.name} returned a {fact.__class__.__name__}, which is no event of this Entity"
        )

    # ---------------------------------------------------------------- apply
    def _apply(self, call: dict[str, Any], events: list[Event | None], instance: Instance, out: Columns) -> None:
        """Fold one instance's events into its state; stop at the first that fails."""
        number, _, before, first, last = instance
        item_types, done = call["item_types"][first:last], 0
        work = [(events[index], payload) for index, payload in zip(item_types, call["payloads"][first:last], strict=True)]
        try:
            state = None if before is None else self._decode(before)
            for done, (event, payload) in enumerate(work):
                if event is None or event.apply is None:
                    raise ItemFailed("unknown-type", f"no apply here for {call['types'][item_types[done]]}")
                state = self._evolve(event, event.codec.decode(payload), state)
            done, encoded = len(work), self._encode(state) if work else b""
        except (ItemFailed, CodecError) as error:
            pure, encoded = self._stopped(before, _failure(error), work[:done], (number, out))
            done = done if pure else 0
        out.done.append(done)
        out.states.append(encoded)

    def _evolve(self, event: Event, fact: Any, state: Any) -> Any:
        try:
            state = event.apply(fact, state)  # type: ignore[misc]  # callers have looked
            if not self._normal(state):
                state = self._decode(self._encode(state))
        except Exception as error:  # as for handles
            raise ItemFailed("apply-failed", describe(error)) from error
        return state

    def _stopped(
        self, before: bytes | None, failure: ItemFailed, work: Sequence[tuple[Any, bytes]], place: tuple[int, Columns]
    ) -> tuple[bool, bytes]:
        """Record the failure, and return the state after the events of the items that were finished before it.

        That state is folded anew from bytes: user code that failed half-way may have changed the one it was given. If that fails
        too, apply is not pure: the answer is False, none of the items is finished, and this is the failure.
        """
        number, out = place
        state = None
        try:
            if work and before is not None:
                state = self._decode(before)
            for event, payload in work:
                state = self._evolve(event, event.codec.decode(payload), state)
        except (ItemFailed, CodecError) as again:
            out.failures.append((number, _failure(again)))
            return False, b""
        out.failures.append((number, failure))
        return True, self._encode(state) if work else b""


def _failure(error: ItemFailed | CodecError) -> ItemFailed:
    """Return the failure of an item: what could not be decoded comes as it was raised."""
    return error if isinstance(error, ItemFailed) else ItemFailed("undecodable", str(error))


def _context(call: dict[str, Any], number: int, version: int, at: int) -> Context:
    return Context(call["ids"][number], version, call["command_ids"][at], call["times"][at], call["contexts"][at])


def split(call: dict[str, Any]) -> list[Instance]:
    """Return the instances of a call. Raises MalformedCall if the columns' lengths or indexes do not fit together."""
    size, items, counts, types = len(call["ids"]), len(call["payloads"]), call["counts"], call["item_types"]
    if not size == len(call["versions"]) == len(call["states"]) == len(counts):
        raise MalformedCall("ids, versions, states and counts must have one element per instance")
    if items != len(types):
        raise MalformedCall("item_types and payloads must have one element per item")
    told = 0 if call["operation"] == "apply" else items
    if not told == len(call["times"]) == len(call["command_ids"]) == len(call["contexts"]):
        raise MalformedCall("times, command_ids and contexts must have one element per item, and none for apply")
    if min(counts, default=0) < 0 or min(call["versions"], default=0) < 0:
        raise MalformedCall("counts and versions must not be negative")
    if sum(counts) != items:
        raise MalformedCall(f"counts add up to {sum(counts)}, but there are {items} items")
    if items and not 0 <= min(types) <= max(types) < len(call["types"]):
        raise MalformedCall("item_types must point into types")
    states = [state if version else None for version, state in zip(call["versions"], call["states"], strict=True)]
    ends = list(accumulate(counts, initial=0))
    return list(zip(range(size), call["versions"], states, ends[:-1], ends[1:], strict=True))
