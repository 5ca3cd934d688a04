"""The conformance kit for functions (`evento function check`): checks the rules of function.md that show from outside.

Works against any function in any language and knows nothing of its domain: it reads the discovery, makes sample data from the
schemas, finds out what the function makes of it, and then compares: many with one, twice with once, turn with apply.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from evento.clock import SystemClock
from evento.keys import SigningKey
from evento.protocol.envelope import CALL, encode
from evento.testing.function_probe import Broken, Item, Probe, Result, Subject, Work, at_once, columns, probing
from evento.testing.signed_kit import health_stays_open, refuses_what_is_not_signed

STATES_MAX = 6  # different states of one Entity that samples are tried on
MANY = 1000  # instances in the big call
CONCURRENT = 16  # calls at once
POLL_S = 0.02
UNKNOWN = "NoSuchTypeInAnyDomain"


@dataclass(frozen=True)
class CheckResult:
    """What became of one check: the rule's number in function.md, what was looked at, and what was found if it is not ok."""

    rule: int
    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Known:
    """What one Command alone does to one instance."""

    work: Work
    result: Result


class Corpus:
    """All that was found out about one Entity by trying one Command at a time; what the checks compare with."""

    def __init__(self, probe: Probe, subject: Subject) -> None:
        self.probe, self.subject = probe, subject
        self.known: list[Known] = []

    async def explore(self) -> None:
        """Try every sample of every Command on an instance that does not exist, and on the first few states that come of it."""
        starts, tried = [Work("kit-0", 0, b"", ())], 0
        while tried < min(len(starts), STATES_MAX):
            start, tried = starts[tried], tried + 1
            for item in self._items():
                work = Work(start.id, start.version, start.state, (item,))
                (result,) = await self.probe.call(self.subject, self.subject.decides, [work])
                self.known.append(Known(work, result))
                if result.state is not None and all(result.state != other.state for other in starts):
                    version = start.version + len(result.events[0])
                    starts.append(Work(f"kit-{len(starts)}", version, result.state, ()))

    def _items(self) -> Iterator[Item]:
        for name, samples in self.subject.commands.items():
            yield from (Item(name, payload) for payload in samples.all())

    @property
    def finished(self) -> list[Known]:
        """Return what ended in events."""
        return [known for known in self.known if known.result.failure is None]

    @property
    def with_state(self) -> list[Known]:
        """Return what ended in events, on an instance that has a state."""
        return [known for known in self.finished if known.work.version]

    async def expect(self, rule: int, works: Sequence[Work], expected: Sequence[Result], what: str) -> None:
        """Make one call and compare. Raises Broken."""
        found = await self.probe.call(self.subject, self.subject.decides, works)
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                raise Broken(rule, f"{what}: instance {number} of {len(works)} gives {_short(one)} instead of {_short(other)}")


Check = Callable[[Corpus], Awaitable[None]]


async def check_function(target: str, key: SigningKey | None = None) -> list[CheckResult]:
    """Check the function at `http://host:port` or `unix:/path`; return one result per check, in the order of the rules.

    With a key, whose public part the function knows, all calls are signed, and it is tried whether others are refused.
    Raises nothing: a function that cannot be reached has failed the first check.
    """
    async with probing(target, key) as probe:
        results = [await _tried(2, "health endpoint", _healthy(probe))]
        if key is not None:
            results.append(await _tried(40, "what is not signed: 401", refuses_what_is_not_signed(probe, key)))
            results.append(await _tried(42, "health without a signature", health_stays_open(probe)))
        subjects: list[Subject] = []
        results.append(await _tried(3, "discovery", _discover(probe, subjects)))
        for subject in subjects:
            results += await _check_entity(probe, subject)
        if subjects:
            results += [
                await _tried(5, "keep-alive", _keeps_alive(probe)),
                *await _check_refusals(probe, subjects[0]),
            ]
    return sorted(results, key=lambda result: result.rule)


async def _check_refusals(probe: Probe, subject: Subject) -> list[CheckResult]:
    if probe.single:
        return [
            await _tried(48, "malformed calls: not 200, and alive afterwards", _malformed(probe, subject)),
            await _tried(49, "an Entity that is not served: not 200", _unknown_entity(probe, subject)),
        ]
    return [
        await _tried(26, "an Entity that is not served: 404", _unknown_entity(probe, subject)),
        await _tried(27, "malformed calls: 400, and alive afterwards", _malformed(probe, subject)),
    ]


async def _check_entity(probe: Probe, subject: Subject) -> list[CheckResult]:
    corpus = Corpus(probe, subject)
    where = f"{subject.namespace}/{subject.name}"
    results = [] if probe.single else [await _tried(28, f"{where}: empty call, instance without items", _empty(corpus))]
    if not subject.commands:
        return results
    explored = await _tried(4, f"{where}: every sample Command is answered within the rules", _explore(corpus))
    results.append(explored)
    if explored.ok:
        results += [
            await _tried(rule, f"{where}: {name}", check(corpus))
            for rule, name, check, needs in _CHECKS
            if subject.applies or not needs
        ]
    return results


