"""A client of the function protocol that looks closely: every reply is checked against the rules before it is believed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from evento.clock import SystemClock
from evento.keys import SigningKey
from evento.protocol.envelope import (
    CALL,
    HEALTH_PATH,
    MEDIA_TYPE,
    PROTOCOL_VERSION,
    REPLY,
    WORK_PATH,
    EnvelopeError,
    decode,
    decode_discovery,
    encode,
)
from evento.testing.function_samples import Samples

CALL_S = 30.0
FAILED = "failed"  # the code of all failures of a function that takes single items: it need not tell them apart
_NOT_NOW = (401, 429, 503)
EVENTS_PER_COMMAND_MAX = 100
TIME_US = 1_700_000_000_000_000


class Broken(Exception):
    """A rule of function.md is broken."""

    def __init__(self, rule: int, detail: str) -> None:
        super().__init__(detail)
        self.rule, self.detail = rule, detail


@dataclass(frozen=True)
class Item:
    """One Command or event to send."""

    type: str
    payload: bytes


@dataclass(frozen=True)
class Work:
    """One instance's part of a call."""

    id: str
    version: int
    state: bytes
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Result:
    """What became of it: the events of each finished item, the state after them (None where there is none), a failure's code."""

    events: tuple[tuple[Item, ...], ...]
    state: bytes | None
    failure: str | None


@dataclass(frozen=True)
class Subject:
    """One Entity as the discovery describes it, with samples for each of its types."""

    namespace: str
    name: str
    applies: bool
    state: Samples
    commands: dict[str, Samples]
    outcomes: dict[str, frozenset[str]]
    events: dict[str, Samples]

    @property
    def decides(self) -> str:
        """Return the operation to send Commands with."""
        return "turn" if self.applies else "handle"


