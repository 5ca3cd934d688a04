"""What one commit changes, and what a journal answers. A lost race is a value, not an exception."""

from msgspec import Struct

from evento.model.command import Pending, State, Turn
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


class Transition(Struct, frozen=True):
    """Everything one commit changes, all or nothing.

    `states` are states rebuilt without a turn (a changed `apply`); they replace what is stored for the same version.
    `pending` are added, or replace the entry with the same number; `resolved` are the numbers that are gone.
    """

    runs: tuple[Run, ...] = ()
    pending: tuple[Pending, ...] = ()
    resolved: tuple[int, ...] = ()
    states: tuple[tuple[EntityKey, State], ...] = ()


class Appended(Struct, frozen=True, gc=False):
    """The transition is durable. `position` is the place of its last run in the partition's order; gaps are allowed."""

    position: int


class Conflict(Struct, frozen=True, gc=False):
    """Nothing was changed: the instance is at version `actual`, not at the `before` that the writer saw."""

    key: EntityKey
    before: int
    actual: int
