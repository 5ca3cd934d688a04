"""One instance's run of Commands through one batch: what to ask the functions next, and what their answers mean.

A run proceeds in legs. A leg is as many Commands in a row as one function call can take: with `turn` all that the same function
handles, otherwise one Command at a time, first `handle`, then `apply`. A Command that expects a version starts a leg, because only
then the version before its turn is known. Knows nothing of bytes on a wire, schemas or time beyond what it is told.
"""

from collections.abc import Sequence

from msgspec import Struct

from evento.model.command import Command, Event, Failure, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.resources import EntitySpec

# Looking a member up in an enum costs more than a global, and these are needed for every Command.
_SUCCEEDED, _REJECTED = OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED


class Work:
    """One accepted Command on its way to its end.

    `number` is its place in the partition's order of acceptance; `stored` tells whether the journal has it among the pending.
    """

    __slots__ = ("attempts", "command", "due_us", "failure", "number", "parked", "stored")

    def __init__(self, command: Command, number: int) -> None:
        self.command = command
        self.number = number
        self.stored = self.parked = False
        self.attempts = 0
        self.due_us: int | None = None
        self.failure: Failure | None = None


class Leg(Struct, frozen=True, gc=False):
    """What to ask next for one instance: `function` to handle the works `start … end - 1`, or to apply `events`.

    `fused`: handle and apply in one. For an apply leg, `events` are those of the Command at `start`, and `end` equals `start`.
    """

    function: str
    start: int
    end: int
    fused: bool
    events: tuple[Event, ...] = ()


class Answer(Struct, frozen=True, gc=False):
    """A checked answer to a leg: the events of each finished Command, the state after the last, and what stopped the next.

    For an apply leg `results` is empty. `counted` tells whether the failure is an attempt; a function that could not be reached
    was not tried, and the works go back as they were. `alone` asks for one Command per leg from here on: the state was unusable,
    and only that shows which Command is to blame.
    """

    results: Sequence[tuple[Event, ...]]
    state: bytes | None
    revision: str
    failure: Failure | None = None
    counted: bool = True
    alone: bool = False


class Progress:
    """How far one instance's run has come."""

    __slots__ = (
        "_after",
        "alone",
        "before",
        "counted",
        "decided",
        "done",
        "doom",
        "entity",
        "failure",
        "key",
        "now_us",
        "revision",
        "state",
        "turns",
        "version",
        "works",
    )

    def __init__(self, key: EntityKey, entity: EntitySpec, state: State, works: Sequence[Work], now_us: int) -> None:
        self.key = key
        self.entity = entity
        self.before = state
        self.version = state.version
        self.state = state.payload
        self.revision = state.revision
        self.works = works
        self.now_us = now_us
        self.turns: list[Turn] = []
        self.done = 0  # works finished, from the first
        self.failure: Failure | None = None  # why the work at `done` failed, which ends the run
        self.counted = True
        self.alone = False
        self.decided: tuple[tuple[Event, ...], str] | None = None  # handled, not applied yet; and by which revision
        self.doom: tuple[int, Failure] | None = None  # (index, why): known to fail, but what stands before it must be redone
        self._after: State | None = None

    @property
    def ended(self) -> bool:
        """Tell whether nothing is left to ask."""
        return self.failure is not None or (self.done == len(self.works) and self.decided is None)

    def state_after(self) -> State:
        """Return the state after the turns finished so far."""
        if self.version == self.before.version:
            return self.before
        if self._after is None or self._after.version != self.version:
            self._after = State(self.version, self.state, self.entity.schema_id, self.revision)
        return self._after

    def next_leg(self) -> Leg | None:
        """Return what to ask next, or None when the run has ended. Commands whose expected version is not met end here."""
        if self.failure is not None:
            return None
        if self.decided is not None:
            return Leg(self.entity.apply, self.done, self.done, False, self.decided[0])
        works, count = self.works, len(self.works)
        while self.done < count:
            command = works[self.done].command
            if command.expected is None or command.expected == self.version:
                break
            self._conflict(works[self.done])
        if self.done == count:
            return None
        if self.doom is not None and self.doom[0] == self.done:
            self.failure, self.doom = self.doom[1], None
            return None
        return self._handle_leg(count)

    def _handle_leg(self, count: int) -> Leg | None:
        commands, works, start = self.entity.commands, self.works, self.done
        spec = commands.get(works[start].command.type)
        if spec is None:
            self.failure = Failure("unknown-command", f"{works[start].command.type} is not deployed any more")
            return None
        function = spec.handle
        end = start + 1
        if function != self.entity.apply:
            return Leg(function, start, end, False)
        limit = start + 1 if self.alone else self.doom[0] if self.doom is not None else count
        while end < limit:
            command = works[end].command
            next_spec = commands.get(command.type)
            if command.expected is not None or next_spec is None or next_spec.handle != function:
                break
            end += 1
        return Leg(function, start, end, True)

    def absorb(self, leg: Leg, answer: Answer) -> None:
        """Take in the answer to the leg that `next_leg` gave last."""
        if leg.events:
            self._absorb_apply(answer)
        elif leg.fused:
            self._absorb_turns(leg, answer)
        elif answer.failure is not None:
            self._fail(answer)
        else:
            self.decided = (answer.results[0], answer.revision)

    def spoil(self, leg: Leg, index: int, failure: Failure) -> None:
        """Take in that the Command at `index` of the run's works must fail though the function went past it.

        The answer's state is built on what must not be, so what stands before it in the leg is asked for again.
        """
        if index == leg.start:
            self.failure = failure
        else:
            self.doom = (index, failure)

    def _absorb_turns(self, leg: Leg, answer: Answer) -> None:
        self.alone = self.alone or answer.alone
        for events in answer.results:
            self._finish(events, answer.revision)
        if answer.results:
            self.state, self.revision = answer.state, answer.revision
        if answer.failure is not None:
            self._fail(answer)

    def _absorb_apply(self, answer: Answer) -> None:
        if answer.failure is not None:
            self._fail(answer)
            return
        assert self.decided is not None  # noqa: S101 - next_leg gave an apply leg only because of it
        events, revision = self.decided
        self.decided = None
        self._finish(events, revision)
        self.state, self.revision = answer.state, answer.revision

    def _finish(self, events: tuple[Event, ...], revision: str) -> None:
        work = self.works[self.done]
        kind = _SUCCEEDED
        for event in events:
            if event.rejection:
                kind = _REJECTED
        turn = Turn(work.command, kind, self.version, events, self.now_us, revision, work.attempts + 1)
        self.turns.append(turn)
        self.version += len(events)
        self.done += 1

    def _conflict(self, work: Work) -> None:
        self.turns.append(Turn(work.command, OutcomeKind.CONFLICT, self.version, (), self.now_us, "", work.attempts))
        self.done += 1

    def _fail(self, answer: Answer) -> None:
        self.failure, self.counted = answer.failure, answer.counted
        self.decided = None
