"""Commands that came to a partition without the platform, as records (design §7): read, judged, taken in, answered if refused.

Keeps count of which records of each source are done with, so that every commit can say up to where. Knows neither topics nor
bytes on a wire: the journal gives Inputs.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from evento.engine.ticket import Answer
from evento.errors import EventoError, IdReused, JournalCorrupt
from evento.journal.base import Inputs
from evento.model.command import Command
from evento.model.transition import Input, Refusal, Transition

logger = logging.getLogger(__name__)

ROOM_INPUTS = 16  # taken in before it is looked again whether there is room
READ_INPUTS = 1_000  # taken from the journal at a time
Judge = Callable[[Input], Command | EventoError | Awaitable[Command | EventoError]]  # nearly always there is nothing to wait for


class Source:
    """One input on its way: its Command's origin, and as its waiter it hears if that is refused after all."""

    __slots__ = ("_inbound", "done", "input")

    def __init__(self, inbound: "Inbound", given: Input) -> None:
        self._inbound = inbound
        self.input = given
        self.done = False

    def tell(self, place: int, answer: Answer) -> None:
        """Hear the answer. An outcome needs no telling: it is told with its commit, where everybody may read it."""
        if isinstance(answer, IdReused):
            self._inbound.refuse(self, answer)


class Intake(Protocol):
    """What takes Commands in: the partition's worker."""

    def accept_input(self, command: Command, source: Source) -> None:
        """Take a Command in, for which there is room. Raises IdReused, NotReady."""
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
        self._under_way: dict[str, deque[Source]] = {}
        self.refused: list[tuple[Source, EventoError]] = []  # to be told by the next commit
        self.stopped = ""  # why none is taken any more, if so
        self._intake: Intake | None = None

    async def run(self, intake: Intake) -> None:
        """Take inputs in until cancelled. Raises JournalError.

        If some that were never read are gone, none is taken any more, and `stopped` says why. What comes in another way goes on.
        """
        self._intake = intake
        while True:
            await intake.wait_input_room()
            try:
                inputs = await self._inputs.read(READ_INPUTS)
            except JournalCorrupt as error:
                logger.error("%s", error.message)
                self.stopped = error.message
                continue
            await self._take(inputs, intake)

    async def _take(self, inputs: Sequence[Input], intake: Intake) -> None:
        judge, accept, has_room = self._judge, intake.accept_input, intake.has_input_room
        room = 0  # for so many more it need not be looked whether there is some
        for given in inputs:
            source = Source(self, given)
            self._note(source)
            judged = judge(given)
            if not isinstance(judged, Command):
                if not isinstance(judged, EventoError):
                    judged, room = await judged, 0
                if isinstance(judged, EventoError):
                    self.refuse(source, judged)
                    continue
            if not room:
                if not has_room():
                    await intake.wait_input_room()
                room = ROOM_INPUTS
            room -= 1
            try:
                accept(judged, source)
            except IdReused as error:
                self.refuse(source, error)

    def _note(self, source: Source) -> None:
        name = source.input.source
        under_way = self._under_way.get(name)
        if under_way is None:
            under_way = self._under_way[name] = deque()
        under_way.append(source)

    def refuse(self, source: Source, error: EventoError) -> None:
        """Answer an input with a refusal, by the next commit."""
        self.refused.append((source, error))
        if self._intake is not None:
            self._intake.tell_refusals()

    def completed(self, transition: Transition) -> Transition:
        """Return the transition with the refusals to be told, and how far the sources are done once it is durable.

        What is marked done by then must be durable with it, or before it.
        """
        refused, self.refused = self.refused, []
        for source, _ in refused:
            source.done = True
        reached = self._reached()
        if not (refused or reached):
            return transition
        now_us = self._now_us()
        refusals = tuple(_refusal(source.input, error, now_us) for source, error in refused)
        return msgspec.structs.replace(transition, inputs=reached, refusals=refusals)

    def _reached(self) -> tuple[tuple[str, int], ...]:
        moved = []
        for name, under_way in self._under_way.items():
            last = None
            while under_way and under_way[0].done:
                last = under_way.popleft()
            if last is not None:
                moved.append((name, last.input.offset + 1))
        return tuple(moved)


def _refusal(given: Input, error: EventoError, now_us: int) -> Refusal:
    return Refusal(given.source, given.offset, given.key, given.command_id, error.code, error.message, now_us)
