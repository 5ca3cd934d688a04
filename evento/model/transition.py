"""What one commit changes, and what a journal answers. A lost race is a value, not an exception."""

from msgspec import Struct

from evento.model.command import Command, Pending, State, Turn
from evento.model.keys import EntityKey


class Run(Struct, frozen=True):
    """The finished turns of one instance in one commit, in order, and the state after the last of them.

    `before` is the instance's version before the first turn: the journal refuses the commit if it is not so.
    `state` is None when no event came out of it (conflicts, discards), or when only the events are known.
    """

    key: EntityKey
    before: int
    turns: tuple[Turn, ...]
    state: State | None

    @property
    def version(self) -> int:
        """Return the instance's version after the last turn."""
        return self.turns[-1].version if self.turns else self.before


class Input(Struct, frozen=True, gc=False):
    """A record that somebody outside put among the Commands of an Entity: `offset` is its place in `source`.

    Either `command` is what it says, not checked beyond its form, or `problem` is what is wrong with its form. `key` and
    `command_id` are as far as they are known.
    """

    source: str
    offset: int
    key: EntityKey
    command_id: str
    command: Command | None
    problem: str = ""


class Refusal(Struct, frozen=True, gc=False):
    """An input that will never be a Command, and why: a stable code, and a sentence for whoever wrote it."""

    source: str
    offset: int
    key: EntityKey
    command_id: str
    code: str
    message: str
    time_us: int


class Transition(Struct, frozen=True):
    """Everything one commit changes, all or nothing.

    `states` are states rebuilt without a turn (a changed `apply`); they replace what is stored for the same version.
    `pending` are added, or replace the entry with the same number; `resolved` are the numbers that are gone.
    `inputs` say of sources up to which offset (exclusive) everything is finished, refused or among the pending, with this commit;
    `refusals` are told where outcomes are told. A journal without `Inputs` has no use for either.
    """

    runs: tuple[Run, ...] = ()
    pending: tuple[Pending, ...] = ()
    resolved: tuple[int, ...] = ()
    states: tuple[tuple[EntityKey, State], ...] = ()
    inputs: tuple[tuple[str, int], ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def is_empty(self) -> bool:
        """Return whether nothing would change."""
        return not (self.runs or self.pending or self.resolved or self.states or self.inputs or self.refusals)


class Appended(Struct, frozen=True, gc=False):
    """The transition is durable. `position` is the place of its last run in the partition's order; gaps are allowed."""

    position: int


class Conflict(Struct, frozen=True, gc=False):
    """Nothing was changed: the instance is at version `actual`, not at the `before` that the writer saw."""

    key: EntityKey
    before: int
    actual: int
