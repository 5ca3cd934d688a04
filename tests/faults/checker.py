"""Did the platform keep its promises? Judged from outside alone: what was asked, what was told, what was read (reliability §3).

It knows neither the platform's code nor its files. It is given a history of operations with their times, and the final streams and
states as the HTTP API tells them, and returns every broken invariant as a sentence.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

Json = dict[str, Any]
Place = tuple[str, str]  # entity, instance
Fold = Callable[[Json | None, Json], Json]
TOLD = ("succeeded", "rejected")


class Told(NamedTuple):
    """An answer, with the time before the Command was sent and the time after the answer came."""

    place: Place
    command_id: str
    answer: Json
    sent: float
    heard: float


class Seen(NamedTuple):
    """A state that an observer read, with the times around it."""

    place: Place
    version: int
    state: Json
    asked: float
    heard: float


class History:
    """What happened, as the clients know it."""

    def __init__(self) -> None:
        self.invoked: dict[tuple[Place, str], Json] = {}
        self.told: list[Told] = []
        self.refused: dict[tuple[Place, str], list[Json]] = defaultdict(list)  # answers that promise nothing was stored
        self.seen: list[Seen] = []

    def invoke(self, command: Json) -> None:
        """Note that a Command was sent; it may be sent again."""
        self.invoked[place_of(command), command["command_id"]] = command

    def tell(self, command: Json, answer: Json, sent: float, heard: float) -> None:
        """Note an outcome."""
        self.told.append(Told(place_of(command), command["command_id"], answer, sent, heard))

    def refuse(self, command: Json, problem: Json) -> None:
        """Note a refusal."""
        self.refused[place_of(command), command["command_id"]].append(problem)

    def see(self, seen: Seen) -> None:
        """Note what an observer read."""
        self.seen.append(seen)

    @property
    def finished(self) -> int:
        """Return of how many Commands the end was told."""
        return len({(told.place, told.command_id) for told in self.told if told.answer["outcome"] in TOLD})


class Final(NamedTuple):
    """How everything stood at the end, when nothing was under way."""

    streams: Mapping[Place, Sequence[Json]]
    states: Mapping[Place, tuple[int, Json]]
    pending: Sequence[Json]


def place_of(command: Json) -> Place:
    """Return which instance a Command is for."""
    return command["entity"], command["id"]


def broken(history: History, final: Final, fold: Fold, *, poison: frozenset[Place] = frozenset()) -> list[str]:
    """Return every broken invariant as a sentence; `poison` are instances whose Commands may be unfinished."""
    rules = (_lost, _phantoms, _doubled, _gaps, _order, _folds, _own_writes, _cut, _answers)
    found: list[str] = []
    for rule in rules:
        found += rule(_Case(history, final, fold, poison))
    return found


class _Case:
    def __init__(self, history: History, final: Final, fold: Fold, poison: frozenset[Place]) -> None:
        self.history, self.final, self.fold, self.poison = history, final, fold, poison
        self.events: dict[tuple[Place, str], list[Json]] = defaultdict(list)
        for place, stream in final.streams.items():
            for event in stream:
                self.events[place, event["command_id"]].append(event)
        self.pending = {(_place_of_pending(entry), entry["command_id"]) for entry in final.pending}


def _lost(case: _Case) -> Iterator[str]:
    """I1: what was accepted has its events, or is pending; at the end only poison is."""
    for told in case.history.told:
        name = told.place, told.command_id
        if told.answer["outcome"] in TOLD and not case.events[name]:
            yield f"I1 lost: {_named(told)} was told as {told.answer['outcome']}, and has no event"
        if told.answer["outcome"] in ("pending", "parked") and not (case.events[name] or name in case.pending):
            yield f"I1 lost: {_named(told)} was accepted, and has neither an event nor an entry among the pending"
    for place, command_id in case.pending:
        if place not in case.poison:
            yield f"I1 stuck: Command {command_id} of {'/'.join(place)} is still pending"


def _phantoms(case: _Case) -> Iterator[str]:
    """I2: every event's Command was sent, and not only refused."""
    heard = {(told.place, told.command_id) for told in case.history.told}
    for name, events in case.events.items():
        if events and name not in case.history.invoked:
            yield f"I2 phantom: {events[0]['id']} is of Command {name[1]}, which nobody has sent"
        problems = case.history.refused.get(name, ())
        certain = [problem for problem in problems if problem.get("status", 0) < 500]
        if events and certain and name not in heard:
            yield f"I2 phantom: {events[0]['id']} is of Command {name[1]}, which was refused: {certain[0].get('code')}"


def _doubled(case: _Case) -> Iterator[str]:
    """I3: the events of one Command stand together; a Command of this bank has one."""
    for (place, command_id), events in case.events.items():
        if len(events) > 1:
            yield f"I3 doubled: Command {command_id} of {'/'.join(place)} has the events {[e['version'] for e in events]}"


def _gaps(case: _Case) -> Iterator[str]:
    """I4: versions 1, 2, 3 … in the order of the stream."""
    for place, stream in case.final.streams.items():
        versions = [event["version"] for event in stream]
        if versions != list(range(1, len(stream) + 1)):
            yield f"I4 gap: {'/'.join(place)} has the versions {_first_gap(versions)}"