async def _tried(rule: int, name: str, work: Awaitable[None]) -> CheckResult:
    try:
        await work
    except Broken as broken:
        return CheckResult(broken.rule, name, False, broken.detail)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return CheckResult(rule, name, False, f"{type(error).__name__}: {error}")
    except BaseExceptionGroup as group:
        broken_ones = group.subgroup(Broken)
        if broken_ones is None:
            return CheckResult(rule, name, False, "; ".join(f"{type(e).__name__}: {e}" for e in group.exceptions))
        return CheckResult(rule, name, False, str(broken_ones.exceptions[0]))
    return CheckResult(rule, name, True)


# ------------------------------------------------------------------ about the whole function
async def _healthy(probe: Probe) -> None:
    status = await probe.health()
    if status != 200:
        raise Broken(2, f"the health endpoint answers {status}")


async def _discover(probe: Probe, subjects: list[Subject]) -> None:
    subjects += await probe.discover()


async def _keeps_alive(probe: Probe) -> None:
    await probe.health()
    before = probe.connections[0]
    for _ in range(3):
        await probe.health()
    if probe.connections[0] != before:
        raise Broken(5, f"three requests one after the other took {probe.connections[0] - before} new connections")


async def _unknown_entity(probe: Probe, subject: Subject) -> None:
    operation, item = _any_item(subject)
    works = [Work("kit", 0, b"", (item,) if probe.single else ())]
    for changed in ({"entity": UNKNOWN}, {"namespace": "no-such-namespace"}):
        call = columns(subject, operation, works) | changed
        status = await probe.post(encode(CALL, call))
        if status == 200 or (status != 404 and not probe.single):
            rule = 49 if probe.single else 26
            raise Broken(rule, f"a call for {call['namespace']}/{call['entity']} is answered with {status}")


def _any_item(subject: Subject) -> tuple[str, Item]:
    """Return a good item, and the operation that it is one of."""
    name, samples = next(iter((subject.commands or subject.events).items()))
    return subject.decides if subject.commands else "apply", Item(name, samples.variant(1))


async def _malformed(probe: Probe, subject: Subject) -> None:
    operation, item = _any_item(subject)
    call = columns(subject, operation, [Work("kit", 0, b"", (item,))])
    body = encode(CALL, call)
    bodies = {
        "an empty body": b"",
        "JSON": b'{"operation": "turn"}',
        "a byte missing": body[:-1],
        "a byte left over": body + b"\0",
        "a huge count": b"\0\2a\2b\xfe\xff\xff\xff\xff\xff\xff\xff\x7f",
    }
    wrong: dict[str, dict[str, Any]] = {
        "counts that do not add up": {"counts": [2]},
        "a negative count": {"counts": [-1]},
        "versions of another length": {"versions": [0, 0]},
        "times of another length": {"times": []},
        "an item type outside of types": {"item_types": [1]},
        "a negative item type": {"item_types": [-1]},
    }
    rule = 48 if probe.single else 27
    for what, sent in (bodies | {what: encode(CALL, call | change) for what, change in wrong.items()}).items():
        status = await probe.post(sent)
        # A function that takes single items need not look whether columns fit together, only live on.
        if (status == 200 and what in bodies) if probe.single else status != 400:
            raise Broken(rule, f"{what} is answered with {status}")
        if await probe.health() != 200:
            raise Broken(rule, f"after {what} it is not healthy any more")


# ------------------------------------------------------------------ about each Entity
async def _explore(corpus: Corpus) -> None:
    await corpus.explore()
    if not corpus.finished:
        codes = sorted({known.result.failure for known in corpus.known if known.result.failure})
        raise Broken(19, f"none of {len(corpus.known)} sample Commands ended in an event; they failed with {codes}")


async def _empty(corpus: Corpus) -> None:
    operation = corpus.subject.decides if corpus.subject.commands else "apply"
    try:
        await corpus.probe.call(corpus.subject, operation, [])
        await corpus.probe.call(corpus.subject, operation, [Work("kit", 0, b"", ())])
    except Broken as broken:
        raise Broken(28, f"an empty call, or an instance without items: {broken.detail}") from broken


async def _pure(corpus: Corpus) -> None:
    works, results = [known.work for known in corpus.known], [known.result for known in corpus.known]
    for _ in range(2):
        await corpus.expect(16, works, results, "the same again")


async def _independent(corpus: Corpus) -> None:
    works, results = [known.work for known in corpus.known], [known.result for known in corpus.known]
    await corpus.expect(15, works, results, "all instances in one call")
    await corpus.expect(15, works[::-1], results[::-1], "all instances in one call, in another order")
    times = MANY // len(works) + 1
    await corpus.expect(15, (works * times)[:MANY], (results * times)[:MANY], f"{MANY} instances in one call")


async def _concurrent(corpus: Corpus) -> None:
    known = (corpus.known * CONCURRENT)[:CONCURRENT]
    found = await at_once(corpus.probe, corpus.subject, [one.work for one in known])
    for one, result in zip(known, found, strict=True):
        if result != one.result:
            raise Broken(5, f"{CONCURRENT} calls at once: one gives {_short(result)} instead of {_short(one.result)}")


