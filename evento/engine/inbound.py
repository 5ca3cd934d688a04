"""Commands that came to a partition without the platform, as records (design §7): read, judged, taken in, answered if refused.

Keeps count of which records of each source are done with, so that every commit can say up to where. Knows neither topics nor
bytes on a wire: the journal gives Inputs.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from evento.engine.ticket import Answer, Entry, Origin, Ticket
from evento.errors import EventoError, IdReused, JournalCorrupt
from evento.journal.base import Inputs
from evento.model.command import Command
from evento.model.transition import Input, Refusal, Transition

logger = logging.getLogger(__name__)

ROOM_INPUTS = 16  # taken in before it is looked again whether there is room
READ_INPUTS = 1_000  # taken from the journal at a time
Judge = Callable[[Input], Command | EventoError | Awaitable[Command | EventoError]]  # nearly always there is nothing to wait for


class Source:
    """One source of inputs: those that are on their way, in order. As the waiter of their Commands it hears if one is refused after
    all.
    """

    __slots__ = ("_inbound", "name", "under_way")

    def __init__(self, inbound: "Inbound", name: str) -> None:
        self._inbound = inbound
        self.name = name
        self.under_way: deque[Origin] = deque()

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer. An outcome needs no telling: it is told with its commit, where everybody may read it."""
        if isinstance(answer, IdReused):
            self._inbound.refuse(self, next(origin for origin in self.under_way if origin.place == place), answer)

    def refuse(self, given: Input, error: EventoError) -> None:
        """Put an input here that will never be a Command."""
        entry = Entry(given.offset, given.key, given.command_id)
        self.under_way.append(entry)
        self._inbound.refuse(self, entry, error)

    def reached(self) -> int | None:
        """Return up to which place (exclusive) all are done, if that is more than when it was asked last."""
        last, under_way = None, self.under_way
        while under_way and under_way[0].done:
            last = under_way.popleft()
        return None if last is None else last.place + 1


class Intake(Protocol):
    """What takes Commands in: the partition's worker."""

    def accept_input(self, command: Command, source: Source, place: int) -> Origin:
        """Take a Command in, for which there is room; return what tells when it is done. Raises IdReused, NotReady."""
        ...

    def has_input_room(self) -> bool:
        """Tell whether Commands are taken, and there is room for one that has time."""
        ...

    async def wait_input_room(self) -> None:
        """Wait until that is so."""
        ...

    def tell_refusals(self) -> None:
        """Make a commit soon, even if there is nothing else to commit."""
        ...


class Inbound:
    """The inputs of one partition."""

    def __init__(self, inputs: Inputs, judge: Judge, now_us: Callable[[], int]) -> None:
        self._inputs = inputs
        self._judge = judge
        self._now_us = now_us
        self._sources: dict[str, Source] = {}
        self.refused: list[tuple[Source, Origin, EventoError]] = []  # to be told by the next commit
        self.stopped = ""  # why none is taken any more, if so
        self._intake: Intake | None = None

    async def run(self, intake: Intake) -> None:
        """Take inputs in until cancelled. Raises JournalError.

        If some that were never read are gone, none is taken any more, and `stopped` says why. What comes in another way goes on.
        """
        self._intake = intake
        try:
            while True:
                await intake.wait_input_room()
                try:
                    inputs = await self._inputs.read(READ_INPUTS)
                except JournalCorrupt as error:
                    logger.error("%s", error.message)
                    self.stopped = error.message
                    continue
                await self._take(inputs, intake)
        finally:
            self._sources.clear()  # else all that is under way stays in memory until somebody looks for cycles

    async def _take(self, inputs: Sequence[Input], intake: Intake) -> None:
        judge, accept, has_room = self._judge, intake.accept_input, intake.has_input_room
        source, room = Source(self, ""), 0  # for so many more it need not be looked whether there is some
        for given in inputs:
            if given.source != source.name:
                source = self._source(given.source)
            judged = judge(given)
            if not isinstance(judged, Command):
                if not isinstance(judged, EventoError):
                    judged, room = await judged, 0
                if isinstance(judged, EventoError):
                    source.refuse(given, judged)
                    continue
            if not room:
                if not has_room():
                    await intake.wait_input_room()
                room = ROOM_INPUTS
            room -= 1
            try:
                source.under_way.append(accept(judged, source, given.offset))
            except IdReused as error:
                source.refuse(given, error)

    def _source(self, name: str) -> Source:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = Source(self, name)
        return source

    def refuse(self, source: Source, origin: Origin, error: EventoError) -> None:
        """Answer an input with a refusal, by the next commit."""
        self.refused.append((source, origin, error))
        if self._intake is not None:
            self._intake.tell_refusals()

    def completed(self, transition: Transition) -> Transition:
        """Return the transition with the refusals to be told, and how far the sources are done once it is durable.

        What is marked done by then must be durable with it, or before it.
        """
        refused, self.refused = self.refused, []
        for _, origin, _ in refused:
            origin.done = True
        reached = self._reached()
        if not (refused or reached):
            return transition
        now_us = self._now_us()
        refusals = tuple(_refusal(source, origin, error, now_us) for source, origin, error in refused)
        return msgspec.structs.replace(transition, inputs=reached, refusals=refusals)

    def _reached(self) -> tuple[tuple[str, int], ...]:
        reached = [(source.name, source.reached()) for source in self._sources.values()]
        return tuple((name, place) for name, place in reached if place is not None)


def _refusal(source: Source, origin: Origin, error: EventoError, now_us: int) -> Refusal:
    if isinstance(origin, Ticket):
        key, command_id = origin.command.key, origin.command.id
    else:
        key, command_id = origin.key, origin.command_id
    return Refusal(source.name, origin.place, key, command_id, error.code, error.message, now_us)
