"""A Command inside the engine, and who waits for it."""

from collections.abc import Callable
from functools import partial

from evento.errors import EventoError
from evento.lifecycle.run import Work
from evento.lifecycle.settle import pending_of
from evento.model.command import Command, Outcome, OutcomeKind

Answer = Outcome | EventoError
Tell = Callable[[Answer], None]

# What an unfinished Command costs in memory besides its payload, roughly; for the bound on the inbox.
_TICKET_BYTES = 600


class Ticket(Work):
    """A Work with its waiters: patient ones are told the end, eager ones are content with `pending` once it is durable."""

    __slots__ = ("bytes", "checked", "eager", "in_inbox", "patient", "settled", "storing")

    def __init__(self, command: Command, number: int) -> None:
        super().__init__(command, number)
        self.bytes = len(command.payload) + _TICKET_BYTES
        self.checked = False  # the journal was asked whether this Command is finished already
        self.storing = False  # on its way into the journal's pending table
        self.settled = False  # its turn is over and on its way into the journal
        self.in_inbox = False  # counts against the bound on what is in memory alone
        self.patient: list[Tell] = []
        self.eager: list[Tell] = []

    @property
    def durable(self) -> bool:
        """Tell whether the journal has this Command."""
        return self.stored and not self.storing

    def tell(self, answer: Answer) -> None:
        """Tell everybody who still waits."""
        for tell in self.patient:
            tell(answer)
        for tell in self.eager:
            tell(answer)
        self.patient, self.eager = [], []

    def tell_eager(self) -> None:
        """Tell the eager ones that the Command is durable and not finished."""
        if self.eager:
            waiters, self.eager = self.eager, []
            answer = self.pending()
            for tell in waiters:
                tell(answer)

    def hurry(self, tell: Tell) -> None:
        """Make a patient waiter eager."""
        for waiting in self.patient:
            if waiting is tell or (isinstance(waiting, partial) and waiting.args[0] is tell):
                self.patient.remove(waiting)
                self.eager.append(waiting)
                return

    def pending(self) -> Outcome:
        """Return the outcome of an unfinished Command."""
        return Outcome(OutcomeKind.PARKED if self.parked else OutcomeKind.PENDING, pending=pending_of(self))


def as_duplicate(tell: Tell) -> Tell:
    """Return a waiter that hears the first sender's answer, marked as a duplicate."""
    return partial(_tell_duplicate, tell)


def _tell_duplicate(tell: Tell, answer: Answer) -> None:
    tell(answer if isinstance(answer, EventoError) else Outcome(answer.kind, answer.turn, answer.pending, duplicate=True))
