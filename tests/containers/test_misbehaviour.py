"""Functions in containers that behave badly in every way: each is a failed turn with a named cause, and slows nobody else.

reliability.md §7, 33 to 38. One platform, one container per misbehaviour that spoils it; the cause is looked for where people look:
in the outcome, in the log, in the metrics.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evento.client import Client
from tests.containers.engine import Engine
from tests.containers.platform import manifests, metric, running
from tests.faults.node import Node, eventually

TIMEOUT, CRASHED, MEMORY, INVALID = "function-timeout", "function-crashed", "function-out-of-memory", "invalid-function-result"
TIMEOUT_S = 4  # what is slow on a busy machine must not be taken for what hangs
MISBEHAVIOURS = {
    "hang": (TIMEOUT, f"did not answer within {TIMEOUT_S} s"),  # before headers
    "hang-in-body": (TIMEOUT, f"did not answer within {TIMEOUT_S} s"),
    "drip": (TIMEOUT, f"did not answer within {TIMEOUT_S} s"),  # byte by byte
    "sleep 5": (TIMEOUT, f"did not answer within {TIMEOUT_S} s"),  # and then it answers, when nobody listens any more
    "block": (TIMEOUT, f"did not answer within {TIMEOUT_S} s"),  # its health endpoint too
    "crash": (CRASHED, "exited with status 3; its last output: serving | about to crash"),
    "reset": (CRASHED, "ended the connection in the middle of its answer"),
    "oom": (MEMORY, "used more memory than its limit of 128Mi"),
    "garbage": (INVALID, "not"),
    "no-http": (INVALID, "is not HTTP/1.1"),
    "empty": (INVALID, ""),
    "truncated": (INVALID, ""),
    "trailing": (INVALID, ""),
    "status": (INVALID, "answered 500, not 200: 'oops'"),
    "elsewhere": (INVALID, "answered 302, not 200"),
    "huge": (INVALID, "is too large: 1073741824 bytes"),
    "endless": (INVALID, "is too large"),
    "wrong-instance": (INVALID, ""),
}
SLOWER_MAX = 5  # calls to another function while this one misbehaves, against before; who waited for it would wait for TIMEOUT_S
SLOWER_S = TIMEOUT_S / 2


@pytest.fixture(scope="module")
def platform(engine: Engine, puppet: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Give a platform with two functions of the same image, one of which is left in peace."""
    folder = tmp_path_factory.mktemp("m")
    with running(engine) as node:
        node.deploy(
            manifests(folder, puppet, resources="{memory: 128Mi}", timeout=f"{TIMEOUT_S}s"),
            manifests(folder, puppet, name="calm", timeout="30s"),
        )
        yield node


async def durations(client: Client, until: asyncio.Event, *, at_least: int) -> list[float]:
    """Send Commands to the function that is left in peace, one after the other, and return how long each took."""
    taken: list[float] = []
    while not until.is_set() or len(taken) < at_least:
        started = time.monotonic()
        answer = await client.send(f"calm/Counter/c{len(taken) % 7}", "Do", {"order": "ok"})
        taken.append(time.monotonic() - started)
        assert answer["outcome"] == "succeeded"
        await asyncio.sleep(0.01)
    return taken


def counts(platform: Node, code: str) -> list[float]:
    """Return how many turns have failed, and how many calls in this way."""
    calls = metric(platform, "evento_function_calls_total", function="puppet", result=code)
    return [metric(platform, "evento_commands_total", entity="puppet/Counter", outcome="failed"), calls]


async def parked(client: Client, instance: str, order: str) -> dict[str, Any]:
    """Send an order, and return what became of it when it was tried once and set aside."""
    answer = await client.send(instance, "Do", {"order": order}, wait_s=0)
    for _ in eventually(f"{order} is parked"):
        if answer["outcome"] != "pending":
            return answer
        await asyncio.sleep(0.05)
        answer = await client.outcome(instance, answer["command_id"])
    raise AssertionError