@dataclass
class Probe:
    """Talks to one function."""

    session: aiohttp.ClientSession
    base: str
    connections: list[int] = field(default_factory=lambda: [0])
    sign: Callable[[str, str, bytes], dict[str, str]] = field(default=lambda method, path, body: {})
    single: bool = False  # known once the discovery is

    def code(self, code: str) -> str:
        """Return the code that a failure is expected to have."""
        return FAILED if self.single else code

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, str, bytes]:
        """Return status, content type and body of one answer; the request is signed if there is a key."""
        headers = {} if path == HEALTH_PATH else self.sign(method, path, body)
        return await self.request_as(method, path, body, headers)

    async def request_as(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        """Do the same with these headers for a signature."""
        if method == "POST":
            headers = {"Content-Type": MEDIA_TYPE} | headers
        async with self.session.request(method, self.base + path, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.content_type, await answer.read()

    async def health(self) -> int:
        """Return the status of the health endpoint."""
        return (await self.request("GET", HEALTH_PATH))[0]

    async def discover(self) -> list[Subject]:
        """Return what is served. Raises Broken."""
        status, media_type, body = await self.request("GET", WORK_PATH)
        if status != 200 or media_type != MEDIA_TYPE:
            said = f"GET {WORK_PATH} answers {status} {media_type}: {body[:200].decode(errors='replace')}"
            raise Broken(3, f"{said} (is it the right --key?)" if status == 401 else said)
        if body != (await self.request("GET", WORK_PATH))[2]:
            raise Broken(3, "the discovery is not the same at a second request")
        try:
            discovery = decode_discovery(body)
            if discovery["protocol"] != PROTOCOL_VERSION:
                raise Broken(3, f"it speaks version {discovery['protocol']} of the protocol, not {PROTOCOL_VERSION}")
            subjects = [_subject(entity) for entity in discovery["entities"]]
        except EnvelopeError as error:
            raise Broken(3, f"the discovery is {error}") from error
        if not subjects:
            raise Broken(3, "it serves nothing")
        self.single = discovery["single"]
        return subjects

    async def post(self, body: bytes) -> int:
        """Return the status for a body that may be anything."""
        return (await self.request("POST", WORK_PATH, body))[0]

    async def call(self, subject: Subject, operation: str, works: Sequence[Work]) -> list[Result]:
        """Make one call and return the result of each instance. Raises Broken, with the rule that the reply breaks.

        A function that takes single items gets each alone, as from the platform.
        """
        if self.single:
            return [await self._step(subject, operation, work) for work in works]
        return _read(subject, operation, works, await self._answer(subject, operation, works))

    async def _answer(self, subject: Subject, operation: str, works: Sequence[Work]) -> tuple[int, str, bytes]:
        return await self.request("POST", WORK_PATH, encode(CALL, columns(subject, operation, works)))

    async def _step(self, subject: Subject, operation: str, work: Work) -> Result:
        """Send the items of one instance, each with what the one before ended in, until one fails."""
        events: list[tuple[Item, ...]] = []
        version, state, after = work.version, work.state, None
        for item in work.items:
            single = [Work(work.id, version, state, (item,))]
            answer = await self._answer(subject, operation, single)
            if answer[0] in _NOT_NOW:
                raise Broken(47, f"{item.type} is answered with {answer[0]}: that means not ready, and never ends")
            result = _read(subject, operation, single, answer)[0] if answer[0] == 200 else Result((), None, FAILED)
            if result.failure is not None:
                return Result(tuple(events), after, FAILED)
            events += result.events
            if result.state is not None:
                state = after = result.state
                version += 1 if operation == "apply" else len(result.events[0])
        return Result(tuple(events), after, None)


def _read(subject: Subject, operation: str, works: Sequence[Work], answer: tuple[int, str, bytes]) -> list[Result]:
    status, media_type, body = answer
    if status != 200 or media_type != MEDIA_TYPE:
        raise Broken(4, f"{operation} answers {status} {media_type}: {body[:200].decode(errors='replace')}")
    try:
        reply = decode(REPLY, body)
    except EnvelopeError as error:
        raise Broken(4, f"the reply is {error}") from error
    return _results(subject, operation, works, reply)


@asynccontextmanager
async def probing(target: str, key: SigningKey | None = None) -> AsyncIterator[Probe]:
    """Open a Probe on `http://host:port` or `unix:/path`; with a key it signs."""
    opened = [0]

    async def count(*_: object) -> None:
        opened[0] += 1

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    path = target.removeprefix("unix:") if target.startswith(("unix:", "/")) else None
    connector = aiohttp.UnixConnector(path, limit=64) if path else aiohttp.TCPConnector(limit=64)
    timeout = aiohttp.ClientTimeout(total=CALL_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[trace]) as session:
        probe = Probe(session, "http://function" if path else target.rstrip("/"), opened)
        if key is not None:
            probe.sign = _signing(key, urlsplit(probe.base).path)
        yield probe


def _signing(key: SigningKey, base: str) -> Callable[[str, str, bytes], dict[str, str]]:
    clock = SystemClock()
    return lambda method, path, body: key.headers(
        method=method, path=f"{base}{path}", body=body, created_s=clock.now_us() // 1_000_000
    )


def columns(subject: Subject, operation: str, works: Sequence[Work]) -> dict[str, Any]:
    """Return the call for these works."""
    items = [item for work in works for item in work.items]
    types = list(dict.fromkeys(item.type for item in items))
    told = 0 if operation == "apply" else len(items)
    return {
        "operation": operation,
        "namespace": subject.namespace,
        "entity": subject.name,
        "types": types,
        "ids": [work.id for work in works],
        "versions": [work.version for work in works],
        "states": [work.state for work in works],
        "counts": [len(work.items) for work in works],
        "item_types": [types.index(item.type) for item in items],
        "payloads": [item.payload for item in items],
        "times": [TIME_US] * told,
        "command_ids": ["kit"] * told,
        "contexts": [None] * told,
    }


def _subject(entity: dict[str, Any]) -> Subject:
    where = f"{entity['namespace']}/{entity['name']}"

    def samples(name: str, text: str) -> Samples:
        try:
            return Samples(json.loads(text))
        except Exception as error:
            raise Broken(3, f"the schema of {where} {name} is none: {type(error).__name__}: {error}") from error

    return Subject(
        entity["namespace"],
        entity["name"],
        entity["applies"],
        samples("itself", entity["schema"]),
        {command["name"]: samples(command["name"], command["schema"]) for command in entity["commands"]},
        {command["name"]: frozenset(command["events"] + command["rejections"]) for command in entity["commands"]},
        {event["name"]: samples(event["name"], event["schema"]) for event in entity["events"]},
    )


def _results(subject: Subject, operation: str, works: Sequence[Work], reply: dict[str, Any]) -> list[Result]:
    done, states, failures = reply["done"], reply["states"], _failures(works, reply)
    if len(done) != len(works) or len(states) != (0 if operation == "handle" else len(works)):
        raise Broken(18, f"done has {len(done)} elements and states {len(states)} for {len(works)} instances")
    if any(not 0 <= finished <= len(work.items) for finished, work in zip(done, works, strict=True)):
        raise Broken(18, "done has more than there are items")
    counts = [0] * sum(done) if operation == "apply" and not reply["counts"] else reply["counts"]
    if len(counts) != sum(done) or not sum(counts) == len(reply["event_types"]) == len(reply["payloads"]):
        raise Broken(18, f"{sum(done)} items are finished; counts has {len(counts)} elements, adding up to {sum(counts)} events")
    if any(not 0 <= index < len(reply["types"]) for index in reply["event_types"]):
        raise Broken(18, "event_types points outside of types")
    events = [Item(reply["types"][i], payload) for i, payload in zip(reply["event_types"], reply["payloads"], strict=True)]
    results, item, event = [], 0, 0
    for number, work in enumerate(works):
        runs = []
        for sent in work.items[: done[number]]:
            runs.append(tuple(events[event : event + counts[item]]))
            event, item = event + counts[item], item + 1
            if operation != "apply":
                _check_events(subject, sent, runs[-1])
        state = states[number] if done[number] and operation != "handle" else None
        fault = subject.state.fault(state) if state is not None else ""
        if fault:
            raise Broken(20, f"a state of {subject.name} is {fault}")
        failure = failures.get(number)
        if (failure is None) != (done[number] == len(work.items)):
            raise Broken(23, f"instance {number}: {done[number]} of {len(work.items)} items are finished, its failure is {failure}")
        results.append(Result(tuple(runs), state, failure))
    return results


def _failures(works: Sequence[Work], reply: dict[str, Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for failure in reply["failures"]:
        if failure["instance"] in found or not 0 <= failure["instance"] < len(works):
            raise Broken(23, f"failures names instance {failure['instance']} of {len(works)} twice, or it is none")
        found[failure["instance"]] = failure["code"]
    return found


def _check_events(subject: Subject, sent: Item, events: tuple[Item, ...]) -> None:
    if not 1 <= len(events) <= EVENTS_PER_COMMAND_MAX:
        raise Broken(19, f"{sent.type} ended in {len(events)} events")
    for event in events:
        if event.type not in subject.outcomes.get(sent.type, ()):
            raise Broken(19, f"{sent.type} ended in {event.type}, which it does not declare")
        fault = subject.events[event.type].fault(event.payload) if event.type in subject.events else "of no known schema"
        if fault:
            raise Broken(20, f"a payload of {event.type} is {fault}")


async def at_once(probe: Probe, subject: Subject, works: Sequence[Work]) -> list[Result]:
    """Make one call for each of these works, all at the same time."""
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(probe.call(subject, subject.decides, [work])) for work in works]
    return [call.result()[0] for call in calls]
