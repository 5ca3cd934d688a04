"""The kit passes what is right, and catches each thing that is wrong, by the number of its rule."""

import itertools

import pytest

from evento.protocol.envelope import CALL, DISCOVERY, HEALTH_PATH, REPLY, WORK_PATH, decode, encode
from evento.sdk.server import FunctionApp
from evento.testing.function_kit import check_function
from evento.testing.puppet import puppet
from tests.protocol.counter import Counter, demo
from tests.protocol.serving import served


async def broken_rules(app, folder):
    with served(app, folder) as target:
        return {result.rule for result in await check_function(target) if not result.ok}


@pytest.mark.parametrize("namespace", [demo, puppet], ids=lambda namespace: namespace.name)
async def test_a_function_that_keeps_the_rules_passes(namespace, tmp_path):
    with served(FunctionApp(namespace), tmp_path) as target:
        results = await check_function(target)
    assert [result for result in results if not result.ok] == []
    assert {2, 3, 4, 5, 13, 14, 15, 16, 22, 24, 25, 26, 27, 28} <= {result.rule for result in results}


async def test_a_function_that_is_not_there_fails_and_nothing_is_raised(tmp_path):
    results = await check_function(f"unix:{tmp_path}/nobody.sock")
    assert results and not any(result.ok for result in results)


class Tampered:
    """A right function whose answers are spoilt on their way out."""

    def __init__(self, *, reply=None, discovery=None, answer=None, call=None):
        self.inner = FunctionApp(demo)
        self.reply, self.discovery, self.answer, self.call = reply, discovery, answer, call
        self.count = itertools.count()

    async def __call__(self, scope, receive, send):
        sent = await receive()
        asked = None
        if scope["method"] == "POST" and self.call:
            sent = {**sent, "body": self.call(sent["body"])}
        if scope["method"] == "POST":
            try:
                asked = decode(CALL, sent["body"])
            except ValueError:
                asked = None

        async def receive_again():
            return sent

        messages = []

        async def keep(message):
            messages.append(message)

        await self.inner(scope, receive_again, keep)
        status, body = messages[0]["status"], messages[1]["body"]
        headers = dict(messages[0]["headers"])
        if status == 200 and scope["path"] == WORK_PATH:
            if asked is not None and self.reply:
                columns = decode(REPLY, body)
                self.reply(columns, asked, next(self.count))
                body = encode(REPLY, columns)
            if asked is None and self.discovery:
                columns = decode(DISCOVERY, body)
                self.discovery(columns, next(self.count))
                body = encode(DISCOVERY, columns)
        if self.answer:
            status, headers, body = self.answer(scope, asked, status, headers, body)
        headers[b"content-length"] = str(len(body)).encode()
        await send({"type": "http.response.start", "status": status, "headers": list(headers.items())})
        await send({"type": "http.response.body", "body": body})


def status_of(path, change):
    return lambda scope, asked, status, headers, body: (change(status) if scope["path"] == path else status, headers, body)


def no_content_type(scope, asked, status, headers, body):
    return status, headers | {b"content-type": b"text/plain"}, body


def closing(scope, asked, status, headers, body):
    return status, headers | {b"connection": b"close"}, body


def bytes_left_over(scope, asked, status, headers, body):
    return status, headers, body + b"\0" if asked else body


def malformed_is_500(scope, asked, status, headers, body):
    return 500 if status == 400 else status, headers, body


def empty_is_400(scope, asked, status, headers, body):
    return 400 if asked and not asked["ids"] else status, headers, body


def unknown_entity_is_200(scope, asked, status, headers, body):
    return 200 if status == 404 else status, headers, body


def own_protocol(columns, _):
    columns["protocol"] = 2


def other_each_time(columns, number):
    columns["revision"] = str(number)


def no_schema(columns, _):
    columns["entities"][0]["schema"] = "{"


def serves_nothing(columns, _):
    columns["entities"] = []


def drop_event_declaration(columns, _):
    for command in columns["entities"][0]["commands"]:
        command["rejections"] = []


def change_states(reply, change):
    """Replace the states that are there by what `change` makes of each."""
    codec = demo.entities["Counter"].codec
    reply["states"] = [state and codec.encode(change(codec.decode(state))) for state in reply["states"]]


def reversed_states(reply, call, _):
    there = [number for number, state in enumerate(reply["states"]) if state]
    states = [reply["states"][number] for number in there]
    for number, state in zip(there, reversed(states), strict=True):
        reply["states"][number] = state


def one_state_short(reply, call, _):
    del reply["states"][:1]


def one_count_too_many(reply, call, _):
    if call["operation"] != "apply":
        reply["counts"].append(1)


def no_event_at_all(reply, call, _):
    reply["counts"] = [0] * len(reply["counts"])
    reply["payloads"], reply["event_types"] = [], []


