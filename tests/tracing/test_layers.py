"""The layers by themselves, over the library's own spans: what they make, and that without tracing they are not there."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from evento.engine.observer import Observer
from evento.errors import FunctionTimeout, Overloaded, VersionConflict
from evento.functions.base import FunctionEvent, InstanceCall, InstanceReply, Item, Operation, Reply
from evento.functions.calling import traceparent
from evento.model.command import Command, Context, Failure, Outcome, OutcomeKind, Pending, Turn
from evento.model.keys import EntityKey
from evento.tracing import Tracing
from evento.tracing.calls import TracedClient
from evento.tracing.commands import TracedCommands
from evento.tracing.commits import TracedObserver
from evento.tracing.spans import LINKS_MAX, Spans, is_sampled

KEY = EntityKey("bank", "Checking", "alice")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def context(number: int = 1, flags: str = "01") -> Context:
    return Context(correlation_id="kept", traceparent=f"00-{TRACE}-{number:016x}-{flags}")


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.clear()


@pytest.fixture
def spans(made: InMemorySpanExporter) -> Spans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(made))
    return Spans(provider, "0")


def finished(made: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in made.get_finished_spans()}


def why(span: ReadableSpan) -> str:
    return span.status.description or ""


class ScriptedClient:
    """A client that answers what it is told, and remembers what it was asked."""

    revision = "r1"

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.calls: Sequence[InstanceCall] = ()
        self.header = ""

    async def ready(self) -> None: ...

    async def call(self, operation: Operation, namespace: str, entity: str, calls: Sequence[InstanceCall]) -> Reply:
        self.calls, self.header = calls, traceparent()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def item(number: int, **more: Any) -> Item:
    return Item("Pay", b"p", 1, f"c{number}", more.get("context", context(number)))


def instance(*items: Item) -> InstanceCall:
    return InstanceCall("a", 0, None, items)


DONE = [FunctionEvent("Paid", b"")]


async def call(client: TracedClient, *calls: InstanceCall) -> Reply:
    return await client.call(Operation.TURN, "bank", "Checking", calls)


async def test_each_item_gets_a_context_of_its_own_and_the_rest_of_it_is_kept(spans: Spans, made: InMemorySpanExporter) -> None:
    inner = ScriptedClient(Reply("r1", [InstanceReply([DONE, DONE], b"s"), InstanceReply([DONE], b"s")]))
    await call(TracedClient(inner, "bank/f", spans), instance(item(1), item(2)), instance(item(3)))
    passed = [each.context for one in inner.calls for each in one.items if each.context]
    assert len({each.traceparent for each in passed}) == 3 and {each.correlation_id for each in passed} == {"kept"}
    ids = {f"{span.context.span_id:016x}" for span in made.get_finished_spans() if span.name == "turn Pay"}
    assert {each.traceparent.split("-")[2] for each in passed if each.traceparent} == ids
    assert inner.header.split("-")[2] == f"{finished(made)['turn bank/Checking'].context.span_id:016x}"
    assert traceparent() == "", "after the call it is not set any more"


async def test_who_failed_who_did_not_and_who_was_not_reached(spans: Spans, made: InMemorySpanExporter) -> None:
    reply = Reply("r1", [InstanceReply([DONE], b"s", Failure("handler-failed", "no money"))])
    await call(TracedClient(ScriptedClient(reply), "bank/f", spans), instance(item(1), item(2), item(3)))
    ended = made.get_finished_spans()
    turns = {str((span.attributes or {})["evento.command.id"]): why(span) for span in ended if span.name == "turn Pay"}
    assert turns == {"c1": "", "c2": "no money", "c3": "not reached: an item before it failed"}
    assert why(finished(made)["turn bank/Checking"]) == "", "the call was answered"


async def test_a_call_that_fails_as_a_whole_fails_every_span_and_is_raised(spans: Spans, made: InMemorySpanExporter) -> None:
    with pytest.raises(FunctionTimeout):
        await call(TracedClient(ScriptedClient(FunctionTimeout("too slow")), "bank/f", spans), instance(item(1), item(2)))
    assert [why(span) for span in made.get_finished_spans()] == ["too slow"] * 3


async def test_a_call_that_is_given_up_leaves_no_span_open(spans: Spans, made: InMemorySpanExporter) -> None:
    with pytest.raises(KeyboardInterrupt):
        await call(TracedClient(ScriptedClient(KeyboardInterrupt()), "bank/f", spans), instance(item(1)))
    assert [why(span) for span in made.get_finished_spans()] == ["the call was given up"] * 2


async def test_what_is_not_recorded_is_passed_through_untouched(spans: Spans, made: InMemorySpanExporter) -> None:
    inner = ScriptedClient(Reply("r1", [InstanceReply([DONE, DONE], b"s")]))
    asked = [instance(item(1, context=None), item(2, context=context(2, "00")))]
    await call(TracedClient(inner, "bank/f", spans), *asked)
    assert list(inner.calls) == asked and inner.calls[0] is asked[0] and inner.header == "" and not made.get_finished_spans()


async def test_the_links_of_a_call_are_bounded(spans: Spans, made: InMemorySpanExporter) -> None:
    many = [item(number) for number in range(1, 2 * LINKS_MAX)]
    reply = Reply("r1", [InstanceReply([DONE] * len(many), b"s")])
    await call(TracedClient(ScriptedClient(reply), "bank/f", spans), instance(*many))
    assert len(finished(made)["turn bank/Checking"].links) == LINKS_MAX


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("", False)])
def test_the_flag_tells_whether_a_trace_is_recorded(flags: str, sampled: bool) -> None:
    assert is_sampled(f"00-{TRACE}-{1:016x}-{flags}") is sampled
    assert not is_sampled(None) and not is_sampled("")


# ------------------------------------------------------------------ intake
class ScriptedCommands:
    """Commands that end as they are told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.sent: list[Command] = []

    async def send(self, command: Command, *, wait_s: float) -> Outcome:
        self.sent.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def submit(self, command: Command, waiter: Any, *, wait_s: float) -> None:
        self.sent.append(command)
        if isinstance(self.answer, Overloaded):
            raise self.answer
        waiter.tell(7, self.answer)

    async def send_many(self, commands: Sequence[Command], *, wait_s: float, order: Any = None) -> Sequence[Any]:
        self.sent += commands
        return [self.answer for _ in commands]

    async def pending(self, *, parked: bool | None = None, after: int = 0, limit: int = 100) -> Sequence[Pending]:
        return []

    async def retry(self, key: EntityKey, command_id: str) -> None: ...

    async def discard(self, key: EntityKey, command_id: str) -> None: ...


