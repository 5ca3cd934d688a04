"""Of functions that take one item per call the kit passes those that are right, however simple, and catches what is wrong."""

import itertools

import pytest

from evento.protocol.envelope import REPLY, decode, encode
from evento.testing.function_kit import check_function
from tests.protocol.counter import Counter, demo
from tests.protocol.make_vectors import FOLDER
from tests.protocol.serving import served
from tests.protocol.single import SingleApp
from tests.protocol.test_function_kit import FAULTS as MANY_FAULTS
from tests.protocol.test_function_kit import Tampered, broken_rules
from tests.protocol.test_signed_kit import SIGNED_FAULTS


async def test_a_function_that_knows_no_failures_no_handle_and_no_calls_of_many_passes(tmp_path):
    with served(SingleApp(), tmp_path) as target:
        results = await check_function(target)
    assert [result for result in results if not result.ok] == []
    assert {2, 3, 4, 5, 13, 14, 15, 16, 22, 24, 25, 48, 49} == {result.rule for result in results}


async def test_one_that_keeps_the_rules_of_all_others_passes_too(tmp_path):
    def say_single(columns, _):
        columns["single"] = True

    assert await broken_rules(Tampered(discovery=say_single), tmp_path) == set()


def changed(change):
    """Spoil replies by changing their columns."""
    numbers = itertools.count()

    def spoil(call, reply):
        columns = decode(REPLY, reply)
        change(columns, call, next(numbers))
        return encode(REPLY, columns)

    return spoil


def change_state(columns, change):
    codec = demo.entities["Counter"].codec
    columns["states"] = [codec.encode(change(codec.decode(state))) for state in columns["states"]]


def clock_in_state(columns, call, number):
    change_state(columns, lambda counter: Counter(counter.total, number))


def apply_goes_its_own_way(columns, call, _):
    if call["operation"] == "apply":
        change_state(columns, lambda counter: Counter(counter.total + 1, counter.refusals))


def no_event(columns, call, _):
    columns.update(counts=[0], event_types=[], payloads=[])


def two_states(columns, call, _):
    columns["states"] *= 2


def unfinished(columns, call, _):
    columns.update(done=[0], counts=[], event_types=[], payloads=[])


def failing_is_success(call, status):
    return 200 if status == 500 else status


def malformed_is_success(call, status):
    return 200 if call is None else status


def unknown_entity_is_success(call, status):
    return 200 if call and (call["namespace"], call["entity"]) != ("demo", "Counter") else status


def not_now(call, status):
    return 503 if call and status == 500 else status


class Tolerant(SingleApp):
    """Takes payloads with bytes left over, as if they were not there."""

    async def work(self, call):
        call["payloads"] = [payload.removesuffix(b"\0") for payload in call["payloads"]]
        return await super().work(call)


class Obliging(SingleApp):
    """Takes every event that it does not know for one that it knows."""

    async def work(self, call):
        if call["operation"] == "apply" and call["types"][0] not in demo.entities["Counter"].events:
            call["types"], call["payloads"] = ["Added"], [b"\2"]
        return await super().work(call)


class Mortal(SingleApp):
    """Does not live on after what was no call."""

    def __init__(self):
        self.dead = False
        super().__init__(status=self.answered)

    def answered(self, call, status):
        self.dead = self.dead or (call is None and status == 500)
        return 503 if self.dead else status


FAULTS = {
    "garbage for a reply": (4, lambda: SingleApp(spoil=lambda call, reply: b"garbage")),
    "bytes after the reply": (4, lambda: SingleApp(spoil=lambda call, reply: reply + b"\0")),
    "a clock in the state": (16, lambda: SingleApp(spoil=changed(clock_in_state))),
    "apply is not that of turn": (14, lambda: SingleApp(spoil=changed(apply_goes_its_own_way))),
    "no event": (19, lambda: SingleApp(spoil=changed(no_event))),
    "a state too many": (18, lambda: SingleApp(spoil=changed(two_states))),
    "neither finished nor failed": (23, lambda: SingleApp(spoil=changed(unfinished))),
    "an error told with 200": (4, lambda: SingleApp(status=failing_is_success)),
    "bytes after a payload taken": (24, Tolerant),
    "an unknown event taken": (25, Obliging),
    "not ready instead of failed": (47, lambda: SingleApp(status=not_now)),
    "no call, and yet 200": (48, lambda: SingleApp(status=malformed_is_success)),
    "bytes after the call taken": (48, lambda: SingleApp(tidy=lambda body: body[:-1] if body.endswith(b"\0\0") else body)),
    "dies of what is no call": (48, Mortal),
    "an unknown Entity taken": (49, lambda: SingleApp(status=unknown_entity_is_success)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_broken_rule_is_caught_by_its_number(fault, tmp_path):
    rule, app = FAULTS[fault]
    assert rule in await broken_rules(app(), tmp_path)


async def test_one_that_fails_at_everything_is_caught(tmp_path):
    def fail(call, reply):
        raise RuntimeError("out of order")

    assert 19 in await broken_rules(SingleApp(spoil=fail), tmp_path)


def test_every_rule_that_is_marked_as_checked_has_a_fault_that_is_caught():
    text = (FOLDER.parent / "function.md").read_text("utf-8")
    marked = {int(line.split(".")[0]) for line in text.splitlines() if ". **✓**" in line}
    assert marked == {rule for rule, _ in (*FAULTS.values(), *MANY_FAULTS.values(), *SIGNED_FAULTS.values())}