def _order(case: _Case) -> Iterator[str]:
    """I5: what was told before another was sent stands before it."""
    for all_told in _by_place(_told_versions(case.history)).values():
        known = _Known((told.heard, told.answer["version"]) for told in all_told)
        for told in all_told:
            highest = known.before(told.sent)
            # A duplicate tells of an execution at another time; and whoever hears of his own Command again hears the same version.
            if not told.answer["duplicate"] and told.answer["version"] <= highest:
                yield f"I5 order: {_named(told)} got version {told.answer['version']}; before it was sent {highest} was told"


def _folds(case: _Case) -> Iterator[str]:
    """I6: each state ever seen is the fold of the events up to its version."""
    wanted: dict[Place, dict[int, list[Json]]] = defaultdict(lambda: defaultdict(list))
    for seen in case.history.seen:
        wanted[seen.place][seen.version].append(seen.state)
    for place, (version, state) in case.final.states.items():
        wanted[place][version].append(state)
    for place, versions in wanted.items():
        stream = case.final.streams.get(place, ())
        state: Json | None = None
        for version, event in enumerate(stream, 1):
            state = case.fold(state, event)
            for found in versions.get(version, ()):
                if found != state:
                    yield f"I6 fold: {'/'.join(place)} at version {version} was {found}; its events make {state}"
        for version in versions:
            if version > len(stream):
                yield f"I6 fold: {'/'.join(place)} was seen at version {version}; it has {len(stream)} events"


def _own_writes(case: _Case) -> Iterator[str]:
    """I9: a read begun after an outcome, or after another read, never shows less than that did."""
    facts: dict[Place, list[tuple[float, int]]] = defaultdict(list)
    for told in _told_versions(case.history):
        facts[told.place].append((told.heard, told.answer["version"]))
    for seen in case.history.seen:
        facts[seen.place].append((seen.heard, seen.version))
    known = {place: _Known(found) for place, found in facts.items()}
    for seen in case.history.seen:
        least = known[seen.place].before(seen.asked)
        if seen.version < least:
            yield f"I9 stale read: {'/'.join(seen.place)} was read at version {seen.version} after version {least} was told"


def _cut(case: _Case) -> Iterator[str]:
    """I11: last event, state and highest version told are one; nothing is both pending and finished."""
    highest: dict[Place, int] = defaultdict(int)
    for told in _told_versions(case.history):
        highest[told.place] = max(highest[told.place], told.answer["version"])
    for place in {*case.final.streams, *case.final.states, *highest}:
        stream = case.final.streams.get(place, ())
        state = case.final.states.get(place, (0, {}))[0]
        last = stream[-1]["version"] if stream else 0
        if not (highest[place] <= last == state):
            yield f"I11 cut: {'/'.join(place)}: last event {last}, state {state}, highest version told {highest[place]}"
    for place, command_id in case.pending:
        if case.events[place, command_id]:
            yield f"I11 cut: Command {command_id} of {'/'.join(place)} is pending, and has an event"


def _answers(case: _Case) -> Iterator[str]:
    """I12: however often an end is told, it is the same, it is what stands in the stream, and all but the first are duplicates."""
    first: dict[tuple[Place, str], Json] = {}
    for told in case.history.told:
        if told.answer["outcome"] not in TOLD:
            continue
        name = told.place, told.command_id
        answer = _without_duplicate(told.answer)
        if first.setdefault(name, answer) != answer:
            yield f"I12 answers: {_named(told)} was told in two ways: {first[name]} and {answer}"
        stored = [{key: value for key, value in event.items() if key in told.answer["events"][0]} for event in case.events[name]]
        if stored and stored != told.answer["events"]:
            yield f"I12 answers: {_named(told)} was told with {told.answer['events']}; its stream has {stored}"
    fresh: dict[tuple[Place, str], int] = defaultdict(int)
    for told in case.history.told:
        fresh[told.place, told.command_id] += told.answer["outcome"] in TOLD and not told.answer["duplicate"]
    for (place, command_id), count in fresh.items():
        if count > 1:
            yield f"I12 answers: Command {command_id} of {'/'.join(place)} was told {count} times as executed for the first time"


class _Known:
    """The highest version that was known of an instance at any time."""

    def __init__(self, facts: Iterable[tuple[float, int]]) -> None:
        ordered = sorted(facts)
        self._times = [heard for heard, _ in ordered]
        self._highest = list(accumulate((version for _, version in ordered), max))

    def before(self, time: float) -> int:
        count = bisect_left(self._times, time)
        return self._highest[count - 1] if count else 0


def _by_place(all_told: Iterable[Told]) -> Mapping[Place, Sequence[Told]]:
    by_place: dict[Place, list[Told]] = defaultdict(list)
    for told in all_told:
        by_place[told.place].append(told)
    return by_place


def _told_versions(history: History) -> Iterator[Told]:
    return (told for told in history.told if told.answer["outcome"] in TOLD and told.answer["events"])


def _without_duplicate(answer: Json) -> Json:
    return {name: answer[name] for name in ("command_id", "outcome", "version", "events")}


def _place_of_pending(entry: Json) -> Place:
    return entry["entity"], entry["id"]


def _named(told: Told) -> str:
    return f"Command {told.command_id} of {'/'.join(told.place)}"


def _first_gap(versions: Sequence[int]) -> str:
    for expected, version in enumerate(versions, 1):
        if version != expected:
            return f"… {versions[max(0, expected - 3) : expected + 2]} … at place {expected}"
    return "none"