class Heard:
    """A waiter that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Any]] = []

    def tell(self, place: int, answer: Any) -> None:
        self.heard.append((place, answer))


def command(**more: Any) -> Command:
    return Command("c1", KEY, "Pay", 1, b"p", 5, **more)


TURN = Turn(command(), OutcomeKind.SUCCEEDED, 6, (), 9)
SUCCEEDED = Outcome(OutcomeKind.SUCCEEDED, TURN)
PARKED = Outcome(OutcomeKind.PARKED, pending=Pending(1, command(), parked=True, failure=Failure("x", "broken for good")))
ENDS: list[tuple[Any, str, str]] = [
    (SUCCEEDED, "succeeded", ""),
    (PARKED, "parked", "broken for good"),
    (VersionConflict("at 7"), "version-conflict", ""),
    (Overloaded("full"), "overloaded", "full"),
]


@pytest.mark.parametrize(("answer", "outcome", "failure"), ENDS, ids=[outcome for _, outcome, _ in ENDS])
async def test_an_intake_ends_as_its_sender_is_told(
    answer: Any, outcome: str, failure: str, spans: Spans, made: InMemorySpanExporter
) -> None:
    commands, waiter = TracedCommands(ScriptedCommands(answer), spans), Heard()
    try:
        commands.submit(command(context=context()), waiter, wait_s=1)
        assert waiter.heard == [(7, answer)]
    except Overloaded:
        assert not waiter.heard
    try:
        assert await commands.send(command(context=context()), wait_s=1) is answer
    except (VersionConflict, Overloaded) as error:
        assert error is answer
    assert await commands.send_many([command(context=context()), command()], wait_s=1) == [answer, answer]
    ended = made.get_finished_spans()
    assert len(ended) == 4
    assert {(span.attributes or {})["evento.outcome"] for span in ended} == {outcome} and {why(span) for span in ended} == {failure}


async def test_a_command_without_a_trace_begins_one_and_one_with_it_goes_on(spans: Spans) -> None:
    inner = ScriptedCommands(SUCCEEDED)
    commands = TracedCommands(inner, spans)
    await commands.send(command(), wait_s=1)
    await commands.send(command(context=context()), wait_s=1)
    first, second = (each.context for each in inner.sent)
    assert first and second and is_sampled(first.traceparent) and second.correlation_id == "kept"
    assert second.traceparent and second.traceparent.startswith(f"00-{TRACE}-") and second.traceparent != context().traceparent


async def test_the_care_of_commands_is_handed_on(spans: Spans) -> None:
    commands = TracedCommands(ScriptedCommands(SUCCEEDED), spans)
    assert await commands.pending() == []
    await commands.retry(KEY, "c")
    await commands.discard(KEY, "c")


# ------------------------------------------------------------------ commits
class Counting(Observer):
    """An observer that counts."""

    heard = 0

    def committed(self, turns: Sequence[Turn], commit_s: float, now_us: int) -> None:
        self.heard += len(turns)


def test_a_commit_is_recorded_with_its_times_for_each_traced_command(spans: Spans, made: InMemorySpanExporter) -> None:
    inner = Counting()
    contexts = (context(1), None, context(2, "00"), context(3))
    turns = [Turn(command(context=each), OutcomeKind.REJECTED, 3, (), 9) for each in contexts]
    TracedObserver(inner, spans).committed(turns, 0.25, 10_000_000)
    assert inner.heard == 4
    ended = made.get_finished_spans()
    assert [f"{span.parent.span_id:016x}" for span in ended if span.parent] == [f"{1:016x}", f"{3:016x}"]
    assert {(span.start_time, span.end_time) for span in ended} == {(9_750_000_000, 10_000_000_000)}
    assert {(span.attributes or {})["evento.commit.commands"] for span in ended} == {4}


# ------------------------------------------------------------------ without tracing
def test_without_tracing_there_is_no_layer() -> None:
    tracing, thing = Tracing(), object()
    assert tracing.commands(thing) is thing  # type: ignore[arg-type]
    assert tracing.runtime(thing) is thing  # type: ignore[arg-type]
    assert tracing.observer(thing) is thing  # type: ignore[arg-type]


def test_without_tracing_the_library_is_not_even_imported() -> None:
    program = """
import asyncio, sys
import evento.bootstrap
from evento.tracing import open_tracing

async def main():
    async with open_tracing({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) as tracing:
        tracing.commands(tracing), tracing.runtime(tracing), tracing.observer(tracing)

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
