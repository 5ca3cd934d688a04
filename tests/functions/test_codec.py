"""The codec: rows to columns, and nothing believed that does not fit."""

import contextlib

import pytest
from bad_servers import one, reply_body
from hypothesis import given
from hypothesis import strategies as st

from evento.errors import InvalidFunctionResult
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Item, Operation
from evento.functions.codec import RESPONSE_BYTES_MAX, decode_reply, encode_call, response_bytes_max
from evento.model.command import Context, Failure
from evento.protocol.envelope import CALL, REPLY, decode, encode

TURN, HANDLE, APPLY = Operation.TURN, Operation.HANDLE, Operation.APPLY
TWO = [InstanceCall("a", 2, b"sa", [Item("Do", b"1", 5, "c1"), Item("Undo", b"2", 6, "c2")]), one(b"3", "b")]


def test_a_call_is_its_columns() -> None:
    context = Context(correlation_id="x", traceparent="t")
    calls = [TWO[0], InstanceCall("b", 0, None, [Item("Do", b"3", 7, "c3", context)])]
    columns = decode(CALL, encode_call(TURN, "bank", "Checking", calls))
    nothing = {"causation_id": None, "actor": None, "transaction_id": None, "encryption_key_id": None}
    assert columns == {
        "operation": "turn",
        "namespace": "bank",
        "entity": "Checking",
        "types": ["Do", "Undo"],
        "ids": ["a", "b"],
        "versions": [2, 0],
        "states": [b"sa", b""],
        "counts": [2, 1],
        "item_types": [0, 1, 0],
        "payloads": [b"1", b"2", b"3"],
        "times": [5, 6, 7],
        "command_ids": ["c1", "c2", "c3"],
        "contexts": [None, None, {"correlation_id": "x", "traceparent": "t"} | nothing],
    }


def test_a_reply_gives_each_instance_its_own() -> None:
    body = reply_body(
        types=["A", "B"], done=[1, 1], states=[b"x", b"y"], counts=[2, 1], event_types=[0, 1, 0], payloads=[b"1", b"2", b"3"],
        failures=[{"instance": 0, "code": "handler-failed", "message": "no"}],
    )  # fmt: skip
    reply = decode_reply(TURN, TWO, body, "bank/f")
    assert reply.revision == "r1"
    first, second = reply.instances
    assert first == InstanceReply(
        [[FunctionEvent("A", b"1"), FunctionEvent("B", b"2")]], b"x", Failure("handler-failed", "no", "bank/f")
    )
    assert [list(events) for events in second.results] == [[FunctionEvent("A", b"3")]]
    assert (second.state, second.failure) == (b"y", None)


def test_a_function_cannot_say_that_it_was_not_asked() -> None:
    body = reply_body(
        done=[0, 0], states=[b"", b""], counts=[], event_types=[], payloads=[],
        failures=[{"instance": n, "code": "function-unavailable", "message": "m"} for n in (0, 1)],
    )  # fmt: skip
    replies = decode_reply(TURN, TWO, body, "bank/f").instances
    assert [reply.failure.code for reply in replies if reply.failure] == ["handler-failed", "handler-failed"]


def test_an_instance_without_a_finished_item_has_no_state() -> None:
    body = reply_body(
        done=[0], states=[b""], counts=[], event_types=[], payloads=[], failures=[{"instance": 0, "code": "c", "message": "m"}]
    )
    (instance,) = decode_reply(TURN, [one()], body, "f").instances
    assert instance == InstanceReply([], None, Failure("c", "m", "f"))


def test_apply_answers_states_only() -> None:
    body = reply_body(done=[2, 1], states=[b"x", b"y"], counts=[], event_types=[], payloads=[])
    assert [(list(map(list, i.results)), i.state) for i in decode_reply(APPLY, TWO, body, "f").instances] == [
        ([[], []], b"x"),
        ([[]], b"y"),
    ]


def test_handle_answers_no_states() -> None:
    (instance,) = decode_reply(HANDLE, [one()], reply_body(states=[]), "f").instances
    assert instance.state is None and list(instance.results[0]) == [FunctionEvent("Done", b"p")]


def test_an_empty_list_of_events_is_left_to_the_engine() -> None:
    reply = decode_reply(
        TURN, TWO, reply_body(done=[2, 1], states=[b"", b""], counts=[0, 2, 1], event_types=[0] * 3, payloads=[b""] * 3), "f"
    )
    assert [len(events) for instance in reply.instances for events in instance.results] == [0, 2, 1]


