"""The guard behind every function call: no event and no state that a function answers is believed before it is checked.

An event must be declared by its Command (design §3.9), every payload be canonical Avro of its schema (reliability §9), and sizes
be within the limits.
"""

from collections.abc import Iterator, Mapping, Sequence

from evento.errors import FunctionUnavailable, PayloadRefused
from evento.functions.base import FunctionEvent, InstanceReply
from evento.lifecycle.run import Answer, Leg, Progress
from evento.model.command import Event, Failure
from evento.model.limits import EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX, STATE_BYTES_MAX
from evento.model.resources import CommandSpec, EntitySpec
from evento.registry.catalog import Catalog

_INVALID = "invalid-function-result"
Declared = Mapping[str, tuple[int, bool]]


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
            state_problem = next(states) if reply.state is not None else None
            if leg.events:
                self._absorb_apply(progress, leg, reply, revision, state_problem)
            else:
                self._absorb_handled(progress, leg, reply, revision, events, state_problem)

    def _absorb_apply(
        self, progress: Progress, leg: Leg, reply: InstanceReply, revision: str, problem: PayloadRefused | None
    ) -> None:
        failure = reply.failure or (_state_failure(problem, leg.function) if problem else None)
        progress.absorb(leg, Answer((), reply.state, revision, failure, _counted(reply)))

    def _absorb_handled(
        self,
        progress: Progress,
        leg: Leg,
        reply: InstanceReply,
        revision: str,
        verdicts: Mapping[str, Iterator[PayloadRefused | None]],
        state_problem: PayloadRefused | None,
    ) -> None:
        results: list[tuple[Event, ...]] = []
        spoiled: tuple[int, Failure] | None = None
        for index, raw in enumerate(reply.results, leg.start):
            command = progress.entity.commands[progress.works[index].command.type]
            events, problem = self._events(progress.entity, command, raw, verdicts)
            if problem is not None and spoiled is None:
                spoiled = (index, Failure(_INVALID, problem, leg.function))
            results.append(events)
        if spoiled is not None:
            progress.spoil(leg, *spoiled)
        elif state_problem is None:
            progress.absorb(leg, Answer(results, reply.state, revision, reply.failure, _counted(reply)))
        elif leg.end - leg.start == 1:
            progress.absorb(leg, Answer((), None, revision, _state_failure(state_problem, leg.function)))
        else:
            progress.absorb(leg, Answer((), None, revision, alone=True))

    def _events(
        self,
        entity: EntitySpec,
        command: CommandSpec,
        raw: Sequence[FunctionEvent],
        verdicts: Mapping[str, Iterator[PayloadRefused | None]],
    ) -> tuple[tuple[Event, ...], str | None]:
        declared = self._declared_by(entity, command)
        problem = None if raw else f"{command.name} ended without an event"
        if len(raw) > EVENTS_PER_COMMAND_MAX:
            problem = f"{command.name} ended in {len(raw)} events; at most {EVENTS_PER_COMMAND_MAX} are allowed"
        events = []
        for item in raw:
            refused = next(verdicts[item.type]) if item.type in verdicts else None
            known = declared.get(item.type)
            if known is None:
                names = ", ".join(sorted(declared))
                problem = problem or f"{command.name} ended in {item.type[:80]!r}, which it does not declare; it declares {names}"
                continue
            if refused is not None:
                problem = problem or f"event {item.type}: {refused.message}"
            elif len(item.payload) > EVENT_BYTES_MAX:
                problem = problem or f"event {item.type} has {len(item.payload)} bytes; at most {EVENT_BYTES_MAX} are allowed"
            events.append(Event(item.type, known[0], item.payload, known[1]))
        return tuple(events), problem

    def _event_verdicts(self, entity: EntitySpec, replies: Sequence[InstanceReply]) -> dict[str, Iterator[PayloadRefused | None]]:
        payloads: dict[str, list[bytes]] = {}
        for reply in replies:
            for result in reply.results:
                for event in result:
                    if event.type in payloads:
                        payloads[event.type].append(event.payload)
                    else:
                        payloads[event.type] = [event.payload]
        return {
            name: iter(self._catalog.schema(entity.events[name].schema_id).check_many(found))
            for name, found in payloads.items()
            if name in entity.events
        }

    def _state_verdicts(self, entity: EntitySpec, replies: Sequence[InstanceReply]) -> Iterator[PayloadRefused | None]:
        states = [reply.state for reply in replies if reply.state is not None]
        schema = self._catalog.schema(entity.schema_id)
        for state, refused in zip(states, schema.check_many(states), strict=True):
            if refused is None and len(state) > STATE_BYTES_MAX:
                yield PayloadRefused(f"the state has {len(state)} bytes; at most {STATE_BYTES_MAX} are allowed")
            else:
                yield refused

    def _declared_by(self, entity: EntitySpec, command: CommandSpec) -> Declared:
        place = (entity.namespace, entity.name, command.name)
        declared = self._declared.get(place)
        if declared is None:
            names = [(name, False) for name in command.events] + [(name, True) for name in command.rejections]
            declared = self._declared[place] = {name: (entity.events[name].schema_id, rejection) for name, rejection in names}
        return declared


def _counted(reply: InstanceReply) -> bool:
    """Tell whether a reply's failure is an attempt: what the function was not asked, it did not fail at."""
    return reply.failure is None or reply.failure.code != FunctionUnavailable.code


def _state_failure(problem: PayloadRefused, function: str) -> Failure:
    return Failure(_INVALID, f"state: {problem.message}", function)
