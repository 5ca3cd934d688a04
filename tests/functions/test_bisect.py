"""Calls that fail as a whole are taken apart until only the guilty item fails."""

import asyncio
from collections.abc import Sequence

import pytest
from bad_servers import one

from evento.errors import FunctionCrashed, FunctionError, FunctionTimeout, FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Item, Operation, Reply
from evento.functions.bisect import CALLS_MAX, FAILED_CALLS_MAX, PARTS, TIMEOUTS_MAX, Bisecting
from evento.functions.inline import InlineFunction
from evento.model.command import Failure


class Counter:
    """A function whose state is a number in ASCII; items that are poison spoil the whole call."""

    def __init__(self, error: type[FunctionError] = InvalidFunctionResult, *, broken: bool = False) -> None:
        self.error = error
        self.broken = broken
        self.calls = self.failed = 0
        self.unavailable_after = 10**9
        self.revision = "r"

    def __call__(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        self.calls += 1
        if self.calls > self.unavailable_after:
            raise FunctionUnavailable("gone")
        if self.broken or any(item.payload == b"poison" for call in calls for item in call.items):
            self.failed += 1
            raise self.error("spoiled")
        return Reply(self.revision, [self.run(operation, call) for call in calls])

    def run(self, operation: Operation, call: InstanceCall) -> InstanceReply:
        number = int(call.state or b"0")
        assert (call.version == 0) == (call.state is None) and call.version == number
        results = []
        for item in call.items:
            if item.payload == b"fail":
                break
            number += operation is not Operation.HANDLE
            results.append([] if operation is Operation.APPLY else [FunctionEvent("Done", item.payload)])
        failure = Failure("handler-failed", "no") if len(results) < len(call.items) else None
        return InstanceReply(results, b"%d" % number if results and operation is not Operation.HANDLE else None, failure)


async def run(function: Counter, calls: Sequence[InstanceCall], operation: Operation = Operation.TURN) -> Reply:
    return await Bisecting(InlineFunction(function), "test/f").call(operation, "test", "Counter", calls)


def hot(*orders: bytes) -> InstanceCall:
    return InstanceCall("hot", 0, None, [Item("Do", order, 1, f"c{n}") for n, order in enumerate(orders)])


def failed(reply: Reply) -> dict[int, str]:
    return {index: instance.failure.code for index, instance in enumerate(reply.instances) if instance.failure}


async def test_a_call_that_works_is_made_once() -> None:
    function = Counter()
    assert failed(await run(function, [one()] * 1000)) == {} and function.calls == 1


@pytest.mark.parametrize("size", [2, 3, 7, 64, 1000])
@pytest.mark.parametrize("error", [FunctionCrashed, FunctionTimeout, InvalidFunctionResult])
async def test_only_the_poisoned_instance_fails(size: int, error: type[FunctionError]) -> None:
    for position in {0, size // 2, size - 1}:
        function = Counter(error)
        calls = [one(b"poison" if index == position else b"ok") for index in range(size)]
        reply = await run(function, calls)
        assert failed(reply) == {position: error.code}
        assert reply.instances[position].failure == Failure(error.code, "spoiled", "test/f")
        assert all(instance.state == b"1" for index, instance in enumerate(reply.instances) if index != position)
        assert function.calls <= 4 * PARTS and function.failed <= 5


async def test_several_poisoned_instances_fail_and_no_other() -> None:
    calls = [one(b"poison" if index in (3, 40) else b"ok") for index in range(100)]
    assert set(failed(await run(Counter(), calls))) == {3, 40}


@pytest.mark.parametrize("position", [0, 1, 50, 98, 99])
async def test_in_a_run_of_items_all_before_the_poisoned_one_are_done(position: int) -> None:
    function = Counter(FunctionCrashed)
    orders = [b"ok"] * 100
    orders[position] = b"poison"
    reply = await run(function, [one(), hot(*orders), one()])
    instance = reply.instances[1]
    assert failed(reply) == {1: "function-crashed"}
    assert len(instance.results) == position and instance.state == (b"%d" % position if position else None)
    assert reply.instances[0].state == reply.instances[2].state == b"1"
    assert function.calls <= 4 * PARTS


async def test_a_run_is_continued_from_the_state_that_its_part_left() -> None:
    """The counter asserts that each call's version and state belong together."""
    for operation in (Operation.TURN, Operation.APPLY):
        reply = await run(Counter(), [hot(*[b"ok"] * 20, b"poison"), one()], operation)
        assert reply.instances[0].state == b"20" and len(reply.instances[0].results) == 20
    reply = await run(Counter(), [hot(*[b"ok"] * 20, b"poison"), one()], Operation.HANDLE)
    assert reply.instances[0].state is None and len(reply.instances[0].results) == 20


async def test_an_item_that_fails_by_itself_ends_its_run() -> None:
    reply = await run(Counter(), [hot(b"ok", b"fail", b"poison"), one()])
    assert failed(reply) == {0: "handler-failed"} and len(reply.instances[0].results) == 1


async def test_an_unavailable_function_is_not_taken_apart() -> None:
    function = Counter(FunctionUnavailable, broken=True)
    with pytest.raises(FunctionUnavailable):
        await run(function, [one()] * 10)
    assert function.calls == 1


async def test_a_single_item_fails_as_it_is() -> None:
    function = Counter()
    with pytest.raises(InvalidFunctionResult):
        await run(function, [one(b"poison")])
    assert function.calls == 1


@pytest.mark.parametrize(("error", "most"), [(FunctionCrashed, FAILED_CALLS_MAX), (FunctionTimeout, TIMEOUTS_MAX)])
async def test_a_function_that_fails_all_calls_fails_as_a_whole_after_a_few(error: type[FunctionError], most: int) -> None:
    function = Counter(error, broken=True)
    with pytest.raises(error):
        await run(function, [one()] * 1000)
    assert function.calls <= most + 1


async def test_the_number_of_further_calls_is_bounded_and_what_was_not_tried_says_so() -> None:
    function = Counter()
    calls = [one(b"poison" if index % 10 == 9 else b"ok") for index in range(1000)]
    reply = await run(function, calls)
    assert function.calls <= CALLS_MAX + 1
    codes = failed(reply)
    assert set(codes.values()) == {"invalid-function-result", "function-unavailable"}
    assert all(index % 10 == 9 for index, code in codes.items() if code == "invalid-function-result")
    assert any(instance.failure is None for instance in reply.instances)


async def test_a_function_that_goes_away_meanwhile_fails_nobody_else() -> None:
    function = Counter()
    function.unavailable_after = 4
    reply = await run(function, [one(b"ok")] * 79 + [one(b"poison")])
    codes = failed(reply)
    assert set(codes.values()) == {"function-unavailable"} and 79 in codes and 0 not in codes


async def test_one_reply_is_of_one_revision() -> None:
    function = Counter()

    class Redeployed(InlineFunction):
        async def call(self, *args: object) -> Reply:  # type: ignore[override]
            function.revision = "r2" if function.calls > 3 else "r1"
            return await super().call(*args)  # type: ignore[arg-type]

    reply = await Bisecting(Redeployed(function), "f").call(Operation.TURN, "t", "C", [one(b"poison")] + [one()] * 63)
    done = sum(instance.failure is None for instance in reply.instances)
    assert reply.revision in ("r1", "r2") and 0 < done < 63
    assert set(failed(reply).values()) <= {"invalid-function-result", "function-unavailable"}


async def test_calls_are_taken_apart_one_after_another() -> None:
    under_way = most = 0
    inner = Counter(FunctionCrashed)

    class Slow(InlineFunction):
        async def call(self, *args: object) -> Reply:  # type: ignore[override]
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await super().call(*args)  # type: ignore[arg-type]

    function = Bisecting(Slow(inner), "f")
    first = [one(b"poison"), one()]
    async with asyncio.TaskGroup() as tasks:
        replies = [tasks.create_task(function.call(Operation.TURN, "t", "C", first)) for _ in range(2)]
    assert [failed(task.result()) for task in replies] == [{0: "function-crashed"}] * 2
    assert most == 2  # the two first calls; their parts do not overlap