def payload_with_more(reply, call, _):
    reply["payloads"] = [payload + b"\0" for payload in reply["payloads"]]


def state_with_more(reply, call, _):
    reply["states"] = [state and state + b"\0" for state in reply["states"]]


def nothing_said(reply, call, _):
    reply["failures"] = []


def failed_though_finished(reply, call, _):
    if call["ids"]:
        reply["failures"] = [{"instance": number, "code": "x", "message": ""} for number in range(len(call["ids"]))]


def clock_in_state(reply, call, number):
    change_states(reply, lambda counter: Counter(counter.total, number))


def clock_in_event(reply, call, number):
    reply["payloads"] = [bytes([number % 60 * 2]) for _ in reply["payloads"]]


def depends_on_size(reply, call, _):
    change_states(reply, lambda counter: Counter(counter.total, len(call["ids"])))


def depends_on_run(reply, call, _):
    if call["operation"] == "turn":
        change_states(reply, lambda counter: Counter(counter.total, max(call["counts"])))


def apply_goes_its_own_way(reply, call, _):
    if call["operation"] == "apply":
        change_states(reply, lambda counter: Counter(counter.total + 1, counter.refusals))


def other_code(wrong):
    def change(reply, call, _):
        for failure in reply["failures"]:
            failure["code"] = "other" if failure["code"] == wrong else failure["code"]

    return change


def one_failure_spoils_all(reply, call, _):
    if reply["failures"] and len(call["ids"]) > 1:
        reply.update(done=[0] * len(call["ids"]), states=[b""] * len(call["ids"]), counts=[], event_types=[], payloads=[])
        reply["failures"] = [{"instance": n, "code": "x", "message": ""} for n in range(len(call["ids"]))]


def tolerant(body):
    """Take a call with bytes left over, as if they were not there."""
    return body[:-1] if body.endswith(b"\0\0") and len(body) > 1 else body


FAULTS = {
    "unhealthy": (2, {"answer": status_of(HEALTH_PATH, lambda status: 503)}),
    "another protocol": (3, {"discovery": own_protocol}),
    "a discovery that changes": (3, {"discovery": other_each_time}),
    "a schema that is none": (3, {"discovery": no_schema}),
    "serves nothing": (3, {"discovery": serves_nothing}),
    "discovery not 200": (3, {"answer": status_of(WORK_PATH, lambda status: 500)}),
    "no content type": (3, {"answer": no_content_type}),
    "bytes after the reply": (4, {"answer": bytes_left_over}),
    "closes connections": (5, {"answer": closing}),
    "a run is not its items": (13, {"reply": depends_on_run}),
    "apply is not that of turn": (14, {"reply": apply_goes_its_own_way}),
    "states in another order": (15, {"reply": reversed_states}),
    "depends on the others": (15, {"reply": depends_on_size}),
    "a clock in the state": (16, {"reply": clock_in_state}),
    "a clock in the event": (16, {"reply": clock_in_event}),
    "a state too few": (18, {"reply": one_state_short}),
    "a count too many": (18, {"reply": one_count_too_many}),
    "no event": (19, {"reply": no_event_at_all}),
    "an undeclared event": (19, {"discovery": drop_event_declaration}),
    "bytes after an event": (20, {"reply": payload_with_more}),
    "bytes after a state": (20, {"reply": state_with_more}),
    "one failure spoils all": (22, {"reply": one_failure_spoils_all}),
    "failures left out": (23, {"reply": nothing_said}),
    "failures made up": (23, {"reply": failed_though_finished}),
    "undecodable not named": (24, {"reply": other_code("undecodable")}),
    "unknown type not named": (25, {"reply": other_code("unknown-type")}),
    "an unknown Entity taken": (26, {"answer": unknown_entity_is_200}),
    "malformed is 500": (27, {"answer": malformed_is_500}),
    "an empty call is 400": (28, {"answer": empty_is_400}),
    "bytes after the call taken": (27, {"call": tolerant}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_broken_rule_is_caught_by_its_number(fault, tmp_path):
    rule, tampering = FAULTS[fault]
    assert rule in await broken_rules(Tampered(**tampering), tmp_path)


async def test_who_has_apply_need_not_know_handle(tmp_path):
    def answer(scope, asked, status, headers, body):
        return 500 if asked and asked["operation"] == "handle" else status, headers, body

    assert await broken_rules(Tampered(answer=answer), tmp_path) == set()


async def test_a_process_that_dies_of_a_malformed_call_is_caught(tmp_path):
    dead = []

    def answer(scope, asked, status, headers, body):
        if status == 400:
            dead.append(True)
        return 503 if dead else status, headers, body

    assert 27 in await broken_rules(Tampered(answer=answer), tmp_path)
