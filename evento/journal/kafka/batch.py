"""What one commit puts on which topic: the records of transitions, each state and each pending entry once, as it is after all of
them.

Pure: it knows no client. That the transitions follow each other was checked before.
"""

from collections.abc import Callable, Mapping, Sequence

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
    """The records of one commit. `inputs` is how far the sources were done with before, and after `add` how far they are.

    Of a source that is another one than before, or of which nobody noted which it is, `begun` says so, and where it begins.
    """

    def __init__(self, names: Names, inputs: Mapping[str, Done], begun: Mapping[str, Done]) -> None:
        self.records: list[Record] = []
        new = {source: done for source, done in begun.items() if inputs.get(source, _NONE).identity != done.identity}
        self.inputs = {**inputs, **new}
        self._names = names
        self._begun = inputs
        self._states: dict[EntityKey, State | None] = {}
        self._pending: dict[int, Pending | None] = {}

    def add(self, transition: Transition, version: Callable[[EntityKey], int]) -> None:
        """Add what a transition changes. `version` tells at which version an instance is after all of them."""
        names = self._names
        for run in transition.runs:
            for turn in run.turns:
                namespace, entity, _ = turn.command.key
                self.records += event_records(names.events(namespace, entity), turn)
                self.records.append(outcome_record(names.outcomes, turn))
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
        self.records += [refusal_record(names.outcomes, refusal) for refusal in transition.refusals]

    def finished(self) -> Sequence[Record]:
        """Return everything to be written, in order."""
        names = self._names
        states = [
            state_record(names.state(key.namespace, key.entity), key, state)
            for key, state in self._states.items()
            if state is not None and state.payload is not None
        ]
        pending = [
            pending_gone(names.pending, number) if entry is None else pending_record(names.pending, entry)
            for number, entry in self._pending.items()
        ]
        inputs = [inputs_record(names.pending, self.inputs)] if self.inputs != self._begun else []
        return [*self.records, *states, *pending, *inputs]
