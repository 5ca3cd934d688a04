"""The guard behind every function call: no event and no state that a function answers is believed before it is checked.

An event must be declared by its Command (design §3.9), every payload be canonical Avro of its schema (reliability §9), and sizes
be within the limits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from evento.errors import FunctionUnavailable, PayloadRefused
from evento.functions.base import FunctionEvent, InstanceReply
from evento.lifecycle.run import Answer, Leg, Progress
from evento.model.command import Event, Failure
from evento.model.limits import EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX, STATE_BYTES_MAX
from evento.model.resources import CommandSpec, EntitySpec
from evento.registry.catalog import Catalog

_INVALID = "invalid-function-result"
Declared = Mapping[str, tuple[int, bool]]
Checked = bytes | PayloadRefused
Verdicts = Mapping[str, Iterator[Checked]]


class Answered(NamedTuple):
    """A reply to one leg, with the state and the events in it as they were found."""

    reply: InstanceReply
    revision: str
    state: Checked | None
    verdicts: Verdicts


class Checker:
    """Checks answers against one version of the catalog, and gives them to the runs they belong to."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._declared: dict[tuple[str, str, str], Declared] = {}

    def absorb(
        self, entity: EntitySpec, legs: Sequence[tuple[Progress, Leg]], replies: Sequence[InstanceReply], revision: str
    ) -> None:
        """Check the replies to one call, one per leg, and let each run absorb its own. All legs are of one operation."""
        events = self._event_verdicts(entity, replies)
        states = self._state_verdicts(entity, replies)
        for (progress, leg), reply in zip(legs, replies, strict=True):
            state = next(states) if reply.state is not None else None
            if leg.events:
                _absorb_apply(progress, leg, reply, revision, state)
            else:
                answered = Answered(reply, revision, state, events)
                self._absorb_handled(progress, leg, answered)

    def _absorb_handled(self, progress: Progress, leg: Leg, answered: Answered) -> None:
        reply, revision, state, verdicts = answered
        results: list[tuple[Event, ...]] = []
        commands, works, index = progress.entity.commands, progress.works, leg.start
        for raw in reply.results:
            command = commands[works[index].command.type]
            events = self._events(progress.entity, command, raw, verdicts)
            if isinstance(events, str):
                self._skip(reply.results[index - leg.start + 1 :], verdicts)
                progress.spoil(leg, index, Failure(_INVALID, events, leg.function))
                return
            results.append(events)
            index += 1
        if not isinstance(state, PayloadRefused):
            progress.absorb(leg, Answer(results, state, revision, reply.failure, _counted(reply)))
        elif leg.end - leg.start == 1:
            progress.absorb(leg, Answer((), None, revision, _state_failure(state, leg.function)))
        else:
            progress.absorb(leg, Answer((), None, revision, alone=True))

    def _events(
        self, entity: EntitySpec, command: CommandSpec, raw: Sequence[FunctionEvent], verdicts: Verdicts
    ) -> tuple[Event, ...] | str:
        """Return the events of one Command, or why they are refused."""
        declared = self._declared_by(entity, command)
        problem = ""
        if not 0 < len(raw) <= EVENTS_PER_COMMAND_MAX:
            problem = f"{command.name} ended in {len(raw)} events; it must be 1 to {EVENTS_PER_COMMAND_MAX}"
        events = []
        for item in raw:
            payload = next(verdicts[item.type]) if item.type in verdicts else b""
            known = declared.get(item.type)
            if known is None:
                names = ", ".join(sorted(declared))
                problem = problem or f"{command.name} ended in {item.type[:80]!r}, which it does not declare; it declares {names}"
            elif isinstance(payload, PayloadRefused):
                problem = problem or f"event {item.type}: {payload.message}"
            elif len(payload) > EVENT_BYTES_MAX:
                problem = problem or f"event {item.type} has {len(payload)} bytes; at most {EVENT_BYTES_MAX} are allowed"
            else:
                events.append(Event(item.type, known[0], payload, known[1]))
        return problem or tuple(events)

    def _skip(self, results: Sequence[Sequence[FunctionEvent]], verdicts: Verdicts) -> None:
        """Leave out the verdicts on events that stand behind a refused one: they are not believed either."""
        for result in results:
            for event in result:
                if event.type in verdicts:
                    next(verdicts[event.type])

    def _event_verdicts(self, entity: EntitySpec, replies: Sequence[InstanceReply]) -> dict[str, Iterator[Checked]]:
        payloads: dict[str, list[bytes]] = {}
        for reply in replies:
            for result in reply.results:
                for event in result:
                    if event.type in payloads:
                        payloads[event.type].append(event.payload)
                    else:
                        payloads[event.type] = [event.payload]
        return {
            name: iter(self._catalog.schema(entity.events[name].schema_id).canonical_many(found))
            for name, found in payloads.items()
            if name in entity.events
        }

    def _state_verdicts(self, entity: EntitySpec, replies: Sequence[InstanceReply]) -> Iterator[Checked]:
        states = [reply.state for reply in replies if reply.state is not None]
        return map(_bounded, self._catalog.schema(entity.schema_id).canonical_many(states))

    def _declared_by(self, entity: EntitySpec, command: CommandSpec) -> Declared:
        place = (entity.namespace, entity.name, command.name)
        declared = self._declared.get(place)
        if declared is None:
            names = [(name, False) for name in command.events] + [(name, True) for name in command.rejections]
            declared = self._declared[place] = {name: (entity.events[name].schema_id, rejection) for name, rejection in names}
        return declared


def _absorb_apply(progress: Progress, leg: Leg, reply: InstanceReply, revision: str, state: Checked | None) -> None:
    if isinstance(state, PayloadRefused):
        progress.absorb(leg, Answer((), None, revision, _state_failure(state, leg.function)))
    else:
        progress.absorb(leg, Answer((), state, revision, reply.failure, _counted(reply)))


def _bounded(state: Checked) -> Checked:
    if isinstance(state, bytes) and len(state) > STATE_BYTES_MAX:
        return PayloadRefused(f"the state has {len(state)} bytes; at most {STATE_BYTES_MAX} are allowed")
    return state


def _counted(reply: InstanceReply) -> bool:
    """Tell whether a reply's failure is an attempt: what the function was not asked, it did not fail at."""
    return reply.failure is None or reply.failure.code != FunctionUnavailable.code


def _state_failure(problem: PayloadRefused, function: str) -> Failure:
    return Failure(_INVALID, f"state: {problem.message}", function)
