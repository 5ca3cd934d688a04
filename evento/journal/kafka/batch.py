"""What one commit puts on which topic: the records of transitions, each state and each pending entry once, as it is after all of
them.

Pure: it knows no client. That the transitions follow each other was checked before. Records are made one by one while they are
asked for: all of a large commit at once would no longer be in the processor's cache when they are written.
"""

from collections.abc import Callable, Iterator, Mapping

from evento.journal.kafka.names import Names
from evento.journal.kafka.records import (
    Done,
    Record,
    event_records,
    inputs_record,
    outcome_record,
    pending_gone,
    pending_record,
    refusal_record,
    state_record,
)
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.transition import Transition

_NONE = Done(0)


class Batch:
    """The records of one commit: iterating makes them, in order, and may be done again.

    `inputs` is how far the sources were done with before, and after `add` how far they are. Of a source that is another one than
    before, or of which nobody noted which it is, `begun` says so, and where it begins.
    """

    def __init__(self, names: Names, inputs: Mapping[str, Done], begun: Mapping[str, Done]) -> None:
        new = {source: done for source, done in begun.items() if inputs.get(source, _NONE).identity != done.identity}
        self.inputs = {**inputs, **new}
        self._names = names
        self._begun = inputs
        self._transitions: list[Transition] = []
        self._states: dict[EntityKey, State | None] = {}
        self._pending: dict[int, Pending | None] = {}

    def add(self, transition: Transition, version: Callable[[EntityKey], int]) -> None:
        """Add what a transition changes. `version` tells at which version an instance is after all of them."""
        self._transitions.append(transition)
        for run in transition.runs:
            if run.version > run.before:
                self._states[run.key] = run.state
        for key, state in transition.states:
            if version(key) == state.version > 0:
                self._states[key] = state
        self._pending.update((entry.number, entry) for entry in transition.pending)
        self._pending.update(dict.fromkeys(transition.resolved))
        for source, offset in transition.inputs:
            done = self.inputs.get(source, _NONE)
            self.inputs[source] = Done(offset, done.identity, done.anew)

    def __bool__(self) -> bool:
        """Return whether there is anything to be written."""
        changed = self._states or self._pending or self.inputs != self._begun
        return bool(changed) or any(each.runs or each.refusals for each in self._transitions)

    def __iter__(self) -> Iterator[Record]:
        """Make everything to be written."""
        names = self._names
        for transition in self._transitions:
            yield from self._finished(transition)
            for refusal in transition.refusals:
                yield refusal_record(names.outcomes, refusal)
        for key, state in self._states.items():
            if state is not None and state.payload is not None:
                yield state_record(names.state(key[0], key[1]), key, state)
        for number, entry in self._pending.items():
            yield pending_gone(names.pending, number) if entry is None else pending_record(names.pending, entry)
        if self.inputs != self._begun:
            yield inputs_record(names.pending, self.inputs)

    def _finished(self, transition: Transition) -> Iterator[Record]:
        outcomes, events, place = self._names.outcomes, "", ("", "")
        for run in transition.runs:
            if run.key[:2] != place:
                place = run.key[:2]
                events = self._names.events(*place)
            for turn in run.turns:
                if turn.events:
                    yield from event_records(events, turn)
                yield outcome_record(outcomes, turn)
