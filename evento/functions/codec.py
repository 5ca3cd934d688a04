"""Calls to bytes and bytes to replies: rows on the platform's side, the protocol's columns on the wire. Pure.

Everything that a function answers is checked here to fit the call it answers: lengths, indexes, counts. What one instance's
events and state may be (declared, canonical, not none, not too many, not too large) the engine checks, instance by instance.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

from msgspec.structs import asdict

from evento.errors import FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Item, Operation, Reply
from evento.model.command import Failure
from evento.model.limits import EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX, STATE_BYTES_MAX
from evento.protocol.envelope import CALL, REPLY, EnvelopeError, decode, encode

_APPLY = Operation.APPLY
RESPONSE_BYTES_MAX = 16 * 1024 * 1024  # of any answer, whatever the call
_RESPONSE_BYTES_BASE = 64 * 1024
_REVISION_CHARS_MAX = 200
_FAILURE_CODE_CHARS_MAX = 64
_FAILURE_MESSAGE_CHARS_MAX = 2_000


def encode_call(operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> bytes:
    """Return the body of one call."""
    items: list[Item] = list(chain.from_iterable([call.items for call in calls]))
    types = {name: index for index, name in enumerate(dict.fromkeys([item.type for item in items]))}
    told = [] if operation is _APPLY else items  # a state is made of events only: apply hears nothing else
    columns = {
        "operation": operation.value,
        "namespace": namespace,
        "entity": entity,
        "types": list(types),
        "ids": [call.id for call in calls],
        "versions": [call.version for call in calls],
        "states": [call.state or b"" for call in calls],
        "counts": [len(call.items) for call in calls],
        "item_types": [types[item.type] for item in items],
        "payloads": [item.payload for item in items],
        "times": [item.time_us for item in told],
        "command_ids": [item.command_id for item in told],
        "contexts": [None if item.context is None else asdict(item.context) for item in told],
    }
    return encode(CALL, columns)


def response_bytes_max(operation: Operation, calls: Sequence[InstanceCall]) -> int:
    """Return how many bytes an answer to this call may have: what the limits per state and event allow, within the overall cap."""
    events = 0 if operation is Operation.APPLY else sum([len(call.items) for call in calls]) * EVENTS_PER_COMMAND_MAX
    return min(RESPONSE_BYTES_MAX, _RESPONSE_BYTES_BASE + len(calls) * STATE_BYTES_MAX + events * EVENT_BYTES_MAX)


def decode_reply(operation: Operation, calls: Sequence[InstanceCall], body: bytes, function: str) -> Reply:
    """Return the reply to `calls` that is in `body`; `function` names the function in failures.

    Raises InvalidFunctionResult, naming the column that does not fit.
    """
    try:
        columns = decode(REPLY, body)
    except EnvelopeError as error:
        raise _invalid(str(error)) from error
    if len(columns["revision"]) > _REVISION_CHARS_MAX:
        raise _invalid(f"`revision` has more than {_REVISION_CHARS_MAX} characters")
    sizes = [len(call.items) for call in calls]
    done = _checked_done(sizes, columns["done"])
    states = _states(operation, done, columns["states"])
    failures = _failures(sizes, done, columns["failures"], function)
    results = _empty_results(columns, done) if operation is Operation.APPLY else _results(columns, done)
    return Reply(columns["revision"], _instances(done, states, results, failures))


def _invalid(what: str) -> InvalidFunctionResult:
    return InvalidFunctionResult(f"the function's reply is not valid: {what}")


def _checked_done(sizes: list[int], done: list[int]) -> list[int]:
    if done == sizes:  # nearly always: everything is finished
        return done
    if len(done) != len(sizes):
        raise _invalid(f"`done` has {len(done)} elements for {len(sizes)} instances")
    for index, (finished, size) in enumerate(zip(done, sizes, strict=True)):
        if not 0 <= finished <= size:
            raise _invalid(f"`done[{index}]` is {finished}; the instance has {size} items")
    return done


def _states(operation: Operation, done: list[int], states: list[bytes]) -> Sequence[bytes | None]:
    if operation is Operation.HANDLE:
        if states:
            raise _invalid(f"`states` has {len(states)} elements; for handle it is empty")
        return [None] * len(done)
    if len(states) != len(done):
        raise _invalid(f"`states` has {len(states)} elements for {len(done)} instances")
    if 0 not in done:
        return states
    return [state if finished else None for state, finished in zip(states, done, strict=True)]


def _failures(sizes: list[int], done: list[int], columns: Sequence[dict[str, Any]], function: str) -> dict[int, Failure]:
    """Return the failures by instance: there is exactly one for each instance that has an unfinished item."""
    failures: dict[int, Failure] = {}
    for failure in columns:
        index = failure["instance"]
        if not 0 <= index < len(sizes):
            raise _invalid(f"`failures` names instance {index} of {len(sizes)}")
        if index in failures or done[index] == sizes[index]:
            raise _invalid(f"`failures` names instance {index} {'twice' if index in failures else 'although it is finished'}")
        code, message = failure["code"][:_FAILURE_CODE_CHARS_MAX], failure["message"][:_FAILURE_MESSAGE_CHARS_MAX]
        # Only the platform knows that a function was not asked; a function that answers cannot say so.
        failures[index] = Failure("handler-failed" if code == FunctionUnavailable.code else code, message, function)
    unfinished = [] if done == sizes else [index for index, size in enumerate(sizes) if done[index] < size]
    if len(unfinished) != len(failures):
        missing = next(index for index in unfinished if index not in failures)
        raise _invalid(f"instance {missing} is not finished, and `failures` does not say why")
    return failures


def _empty_results(columns: dict[str, Any], done: list[int]) -> list[Sequence[FunctionEvent]]:
    for name in ("counts", "event_types", "payloads"):
        if columns[name]:
            raise _invalid(f"`{name}` has {len(columns[name])} elements; for apply it is empty")
    return [()] * sum(done)


def _results(columns: dict[str, Any], done: list[int]) -> list[Sequence[FunctionEvent]]:
    """Return the events of each finished item, those of the first instance first."""
    counts: list[int] = columns["counts"]
    if len(counts) != sum(done):
        raise _invalid(f"`counts` has {len(counts)} elements for {sum(done)} finished items")
    events = _events(columns)
    if min(counts, default=0) < 0 or sum(counts) != len(events):
        raise _invalid(f"`counts` adds up to {sum(counts)} events, the least is {min(counts, default=0)}; there are {len(events)}")
    if len(counts) == len(events) and max(counts, default=1) == 1:  # by far the most frequent: one event per Command
        return [(event,) for event in events]
    return [events[start:end] for start, end in _spans(counts)]


def _events(columns: dict[str, Any]) -> list[FunctionEvent]:
    types: list[str] = columns["types"]
    event_types: list[int] = columns["event_types"]
    payloads: list[bytes] = columns["payloads"]
    if len(event_types) != len(payloads):
        raise _invalid(f"`event_types` has {len(event_types)} elements, `payloads` {len(payloads)}")
    if event_types and not 0 <= min(event_types) <= max(event_types) < len(types):
        raise _invalid(f"`event_types` points to {min(event_types)} to {max(event_types)}; `types` has {len(types)} elements")
    return list(map(FunctionEvent, [types[index] for index in event_types], payloads))


def _spans(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of consecutive runs of these lengths."""
    return pairwise(accumulate(counts, initial=0))


def _instances(
    done: list[int], states: Sequence[bytes | None], results: list[Sequence[FunctionEvent]], failures: dict[int, Failure]
) -> list[InstanceReply]:
    one_each = len(results) == len(done) == done.count(1)
    parts = [[result] for result in results] if one_each else [results[start:end] for start, end in _spans(done)]
    replies = list(map(InstanceReply, parts, states))
    for index, failure in failures.items():
        replies[index] = InstanceReply(replies[index].results, replies[index].state, failure)
    return replies
