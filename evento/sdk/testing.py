"""Given events, when a Command, then events: business rules tested without a platform.

Everything goes through the same code as in production, its Avro bytes included, and more than once: a handle or apply that is not
pure, or that changes what it was given, fails here. Three questions for each Command: right event, right refusal, right silence.

    given(Checking, [CheckingOpened("ada", ZERO)]).when(WithdrawCash(Decimal(5))).then_rejected(WithdrawalRejected(...))
"""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from evento.sdk.binary import datetime_micros
from evento.sdk.calls import EntityCalls
from evento.sdk.declared import Command, Entity, Event
from evento.sdk.namespace import namespace_of

INSTANCE_ID = "given"
TIME = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


class Given:
    """An instance with a history."""

    def __init__(self, entity: type, events: Sequence[Any] = ()) -> None:
        namespace = namespace_of(entity)
        namespace.check()
        self._namespace = namespace
        self._entity = namespace.entity_of(entity)
        self._events = [_event(self._entity, event) for event in events]

    def when(self, command: Any, *, command_id: str = "when", time: datetime = TIME, **context: str) -> "Then":
        """Send a Command. `context` may hold correlation_id, causation_id, actor and traceparent."""
        entity, declared = self._namespace.command_of(type(command))
        if entity is not self._entity:
            raise AssertionError(f"{declared.name} is a Command of {entity.name}, not of {self._entity.name}")
        state = self._fold()
        item = (declared.name, declared.codec.encode(command), command_id, datetime_micros(time), context or None)
        version = len(self._events)
        if not self._entity.applies:
            return Then(self._entity, declared, _call(self._entity, "handle", version, state, [item]))
        reply = _call(self._entity, "turn", version, state, [item])
        self._compare(reply, version, state, item)
        return Then(self._entity, declared, reply)

    def _compare(self, turn: dict[str, Any], version: int, state: bytes, item: Any) -> None:
        """A turn must be handle and then apply; it is not if handle changes the state that it may only read."""
        if turn["failures"]:
            return
        events = [
            (turn["types"][kind], payload, "", 0, None) for kind, payload in zip(turn["event_types"], turn["payloads"], strict=True)
        ]
        handled = _call(self._entity, "handle", version, state, [item])
        applied = _call(self._entity, "apply", version, state, events)
        if (handled["payloads"], applied["states"]) != (turn["payloads"], turn["states"]):
            raise AssertionError(
                f"{item[0]}: the state is not what its events make of it: does the handle change what it is given?"
            )

    def then_state(self, expected: Any) -> None:
        """Expect the state that the history folds to."""
        _same([self._entity.codec.decode(self._fold())], [expected])

    def _fold(self) -> bytes:
        if not self._events:
            return b""
        items = [(event.name, payload, "given", 0, None) for event, payload in self._events]
        reply = _call(self._entity, "apply", 0, b"", items)
        for failure in reply["failures"]:
            raise AssertionError(f"the given event {items[reply['done'][0]][0]} does not apply: {failure['message']}")
        state: bytes = reply["states"][0]
        return state


class Then:
    """What became of the Command."""

    def __init__(self, entity: Entity, command: Command, reply: dict[str, Any]) -> None:
        self._entity, self._command = entity, command
        self.failure: dict[str, Any] | None = next(iter(reply["failures"]), None)
        events = list(entity.events.values())
        found = [(events[number], payload) for number, payload in zip(reply["event_types"], reply["payloads"], strict=True)]
        self.events = [event.codec.decode(payload) for event, payload in found]
        self.rejections = [event.name for event, _ in found if event.rejection]
        self.state = entity.codec.decode(reply["states"][0]) if self.events and reply["states"] else None

    def then(self, *expected: Any) -> "Then":
        """Expect success with exactly these events."""
        self._finished()
        _same(self.events, expected)
        if self.rejections:
            raise AssertionError(f"{self._command.name} was rejected: {self.events}")
        return self

    def then_rejected(self, *expected: Any) -> "Then":
        """Expect a business rejection with exactly these events."""
        self._finished()
        _same(self.events, expected)
        if not self.rejections:
            raise AssertionError(f"{self._command.name} was not rejected: {self.events}")
        return self

    def then_fails(self, text: str = "", *, code: str = "handler-failed") -> None:
        """Expect that the turn fails, so that the platform would try again: no event at all. `text` is in the message."""
        if self.failure is None:
            raise AssertionError(f"{self._command.name} did not fail; it ended in {self.events}")
        if self.failure["code"] != code or text not in self.failure["message"]:
            raise AssertionError(f"{self._command.name} failed otherwise: {self.failure['code']}: {self.failure['message']}")

    def then_state(self, expected: Any) -> "Then":
        """Expect this state after the events."""
        self._finished()
        _same([self.state], [expected])
        return self

    def _finished(self) -> None:
        if self.failure is not None:
            raise AssertionError(f"{self._command.name} failed: {self.failure['code']}: {self.failure['message']}")


def given(entity: type, events: Sequence[Any] = ()) -> Given:
    """Return an instance of `entity` with these events behind it; without any it does not exist yet."""
    return Given(entity, events)


def _event(entity: Entity, event: Any) -> tuple[Event, bytes]:
    declared = next((declared for declared in entity.events.values() if declared.cls is type(event)), None)
    if declared is None:
        raise AssertionError(f"{type(event).__name__} is no event of {entity.name}")
    return declared, declared.codec.encode(event)


def _call(entity: Entity, operation: str, version: int, state: bytes, items: list[Any]) -> dict[str, Any]:
    types, payloads, command_ids, times, contexts = zip(*items, strict=True)
    names = list(dict.fromkeys(types))
    call = {
        "operation": operation,
        "types": names,
        "ids": [INSTANCE_ID],
        "versions": [version],
        "states": [state],
        "counts": [len(items)],
        "item_types": [names.index(name) for name in types],
        "payloads": list(payloads),
        "command_ids": [] if operation == "apply" else list(command_ids),
        "times": [] if operation == "apply" else list(times),
        "contexts": [] if operation == "apply" else list(contexts),
    }
    waits = any(command.is_async for command in entity.commands.values())
    first, second = (asyncio.run(work) if waits else _finish(work) for work in (EntityCalls(entity).answer(call) for _ in range(2)))
    if first != second:
        raise AssertionError(f"not pure: the same {operation} gave two results, {first} and {second}")
    return first


def _finish(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run what never waits; that goes inside a running event loop too."""
    try:
        work.send(None)
    except StopIteration as finished:
        reply: dict[str, Any] = finished.value
        return reply
    raise AssertionError("a plain handle waited")


def _same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    if list(found) != list(expected):
        raise AssertionError(f"expected {list(expected)}\n   found {list(found)}")
