"""One call with many items is one call per item; and one instance's failure is nobody else's."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evento.protocol.envelope import CALL, REPLY, decode, encode
from evento.sdk import Context, Namespace, Precision
from evento.sdk.calls import EntityCalls, MalformedCall
from evento.testing.puppet import Act, Play, puppet

Money = Annotated[Decimal, Precision(9, 2)]
odd = Namespace("odd")


@odd.entity
@dataclass(frozen=True)
class Ledger:
    """Shows every difference between an object and what its bytes mean, and changes what it was given."""

    notes: list[str] = field(default_factory=list)
    last: Money = Decimal("0.00")


@odd.event(Ledger)
@dataclass(frozen=True)
class Noted:
    amount: Money


@odd.command(Ledger)
@dataclass(frozen=True)
class Note:
    amount: str


@odd.handle
def note(command: Note, ledger: Ledger | None, context: Context) -> Noted:
    if command.amount == "waste" and ledger:
        ledger.notes.append("spoilt")
        raise RuntimeError("half-way")
    return Noted(Decimal(command.amount))


@odd.apply
def noted(event: Noted, ledger: Ledger | None) -> Ledger:
    ledger = ledger or Ledger()
    if event.amount == 13:
        ledger.notes.append("spoilt")
        raise RuntimeError("superstition")
    seen = f"{event.amount} after {ledger.last}"
    ledger.notes.append(seen)  # not allowed to, but it must not matter to others
    return replace(ledger, last=event.amount.normalize())


def answer(namespace, operation, works):
    """Go through bytes, as on the wire. Works: (version, state, [(type, payload), ...])."""
    (entity,) = namespace.entities.values()
    items = [item for work in works for item in work[2]]
    types = list(dict.fromkeys(name for name, _ in items))
    told = 0 if operation == "apply" else len(items)
    call = {
        "operation": operation,
        "namespace": namespace.name,
        "entity": entity.name,
        "types": types,
        "ids": [f"i{number}" for number in range(len(works))],
        "versions": [work[0] for work in works],
        "states": [work[1] for work in works],
        "counts": [len(work[2]) for work in works],
        "item_types": [types.index(name) for name, _ in items],
        "payloads": [payload for _, payload in items],
        "times": [1_700_000_000_000_000] * told,
        "command_ids": [f"c{number}" for number in range(told)],
        "contexts": [None] * told,
    }
    reply = asyncio.run(EntityCalls(entity).answer(decode(CALL, encode(CALL, call))))
    return decode(REPLY, encode(REPLY, {"revision": "", **reply}))


def notes(*amounts):
    codec = odd.entities["Ledger"].commands["Note"].codec
    return [("Note", codec.encode(Note(amount))) for amount in amounts]


def plays(*acts):
    codec = puppet.entities["Puppet"].commands["Play"].codec
    return [("Play", codec.encode(act if isinstance(act, Play) else Play(act))) for act in acts]


def one_by_one(namespace, items):
    version, state, payloads = 0, b"", []
    for item in items:
        reply = answer(namespace, "turn", [(version, state, [item])])
        if reply["failures"]:
            break
        version, state = version + reply["counts"][0], reply["states"][0]
        payloads += reply["payloads"]
    return payloads, state


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(["1", "1.0", "1.00", "100", "1E+2", "-0", "0.5", "waste", "13", "0.001"]), max_size=6))
def test_a_run_leaves_what_its_commands_leave_one_by_one(amounts):
    items = notes(*amounts)
    reply = answer(odd, "turn", [(0, b"", items)])
    assert (reply["payloads"], reply["states"][0]) == one_by_one(odd, items)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["1", "1.0", "-0", "13"]), min_size=1, max_size=6))
def test_apply_of_the_events_leaves_what_turn_left(amounts):
    handled = answer(odd, "handle", [(0, b"", notes(*amounts))])
    turned = answer(odd, "turn", [(0, b"", notes(*amounts))])
    applied = answer(odd, "apply", [(0, b"", [("Noted", payload) for payload in handled["payloads"]])])
    assert applied["states"] == turned["states"]
    assert applied["done"] == turned["done"]


@pytest.mark.parametrize(
    ("act", "code", "text"),
    [
        (Act.RAISE, "handler-failed", "PuppetFailed"),
        (Act.NOTHING, "no-event", "no event"),
        (Act.UNDECLARED, "undeclared-event", "Stray"),
        (Act.WRONG, "invalid-result", "str"),
        (Act.UNFIT, "invalid-result", "Acted.text"),
        (Act.BREAK_APPLY, "apply-failed", "cannot be applied"),
    ],
)
def test_a_failing_item_stops_its_instance_and_no_other(act, code, text):
    good = plays(Act.SUCCEED)
    reply = answer(puppet, "turn", [(0, b"", good), (0, b"", [*good, *plays(act), *good]), (0, b"", good)])
    assert reply["done"] == [1, 1, 1]
    assert len(set(reply["states"])) == 1
    (failure,) = reply["failures"]
    assert (failure["instance"], failure["code"]) == (1, code)
    assert text in failure["message"]


def test_what_was_finished_before_a_failure_stands():
    reply = answer(puppet, "turn", [(0, b"", plays(Play(Act.SUCCEED, times=3), Act.REJECT, Act.RAISE, Act.SUCCEED))])
    assert reply["done"] == [2]
    assert reply["counts"] == [3, 1]
    assert puppet.entities["Puppet"].codec.decode(reply["states"][0]).acts == 3


def test_a_message_of_any_length_is_cut():
    reply = answer(puppet, "turn", [(0, b"", plays(Play(Act.RAISE, text="x" * 5000)))])
    assert len(reply["failures"][0]["message"]) == 1000


def test_async_handles_of_different_instances_wait_together():
    sleep = plays(Play(Act.SLEEP, seconds=0.5))
    began = time.monotonic()
    reply = answer(puppet, "turn", [(0, b"", sleep) for _ in range(50)])
    assert reply["done"] == [1] * 50
    assert time.monotonic() - began < 20.0, "one after the other they take 25 s"


def test_the_context_tells_what_is_known():
    seen = []
    wide = Namespace("wide")

    @wide.entity
    @dataclass(frozen=True)
    class Thing:
        pass

    @wide.event(Thing)
    @dataclass(frozen=True)
    class Done:
        pass

    @wide.command(Thing)
    @dataclass(frozen=True)
    class Do:
        pass

    @wide.handle
    def do(command: Do, thing: Thing | None, context: Context) -> list[Done]:
        seen.append((context.id, context.version, context.command_id, context.time, context.actor))
        return [Done(), Done()]

    @wide.apply
    def evolve(event: Done, thing: Thing | None) -> Thing:
        return Thing()

    answer(wide, "turn", [(3, b"", [("Do", b"")] * 2)])
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert seen == [("i0", 3, "c0", at, None), ("i0", 5, "c1", at, None)]


async def test_a_handle_that_cancels_itself_fails_its_own_item_only():
    moody = Namespace("moody")

    @moody.entity
    @dataclass(frozen=True)
    class Cat:
        pass

    @moody.event(Cat)
    @dataclass(frozen=True)
    class Purred:
        pass

    @moody.command(Cat)
    @dataclass(frozen=True)
    class Stroke:
        hard: bool

    @moody.handle
    async def stroke(command: Stroke, cat: Cat | None) -> Purred:
        await asyncio.sleep(0)
        if command.hard:
            raise asyncio.CancelledError
        return Purred()

    @moody.apply
    def evolve(event: Purred, cat: Cat | None) -> Cat:
        return Cat()

    works = [(0, b"", [("Stroke", b"\0")]), (0, b"", [("Stroke", b"\1")])]
    reply = await asyncio.to_thread(answer, moody, "turn", works)
    assert reply["done"] == [1, 0]
    assert reply["failures"][0]["message"] == "the handle was cancelled"


@pytest.mark.parametrize(
    "change",
    [
        {"ids": []},
        {"versions": [0, 1]},
        {"states": []},
        {"counts": [2]},
        {"counts": [-1]},
        {"counts": []},
        {"item_types": []},
        {"item_types": [1]},
        {"item_types": [-1]},
        {"times": []},
        {"command_ids": []},
        {"contexts": []},
        {"payloads": []},
        {"versions": [-1]},
        {"types": []},
    ],
)
async def test_columns_that_do_not_fit_together_are_refused(change):
    call = {
        "operation": "turn",
        "types": ["Play"],
        "ids": ["a"],
        "versions": [0],
        "states": [b""],
        "counts": [1],
        "item_types": [0],
        "payloads": [b""],
        "times": [0],
        "command_ids": ["c"],
        "contexts": [None],
    }
    with pytest.raises(MalformedCall):
        await EntityCalls(puppet.entities["Puppet"]).answer(call | change)