async def _runs(corpus: Corpus) -> None:
    """Each Command that finished, followed by each sample of its kind: in one run, and one after the other."""
    probe, subject = corpus.probe, corpus.subject
    followers = list({known.work.items[0].type: known.work.items[0] for known in reversed(corpus.finished)}.values())
    for first in corpus.finished[: STATES_MAX * 2]:
        work, result = first.work, first.result
        after = work.version + len(result.events[0])
        seconds = [Work(work.id, after, result.state or b"", (item,)) for item in followers]
        alone = await probe.call(subject, "turn", seconds)
        runs = [Work(work.id, work.version, work.state, (*work.items, item)) for item in followers]
        expected = [Result(result.events + one.events, one.state if one.events else result.state, one.failure) for one in alone]
        await corpus.expect(13, runs, expected, f"{work.items[0].type} and another Command in one run")


async def _folds(corpus: Corpus) -> None:
    """The events of each Command, and of two in a row, applied: at once, one by one, and as turn did."""
    probe, subject = corpus.probe, corpus.subject
    for known in corpus.finished:
        work, (events,) = known.work, known.result.events
        (applied,) = await probe.call(subject, "apply", [Work(work.id, work.version, work.state, events)])
        if applied.state != known.result.state:
            raise Broken(14, f"apply of {', '.join(event.type for event in events)} gives another state than turn")
        twice = Work(work.id, work.version, work.state, events + events)
        after = Work(work.id, work.version + len(events), known.result.state or b"", events)
        (together,) = await probe.call(subject, "apply", [twice])
        (one_by_one,) = await probe.call(subject, "apply", [after])
        if together.failure is None and together.state != one_by_one.state:
            raise Broken(13, f"apply of {len(twice.items)} events at once gives another state than one by one")


async def _spoilt(corpus: Corpus) -> None:
    """A payload that cannot be decoded, between good ones, in the middle of a call."""
    good = corpus.finished[0]
    (item,) = good.work.items
    spoilt = [item.payload + b"\0"] + ([item.payload[:-1]] if item.payload else [])
    for payload in spoilt:
        run = Work("kit-spoilt", good.work.version, good.work.state, (item, Item(item.type, payload), item))
        cut = Result(good.result.events, good.result.state, corpus.probe.code("undecodable"))
        await corpus.expect(24, [good.work, run, good.work], [good.result, cut, good.result], "a payload that cannot be decoded")
    for known in corpus.with_state[:1]:
        bad = Work("kit-spoilt", known.work.version, known.work.state + b"\0", known.work.items)
        cut = Result((), None, corpus.probe.code("undecodable"))
        await corpus.expect(24, [known.work, bad, known.work], [known.result, cut, known.result], "a state that cannot be decoded")


async def _unknown_type(corpus: Corpus) -> None:
    good = corpus.finished[0]
    (item,) = good.work.items
    run = Work("kit-unknown", good.work.version, good.work.state, (item, Item(UNKNOWN, item.payload)))
    unknown = corpus.probe.code("unknown-type")
    cut = Result(good.result.events, good.result.state, unknown)
    await corpus.expect(25, [good.work, run, good.work], [good.result, cut, good.result], "an unknown Command type")
    if corpus.subject.applies:
        (result,) = await corpus.probe.call(corpus.subject, "apply", [Work("kit", 0, b"", (Item(UNKNOWN, b""),))])
        if result.failure != unknown:
            raise Broken(25, f"apply of an unknown event type gives {_short(result)}")


async def _stops(corpus: Corpus) -> None:
    """What comes behind a failed item is not done."""
    good = corpus.finished[0]
    (item,) = good.work.items
    run = Work("kit-stop", good.work.version, good.work.state, (Item(UNKNOWN, b""), item, item))
    cut = Result((), None, corpus.probe.code("unknown-type"))
    await corpus.expect(22, [run, good.work], [cut, good.result], "a failed item at the front")


_CHECKS: list[tuple[int, str, Check, bool]] = [  # rule, name, check, and whether it needs an apply
    (5, "concurrent calls", _concurrent, False),
    (13, "a run equals its items one by one", _runs, True),
    (14, "apply equals turn", _folds, True),
    (15, "instances are independent", _independent, False),
    (16, "the same call twice", _pure, False),
    (22, "a failed item stops its instance only", _stops, False),
    (24, "undecodable payloads and states", _spoilt, False),
    (25, "unknown types", _unknown_type, False),
]


def _short(result: Result) -> str:
    events = ", ".join(f"[{' '.join(event.type for event in run)}]" for run in result.events)
    state = "no state" if result.state is None else f"state {result.state[:40].hex()}"
    return f"{events or 'no events'}, {state}, {result.failure or 'no failure'}"


async def wait_healthy(target: str, within_s: float = 60.0) -> None:
    """Wait until a function that was just started takes calls. Raises TimeoutError."""
    clock = SystemClock()
    async with asyncio.timeout(within_s), probing(target) as probe:
        while True:
            try:
                if await probe.health() == 200:
                    return
            except aiohttp.ClientError:
                pass
            await clock.sleep(POLL_S)
