"""A Command inside the engine, and who waits for it."""

import asyncio
from typing import Protocol

from evento.errors import EventoError, NotReady
from evento.lifecycle.run import Work
from evento.lifecycle.settle import pending_of
from evento.model.command import Command, Outcome, OutcomeKind
from evento.model.keys import EntityKey

Answer = Outcome | EventoError
_UNANSWERED = NotReady()

# What an unfinished Command costs in memory besides its payload, roughly; for the bound on the inbox.
TICKET_BYTES = 600


class Entry:
    """A record that has no ticket of its own: it is refused, or brings again what is under way."""

    __slots__ = ("command_id", "done", "key", "place")

    def __init__(self, place: int, key: EntityKey, command_id: str) -> None:
        self.place = place
        self.key = key
        self.command_id = command_id
        self.done = False  # it need not stay where it is


class Waiter(Protocol):
    """Somebody who sent one or many Commands and waits for their answers."""

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer to the Command at `place`, once."""
        ...


class Ticket(Work):
    """A Work with its waiters: patient ones are told the end, eager ones are content with `pending` once it is durable. Once it is
    parked, so are all: nothing becomes of it by itself any more.

    The first waiter stands in the ticket itself, since nearly always it is the only one; those who sent the same Command
    again stand in `others`. One that came as a record is its own origin, at `place`.
    """

    __slots__ = (
        "checked",
        "done",
        "eager",
        "in_inbox",
        "is_input",
        "not_before_s",
        "origins",
        "others",
        "place",
        "settled",
        "storing",
        "to_store",
        "waiter",
    )

    def __init__(self, command: Command, number: int, waiter: Waiter | None = None, place: int = 0, eager: bool = False) -> None:
        self.command = command
        self.number = number
        self.waiter = waiter
        self.place = place
        self.eager = eager
        # A Work's own are set here, too: calling its constructor would cost as much as all of them.
        self.stored = self.parked = False
        self.checked = False  # the journal was asked whether this Command is finished already
        self.to_store = False  # about to be put among the pending
        self.storing = False  # on its way into the journal's pending table
        self.settled = False  # its turn is over and on its way into the journal, or there already
        self.is_input = False  # it came as a record, and can wait where it is
        self.done = False  # the commit made next, or one before, has it: no record of it need stay where it is
        self.in_inbox = False  # counts against the bound on what is in memory alone
        self.attempts = 0
        self.not_before_s = 0.0  # when its next attempt may begin, on the event loop's clock, which nobody sets
        self.due_us = self.failure = None
        self.others: list[tuple[Waiter, int, bool]] | None = None
        self.origins: list[Entry] | None = None  # the records that it came by again

    def mark_kept(self) -> None:
        """Tell where it came from that the commit made next has it, finished or among the pending."""
        self.done = True
        if self.origins is not None:
            for origin in self.origins:
                origin.done = True

    def mark_storing(self) -> None:
        """Note that it failed and is on its way into the journal, unless it is there already: nobody is told before it arrives."""
        if not self.stored:
            self.stored = self.storing = True

    @property
    def durable(self) -> bool:
        """Tell whether the journal has this Command."""
        return self.stored and not self.storing

    def set_waiting(self, now_us: int, loop_s: float) -> None:
        """Note on the event loop's clock what `due_us` says on the wall's; both show now."""
        if self.due_us is not None:
            self.not_before_s = loop_s + (self.due_us - now_us) / 1_000_000

    def join(self, waiter: Waiter, place: int, eager: bool) -> None:
        """Let another one wait, who sent the same Command again."""
        if self.others is None:
            self.others = []
        self.others.append((waiter, place, eager))
        if self.durable:
            self.tell_unfinished()

    def add_origin(self, origin: Entry) -> None:
        """Remember another record that keeps this Command until the journal does."""
        if self.origins is None:
            self.origins = []
        self.origins.append(origin)
        if self.done:  # what is settled and will be refused is not
            origin.done = True

    def tell(self, answer: Answer) -> None:
        """Tell everybody who still waits."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.tell(self.place, answer)
        if self.others is not None:
            others, self.others = self.others, None
            again = _duplicate(answer)
            for other, place, _ in others:
                other.tell(place, again)

    def tell_unfinished(self) -> None:
        """Tell those who are content with it that the Command is durable and not finished."""
        if self.waiter is not None and (self.eager or self.parked):
            waiter, self.waiter = self.waiter, None
            waiter.tell(self.place, self.pending())
        if self.others is not None:
            others, again = self.others, _duplicate(self.pending())
            self.others = None if self.parked else [other for other in others if not other[2]] or None
            for other, place, eager in others:
                if eager or self.parked:
                    other.tell(place, again)

    def hurry(self, waiter: Waiter) -> None:
        """Make a patient waiter eager."""
        if self.waiter is waiter:
            self.eager = True
        if self.others is not None:
            self.others = [(other, place, eager or other is waiter) for other, place, eager in self.others]

    def pending(self) -> Outcome:
        """Return the outcome of an unfinished Command."""
        return Outcome(OutcomeKind.PARKED if self.parked else OutcomeKind.PENDING, pending=pending_of(self))


Origin = Ticket | Entry  # of a record: the ticket that it made, or what stands for it


def _duplicate(answer: Answer) -> Answer:
    return answer if isinstance(answer, EventoError) else Outcome(answer.kind, answer.turn, answer.pending, duplicate=True)


class Gathered:
    """Waits for the answers to many Commands."""

    def __init__(self, size: int) -> None:
        self.answers: list[Answer] = [_UNANSWERED] * size
        self.finished = asyncio.Event()
        self._missing = size
        if not size:
            self.finished.set()

    def tell(self, place: int, answer: Answer) -> None:
        """Hear one of the answers."""
        self.answers[place] = answer
        self._missing -= 1
        if not self._missing:
            self.finished.set()