@pytest.mark.parametrize("order", MISBEHAVIOURS)
async def test_each_misbehaviour_is_a_failed_turn_with_its_cause_and_slows_no_other(platform: Node, order: str) -> None:
    code, said = MISBEHAVIOURS[order]
    counted = counts(platform, code)
    over = asyncio.Event()
    over.set()
    async with Client(platform.url) as client:
        answer = await client.send("puppet/Counter/good", "Do", {"order": "ok"}, wait_s=60)
        assert answer["outcome"] == "succeeded", answer
        before = await durations(client, over, at_least=20)
        over.clear()
        async with asyncio.TaskGroup() as tasks:
            others = tasks.create_task(durations(client, over, at_least=20))
            name = f"puppet/Counter/bad-{order.replace(' ', '-').replace('.', '-')}"
            answer = await parked(client, name, order)
            over.set()
        assert answer["outcome"] == "parked", answer
        assert answer["failure"]["code"] == code, answer
        assert said in answer["failure"]["message"], answer
        assert counts(platform, code) == [each + 1 for each in counted]
        assert f"Do of {name} failed by puppet: {code}: {answer['failure']['message']}" in platform.log()
        answer = await client.send("puppet/Counter/good", "Do", {"order": "ok"}, wait_s=60)
        assert answer["outcome"] == "succeeded", answer
    assert max(others.result()) < SLOWER_MAX * max(before) + SLOWER_S


async def test_an_event_that_is_not_the_commands_is_refused_and_counted(platform: Node) -> None:
    (failed, _), name = counts(platform, INVALID), "puppet/Counter/bad-wrong-event"
    async with Client(platform.url) as client:
        answer = await parked(client, name, "wrong-event")
    assert answer["failure"]["code"] == INVALID and "ended in 'Stolen', which it does not declare" in answer["failure"]["message"]
    assert counts(platform, INVALID)[0] == failed + 1
    assert f"Do of {name} failed by puppet: {INVALID}: Do ended in 'Stolen'" in platform.log()


async def test_a_function_that_never_gets_ready_keeps_its_commands_waiting_and_says_why(
    platform: Node, puppet: str, tmp_path: Path
) -> None:
    platform.deploy(manifests(tmp_path, puppet, name="late", start="1s", env={"MODE": "mute"}))
    why = "function late/late was not ready within 1 s: no connection to unix:"
    async with Client(platform.url) as client:
        answer = await client.send("late/Counter/a", "Do", {"order": "ok"}, wait_s=4)
        assert answer["outcome"] == "pending", answer
        assert not answer.get("attempts"), answer
        for _ in eventually("it is said why"):
            functions = {each["name"]: each for each in (await client.status())["functions"]}
            if functions["late"]["condition"] == "failing" and why in functions["late"]["message"]:
                break
        said = platform.evento("status")
        assert "late/late" in said and "failing" in said and "was not ready within 1 s" in said
        assert (await client.send("calm/Counter/a", "Do", {"order": "ok"}))["outcome"] == "succeeded"
    assert why in platform.log()
    assert metric(platform, "evento_function_replica_ends_total", function="late", cause="not-ready") >= 1
    assert not metric(platform, "evento_commands_total", entity="late/Counter", outcome="failed")


async def test_what_the_containers_did_is_in_the_log_under_their_name_and_counted(
    platform: Node, puppet: str, tmp_path: Path
) -> None:
    """With time enough for a busy machine: what is slow here must not be taken for what hangs."""
    platform.deploy(manifests(tmp_path, puppet, name="noted", resources="{memory: 128Mi}", timeout="8s"))
    async with Client(platform.url) as client:
        for order, code in (("crash", CRASHED), ("oom", MEMORY), ("block", TIMEOUT)):
            answer = await parked(client, f"noted/Counter/{order}", order)
            assert answer["failure"]["code"] == code, answer
            answer = await client.send("noted/Counter/good", "Do", {"order": "ok"}, wait_s=60)
            assert answer["outcome"] == "succeeded", answer
    said = (
        '"logger":"evento.function.noted.noted.1","message":"serving"',
        "function noted/noted exited with status 3; its last output: serving | about to crash",
        "function noted/noted was killed because it hung in a call",
    )
    for _ in eventually("all of it is in the log"):
        if all(each in platform.log() for each in said):
            break
        await asyncio.sleep(0.1)
    for cause in ("crashed", "out-of-memory", "hung"):
        assert metric(platform, "evento_function_replica_ends_total", function="noted", cause=cause) == 1
    assert metric(platform, "evento_function_replicas", function="noted") == 1
