"""Functions that take one item per call: real processes, called with much at once (function.md, rules 46 to 50)."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from test_process import scripted, serving

from evento.errors import FunctionCrashed, FunctionError, FunctionTimeout, FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import FunctionClient, InstanceCall, Item, Operation, Reply
from evento.functions.bisect import Bisecting
from evento.functions.http import CONNECTIONS_MAX
from evento.functions.single import Singles
from evento.model.command import Failure

TOLD = "told to"


@pytest.fixture(autouse=True)
def _no_long_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.functions.child.DRAIN_S", 0.3)


@asynccontextmanager
async def single(**fields: object) -> AsyncIterator[FunctionClient]:
    async with serving(scripted(**({"env": {"SINGLE": "1"}} | fields))) as client:
        await client.ready()
        yield client


def run(instance: str, *orders: str, version: int = 0) -> InstanceCall:
    items = [Item("Do", order.encode(), 1, f"{instance}-{n}") for n, order in enumerate(orders)]
    return InstanceCall(instance, version, b"%d" % version if version else None, items)


async def send(client: FunctionClient, calls: Sequence[InstanceCall], operation: Operation = Operation.TURN) -> Reply:
    return await client.call(operation, "test", "Counter", calls)


def failures(reply: Reply) -> dict[int, Failure]:
    return {index: instance.failure for index, instance in enumerate(reply.instances) if instance.failure is not None}


@pytest.mark.parametrize("operation", [Operation.TURN, Operation.APPLY, Operation.HANDLE])
async def test_it_gives_what_the_same_function_gives_to_calls_of_many(operation: Operation) -> None:
    chance = random.Random(7)
    calls = [
        run(f"i{n}", *chance.choices(["a", "b", "fail"], [8, 8, 1], k=chance.randint(0, 12)), version=chance.randint(0, 3))
        for n in range(150)
    ]
    async with single() as client, serving(scripted(name="many")) as many:
        await many.ready()
        apart, together = await send(client, calls, operation), await send(many, calls, operation)
        assert await send(client, [], operation) == Reply(together.revision, [])
    for one, other in zip(apart.instances, together.instances, strict=True):
        assert (list(one.results), one.state) == (list(other.results), other.state)
        assert (one.failure and one.failure.code) == (other.failure and other.failure.code)
    assert apart.revision == together.revision


async def test_its_calls_go_side_by_side_as_far_as_there_are_connections() -> None:
    async with single() as client:
        reply = await send(client, [run(f"i{n}", f"meet {CONNECTIONS_MAX}") for n in range(100)])
        assert failures(reply) == {}
        most = await send(client, [run("a", "most")])
    assert int(most.instances[0].results[0][0].payload) == CONNECTIONS_MAX


@pytest.mark.parametrize(
    ("status", "operation", "code"), [(500, Operation.TURN, "handler-failed"), (404, Operation.APPLY, "apply-failed")]
)
async def test_another_answer_than_200_is_the_failure_of_that_item_alone(status: int, operation: Operation, code: str) -> None:
    calls = [run("a", "x", "y"), run("b", "x", "y", f"status {status}", "z"), run("c", f"status {status}"), run("d", "x")]
    async with single() as client:
        reply = await send(client, calls, operation)
        alone = await send(client, [run("c", f"status {status}")], operation)
    assert failures(reply) == {1: Failure(code, TOLD, "puppet"), 2: Failure(code, TOLD, "puppet")}
    assert [(len(each.results), each.state) for each in reply.instances] == [(2, b"2"), (2, b"2"), (0, None), (1, b"1")]
    assert failures(alone) == {0: Failure(code, TOLD, "puppet")} and alone.revision == reply.revision == "rev-1"


@pytest.mark.parametrize("status", [503, 429, 401])
async def test_an_answer_that_says_not_now_is_no_failure_of_an_item(status: int) -> None:
    async with single() as client:
        with pytest.raises(FunctionUnavailable):
            await send(client, [run("a", "x"), run("b", f"status {status}"), run("c", "x")])


async def test_a_reply_that_breaks_the_rules_spoils_its_item_alone_once_the_call_is_taken_apart() -> None:
    calls = [run("a", "x"), run("b", "x", "garbage", "x"), run("c", "x")]
    async with single() as client:
        with pytest.raises(InvalidFunctionResult):
            await send(client, calls)
        reply = await send(Bisecting(client, "puppet"), calls)
    assert [failure.code for failure in failures(reply).values()] == ["invalid-function-result"]
    assert [(len(each.results), each.state) for each in reply.instances] == [(1, b"1"), (1, b"1"), (1, b"1")]


@pytest.mark.parametrize(
    ("order", "error"),
    [("crash", FunctionCrashed), ("signal 9", FunctionCrashed), ("hang", FunctionTimeout), ("block", FunctionTimeout)],
)
async def test_an_item_that_takes_the_function_along_fails_alone_once_the_call_is_taken_apart(
    order: str, error: type[FunctionError]
) -> None:
    calls = [run(f"i{n}", "x", "x", "x") for n in range(40)]
    calls[17] = run("bad", "x", order, "x")
    async with single(timeout_s=2.5) as client:
        with pytest.raises(error):
            await send(client, calls)
        await client.ready()  # how long it takes to be started again is not the question here
        reply = await send(Bisecting(client, "puppet"), calls)
    assert {index: failure.code for index, failure in failures(reply).items()} == {17: error.code}
    assert [len(each.results) for each in reply.instances] == [1 if n == 17 else 3 for n in range(40)]


async def test_each_single_call_has_the_whole_time() -> None:
    async with single(timeout_s=3.0) as client:
        reply = await send(client, [run("a", *["sleep 1.0"] * 4)])
    assert failures(reply) == {} and reply.instances[0].state == b"4"


async def test_one_call_is_answered_by_one_revision() -> None:
    async with single() as client:
        with pytest.raises(FunctionUnavailable, match="replaced while it worked"):
            await send(client, [run("a", "x", "revision r2", "x"), run("b", "x")])


async def test_cancelling_the_call_ends_what_is_under_way() -> None:
    async with single() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await send(client, [run(f"i{n}", "sleep 1") for n in range(40)])
        reply = await send(client, [run(f"i{n}", "x") for n in range(40)])
    assert failures(reply) == {}


async def test_what_is_kept_of_one_call_is_bounded_and_larger_ones_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evento.functions.single.RESPONSE_BYTES_MAX", 20_000)
    calls = [run(f"i{n}", "x" * 1000, "y" * 1000) for n in range(30)]
    async with single() as client:
        with pytest.raises(InvalidFunctionResult, match="too large together"):
            await send(client, calls)
        reply = await send(Bisecting(client, "puppet"), calls)
    assert failures(reply) == {} and {instance.state for instance in reply.instances} == {b"2"}


async def test_a_crash_is_told_though_others_found_nobody_there_any_more() -> None:
    async def ask(calls: Sequence[InstanceCall]) -> Reply:
        raise {"a": FunctionUnavailable("nobody is there"), "b": FunctionCrashed("it crashed")}[calls[0].id]

    with pytest.raises(FunctionCrashed):
        await Singles(ask, "puppet", Operation.TURN, [run("a", "x"), run("b", "x")]).run("r1", at_once=2)
