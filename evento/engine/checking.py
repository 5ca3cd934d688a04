"""The guard behind every function call: no event and no state that a function answers is believed before it is checked.

An event must be declared by its Command (design §3.9), every payload be canonical Avro of its schema (reliability §9), and sizes
be within the limits.
"""

from collections.abc import Callable, Mapping, Sequence

from evento.errors import FunctionUnavailable, PayloadRefused
from evento.functions.base import FunctionEvent, InstanceReply
from evento.lifecycle.run import Answer, Leg, Progress
from evento.model.command import Event, Failure
from evento.model.limits import EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX, STATE_BYTES_MAX
from evento.model.resources import CommandSpec, EntitySpec
from evento.registry.catalog import Catalog

_INVALID = "invalid-function-result"
Canonical = Callable[[bytes], bytes]
Declared = Mapping[str, tuple[int, bool, Canonical]]  # by event: its schema, whether it is a rejection, the schema's guard


class Checker:
    """Checks answers against one version of the catalog, and gives them to the runs they belong to."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._declared: dict[tuple[str, str, str], Declared] = {}

    def absorb(
        self, entity: EntitySpec, legs: Sequence[tuple[Progress, Leg]], replies: Sequence[InstanceReply], revision: str
    ) -> None:
        """Check the replies to one call, one per leg, and let each run absorb its own. All legs are of one Entity."""
        canonical_state = self._catalog.schema(entity.schema_id).canonical
        declared = {name: self._declared_by(entity, command) for name, command in entity.commands.items()}
        for (progress, leg), reply in zip(legs, replies, strict=True):
            results = [] if leg.events else _checked_results(progress, leg, reply, declared)
            if results is None:
                continue
            try:
                state = None if reply.state is None else _checked_state(reply.state, canonical_state)
            except PayloadRefused as refused:
                progress.absorb(leg, _without_state(leg, refused, revision))
                continue
            failure = reply.failure
            # What the function was not asked, it did not fail at: that is no attempt.
            counted = failure is None or failure.code != FunctionUnavailable.code
            progress.absorb(leg, Answer(results, state, revision, failure, counted))

    def _declared_by(self, entity: EntitySpec, command: CommandSpec) -> Declared:
        place = (entity.namespace, entity.name, command.name)
        declared = self._declared.get(place)
        if declared is None:
            names = [(name, False) for name in command.events] + [(name, True) for name in command.rejections]
            declared = self._declared[place] = {
                name: self._guarded(entity.events[name].schema_id, rejection) for name, rejection in names
            }
        return declared

    def _guarded(self, schema_id: int, rejection: bool) -> tuple[int, bool, Canonical]:
        return schema_id, rejection, self._catalog.schema(schema_id).canonical


def _checked_results(
    progress: Progress, leg: Leg, reply: InstanceReply, declared: Mapping[str, Declared]
) -> list[tuple[Event, ...]] | None:
    """Return the events of each Command of a leg; None if one of them is refused, and then its run knows."""
    results, works, index = [], progress.works, leg.start
    for raw in reply.results:
        name = works[index].command.type
        events = _checked_events(name, raw, declared[name])
        if isinstance(events, str):
            progress.spoil(leg, index, Failure(_INVALID, events, leg.function))
            return None
        results.append(events)
        index += 1
    return results


def _checked_events(command: str, raw: Sequence[FunctionEvent], declared: Declared) -> tuple[Event, ...] | str:
    """Return the events of one Command, or why they are refused."""
    if not 0 < len(raw) <= EVENTS_PER_COMMAND_MAX:
        return f"{command} ended in {len(raw)} events; it must be 1 to {EVENTS_PER_COMMAND_MAX}"
    events = []
    for item in raw:
        name = item.type
        known = declared.get(name)
        if known is None:
            names = ", ".join(sorted(declared))
            return f"{command} ended in {name[:80]!r}, which it does not declare; it declares {names}"
        schema_id, rejection, canonical = known
        try:
            payload = canonical(item.payload)
        except PayloadRefused as refused:
            return f"event {name}: {refused.message}"
        if len(payload) > EVENT_BYTES_MAX:
            return f"event {name} has {len(payload)} bytes; at most {EVENT_BYTES_MAX} are allowed"
        events.append(Event(name, schema_id, payload, rejection))
    return tuple(events)


def _checked_state(state: bytes, canonical: Canonical) -> bytes:
    """Return a state's canonical encoding. Raises PayloadRefused."""
    payload = canonical(state)
    if len(payload) > STATE_BYTES_MAX:
        raise PayloadRefused(f"the state has {len(payload)} bytes; at most {STATE_BYTES_MAX} are allowed")
    return payload


def _without_state(leg: Leg, refused: PayloadRefused, revision: str) -> Answer:
    """Return the answer in place of one with a refused state: of several Commands, nobody knows yet which one is to blame."""
    if leg.end - leg.start > 1:
        return Answer((), None, revision, alone=True)
    return Answer((), None, revision, Failure(_INVALID, f"state: {refused.message}", leg.function))