FAILED = {"instance": 0, "code": "c", "message": "m"}
WRONG = {
    "too few instances": ({"done": []}, "`done` has 0 elements for 1 instances"),
    "too many instances": ({"done": [1, 1]}, "`done` has 2 elements"),
    "negative done": ({"done": [-1]}, r"`done\[0\]` is -1"),
    "more done than asked": ({"done": [2]}, r"`done\[0\]` is 2; the instance has 1"),
    "missing state": ({"states": []}, "`states` has 0 elements for 1"),
    "extra state": ({"states": [b"", b""]}, "`states` has 2 elements for 1"),
    "counts too short": ({"counts": []}, "`counts` has 0 elements for 1 finished"),
    "counts too long": ({"counts": [1, 0]}, "`counts` has 2 elements for 1 finished"),
    "negative count": ({"counts": [-1]}, "the least is -1"),
    "counts beyond events": ({"counts": [2]}, "adds up to 2 events.*there are 1"),
    "types and payloads differ": ({"event_types": [0, 0]}, "`event_types` has 2 elements, `payloads` 1"),
    "index beyond types": ({"event_types": [1]}, "`event_types` points to 1 to 1; `types` has 1"),
    "negative index": ({"event_types": [-1]}, "`event_types` points to -1"),
    "no types": ({"types": []}, "`types` has 0"),
    "unfinished without failure": ({"done": [0], "counts": [], "event_types": [], "payloads": []}, "instance 0 is not finished"),
    "failure of a finished one": ({"failures": [FAILED]}, "although it is finished"),
    "failure of nobody": ({"failures": [FAILED | {"instance": 1}]}, "names instance 1 of 1"),
    "failure below zero": ({"failures": [FAILED | {"instance": -1}]}, "names instance -1"),
    "failure twice": ({"done": [0], "counts": [], "event_types": [], "payloads": [], "failures": [FAILED] * 2}, "twice"),
    "endless revision": ({"revision": "r" * 1000}, "`revision` has more than"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_and_named(case: str) -> None:
    columns, message = WRONG[case]
    with pytest.raises(InvalidFunctionResult, match=message):
        decode_reply(TURN, [one()], reply_body(**columns), "f")


@pytest.mark.parametrize("column", ["counts", "event_types", "payloads"])
def test_events_in_the_answer_to_apply_are_refused(column: str) -> None:
    empty = {"counts": [], "event_types": [], "payloads": []}
    with pytest.raises(InvalidFunctionResult, match=f"`{column}` has 1 elements; for apply"):
        decode_reply(APPLY, [one()], reply_body(**empty | {column: [b"" if column == "payloads" else 0]}), "f")


def test_states_in_the_answer_to_handle_are_refused() -> None:
    with pytest.raises(InvalidFunctionResult, match="for handle it is empty"):
        decode_reply(HANDLE, [one()], reply_body(), "f")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"done": [1]}', b"\xff" * 100, reply_body() + b"\0", reply_body()[:-3]])
def test_bytes_that_are_no_reply_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidFunctionResult):
        decode_reply(TURN, [one()], body, "f")


@given(st.binary(max_size=300))
def test_no_bytes_at_all_do_anything_but_decode_or_be_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidFunctionResult):
        decode_reply(TURN, TWO, body, "f")


ints = st.lists(st.integers(-2, 3), max_size=4)


@given(st.sampled_from(Operation), ints, ints, ints, st.lists(st.integers(-1, 2), max_size=2), st.integers(0, 3), st.integers(0, 4))
def test_columns_of_any_lengths_decode_to_what_was_asked_or_are_refused(
    operation: Operation, done: list[int], counts: list[int], types: list[int], failed: list[int], states: int, payloads: int
) -> None:
    failures = [{"instance": index, "code": "c", "message": "m"} for index in failed]
    columns = {"done": done, "counts": counts, "event_types": types, "failures": failures}
    try:
        reply = decode_reply(operation, TWO, reply_body(**columns, states=[b""] * states, payloads=[b""] * payloads), "f")
    except InvalidFunctionResult:
        return
    for call, instance in zip(TWO, reply.instances, strict=True):
        assert (instance.failure is None) == (len(instance.results) == len(call.items))
        assert (instance.state is not None) == (operation is not HANDLE and len(instance.results) > 0)


def test_long_failures_are_cut() -> None:
    failed = {"instance": 0, "code": "c" * 1000, "message": "m" * 100_000}
    body = reply_body(done=[0], counts=[], event_types=[], payloads=[], failures=[failed])
    failure = decode_reply(TURN, [one()], body, "f").instances[0].failure
    assert failure is not None and len(failure.code) <= 64 and len(failure.message) <= 2000


def test_the_answer_to_a_small_call_is_allowed_less_than_to_a_large_one() -> None:
    assert response_bytes_max(APPLY, [one()]) < 1024 * 1024 < response_bytes_max(APPLY, TWO) < RESPONSE_BYTES_MAX
    assert response_bytes_max(TURN, [one()] * 1000) == RESPONSE_BYTES_MAX


def test_arrays_in_several_blocks_are_understood() -> None:
    """Other languages' writers split arrays: done = [1], [1] in two blocks of one."""
    whole = encode(REPLY, {"revision": "", "types": [], "done": [1, 1], "states": [b"", b""], "counts": [], "event_types": [], "payloads": [], "failures": []})  # fmt: skip  # noqa: E501
    split = whole.replace(bytes([4, 2, 2, 0]), bytes([2, 2, 2, 2, 0]), 1)
    assert split != whole
    assert len(decode_reply(APPLY, [one(), one()], split, "f").instances) == 2
