"""A platform that is told where to send traces sends them: from the sender's span over intake, call and commit, as OTLP."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector import Collector, Received, collecting

from evento.tracing.spans import is_sampled
from tests.ports import free_port

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
SERVER, CLIENT, INTERNAL = 2, 3, 1
START_S = 180.0
STOP_S = 60.0  # nobody waits for ever for a collector

# A function that puts the trace context it was given into its Event, so that the test can see it.
ECHO = """
from dataclasses import dataclass

from evento.sdk import Context, Namespace

app = Namespace("echo")


@app.entity
@dataclass(frozen=True)
class Wall:
    seen: str = ""


@app.event(Wall)
@dataclass(frozen=True)
class Heard:
    traceparent: str


@app.command(Wall)
@dataclass(frozen=True)
class Call:
    fails: bool = False


@app.handle
def call(command: Call, wall: Wall | None, context: Context) -> Heard:
    if command.fails:
        raise RuntimeError("cannot hear")
    return Heard(context.traceparent or "none")


@app.apply
def apply(event: Heard, wall: Wall | None) -> Wall:
    return Wall(event.traceparent)
"""


class Node:
    """A platform as a process."""

    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log

    def post(self, path: str, body: bytes, **headers: str) -> str:
        request = urllib.request.Request(f"{self.url}{path}", data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310
            return str(answer.read().decode())

    def call(self, instance: str, traceparent: str = "") -> str:
        """Send a Command and return the trace context that the function saw."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"id-{instance}"}
        more = {"traceparent": traceparent} if traceparent else {}
        answer = json.loads(self.post(f"/v1/echo/Wall/{instance}/Call", b"{}", **headers, **more))
        return str(answer["events"][0]["data"]["traceparent"])

    def stop(self) -> float:
        """Stop it, and return how long that took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0, self.log.read_text()
        return time.monotonic() - started


@contextmanager
def platform(folder: Path, **env: str) -> Iterator[Node]:
    (folder / "echo.py").write_text(ECHO)
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EVENTO_", "OTEL_"))}
    command = [sys.executable, "-m", "evento", "dev", "echo.py", "--data", str(folder / "data"), "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={**clean, **env})
    node = Node(process, f"http://127.0.0.1:{port}", folder / "log")
    try:
        until = time.monotonic() + START_S
        while not ready(node):
            assert process.poll() is None and time.monotonic() < until, node.log.read_text()
            time.sleep(0.05)
        yield node
    finally:
        process.kill()
        process.wait()


def ready(node: Node) -> bool:
    try:
        with urllib.request.urlopen(f"{node.url}/readyz", timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def tracing(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def by_name(spans: list[Received], start: str) -> list[Received]:
    return [span for span in spans if span.name.startswith(start)]


def test_one_command_is_one_trace_from_its_sender_to_its_commit(tmp_path: Path) -> None:
    with collecting() as collector, platform(tmp_path, **tracing(collector)) as node:
        seen = node.call("a", SAMPLED)
        spans = collector.wait(4)
    assert sorted(span.name for span in spans) == ["Call echo/Wall", "commit echo/Wall", "turn Call", "turn echo/Wall"]
    assert {span.trace for span in spans} == {TRACE}
    (intake,), (turn,) = by_name(spans, "Call echo"), by_name(spans, "turn Call")
    (whole,), (commit,) = by_name(spans, "turn echo"), by_name(spans, "commit")
    assert intake.parent == PARENT and {turn.parent, whole.parent, commit.parent} == {intake.id}
    assert (intake.kind, whole.kind, turn.kind, commit.kind) == (SERVER, CLIENT, INTERNAL, INTERNAL)
    assert seen.startswith(f"00-{TRACE}-{turn.id}-") and is_sampled(seen)
    assert intake.attributes["evento.outcome"] == "succeeded" and intake.attributes["evento.version"] == 1
    assert intake.attributes["evento.command.id"] == turn.attributes["evento.command.id"] == "id-a"
    assert intake.start_ns <= whole.start_ns <= whole.end_ns and commit.start_ns >= whole.start_ns - 1_000_000
    assert collector.requests[0] == ("/v1/traces", "application/x-protobuf")
    assert intake.resource["service.name"] == "evento"


def test_a_batch_is_one_call_with_links_and_each_command_keeps_its_trace(tmp_path: Path) -> None:
    traces = [f"{number:032x}" for number in range(1, 31)]
    lines = [
        json.dumps({"entity": "echo/Wall", "id": f"i{n}", "command": "Call", "data": {}, "traceparent": f"00-{trace}-{PARENT}-01"})
        for n, trace in enumerate(traces)
    ]
    with collecting() as collector, platform(tmp_path, **tracing(collector, OTEL_SERVICE_NAME="the-bank")) as node:
        node.call("warm-up")
        node.post("/v1/commands", ("\n".join(lines) + "\n").encode(), **{"Content-Type": "application/x-ndjson"})
        node.stop()
        spans = [span for span in collector.spans if span.trace in traces]
    intakes, turns, commits = by_name(spans, "Call echo"), by_name(spans, "turn Call"), by_name(spans, "commit")
    assert {span.trace for span in intakes} == {span.trace for span in turns} == {span.trace for span in commits} == set(traces)
    calls = by_name(spans, "turn echo")
    assert len(calls) < len(traces), "one call carries many Commands"
    intake_of = {span.id: span for span in intakes}
    served = [intake_of[link].trace for call in calls for link in call.links] + [call.trace for call in calls]
    assert sorted(served) == sorted(traces), "each call names each Command in it once: its parent's, and by links the others'"
    assert all(turn.links[0] in {call.id for call in calls} for turn in turns)
    assert {span.resource["service.name"] for span in spans} == {"the-bank"}


def test_a_turn_that_fails_is_seen_as_an_error_and_its_next_attempt_in_the_same_trace(tmp_path: Path) -> None:
    with collecting() as collector, platform(tmp_path, **tracing(collector)) as node:
        headers = {"Content-Type": "application/json", "Prefer": "wait=0", "traceparent": SAMPLED}
        node.post("/v1/echo/Wall/a/Call", b'{"fails": true}', **headers)
        until = time.monotonic() + 90
        while len(by_name(collector.spans, "failed")) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        spans = list(collector.spans)
    failures, turns = by_name(spans, "failed"), by_name(spans, "turn Call")
    assert len(failures) >= 2 and {span.trace for span in (*failures, *turns)} == {TRACE}
    assert all("cannot hear" in span.failed for span in (*failures, *turns))
    (intake,) = by_name(spans, "Call echo")
    assert intake.attributes["evento.outcome"] == "pending" and not intake.failed


def test_what_the_sender_does_not_record_is_not_recorded_and_its_context_still_travels(tmp_path: Path) -> None:
    with collecting() as collector, platform(tmp_path, **tracing(collector)) as node:
        seen = node.call("a", UNSAMPLED)
        node.call("b", SAMPLED)
        spans = collector.wait(4)
        node.stop()
        spans = list(collector.spans)
    assert seen.startswith(f"00-{TRACE}-") and seen.endswith("-00") and seen != UNSAMPLED
    assert len(spans) == 4 and by_name(spans, "Call")[0].attributes["evento.instance"] == "b"


def test_the_standard_sampler_decides_for_commands_without_a_trace(tmp_path: Path) -> None:
    with (
        collecting() as collector,
        platform(tmp_path, **tracing(collector, OTEL_TRACES_SAMPLER="parentbased_always_off")) as node,
    ):
        assert not is_sampled(node.call("a"))
        assert is_sampled(node.call("b", SAMPLED))
        assert {span.trace for span in collector.wait(4)} == {TRACE}


def test_without_an_endpoint_nothing_is_made_and_a_context_is_passed_on_as_it_is(tmp_path: Path) -> None:
    with platform(tmp_path) as node:
        assert node.call("a", SAMPLED) == SAMPLED
        assert node.call("b") == "none"


def test_a_collector_that_is_not_there_or_hangs_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with platform(
        tmp_path / "1",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_EXPORTER_OTLP_TIMEOUT="600",
    ) as node:
        assert node.call("a", SAMPLED)
        assert node.stop() < STOP_S
    with (
        collecting(hang=threading.Event()) as collector,
        platform(tmp_path / "2", **tracing(collector, OTEL_EXPORTER_OTLP_TIMEOUT="600")) as node,
    ):
        assert node.call("a", SAMPLED)
        assert node.stop() < STOP_S


def test_what_cannot_be_sent_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ModuleNotFoundError('opentelemetry')")
    for more, message in (
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "traces are sent as http/protobuf only"),
        ({"PYTHONPATH": str(tmp_path)}, "pip install 'evento-platform[otlp]'"),
    ):
        env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **more}
        command = [sys.executable, "-m", "evento", "serve", "--port", "0", "--data", str(tmp_path / "data")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1 and message in done.stderr, done
