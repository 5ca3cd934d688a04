"""The other end of a lane: Commands from another node, judged, given to the engine in their order, and answered as they end.

What came from another node is never sent on. It is not trusted either: it is judged like a record that anybody wrote.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from evento.cluster.wire import HELLO, TOLD_BYTES, Answers, Sent, Told, decode_sent, encode_frame, problem_of
from evento.engine.engine import Engine
from evento.engine.ticket import Answer
from evento.errors import EventoError, InvalidRequest, NotReady, Overloaded, TooLarge
from evento.journal.base import Journal
from evento.model.command import Command, Outcome
from evento.model.limits import COMMAND_BYTES_MAX

HEARTBEAT_S = 1.0
UNANSWERED_MAX = 20_000  # of one lane; more are not read
WAIT_MAX_S = 3600.0
_CONTEXT_CHARS_MAX = 256
_TOLD_BYTES = 300  # of an answer, besides the payloads
_NUMBER_MAX = 2**62


class Reception:
    """One lane from another node. `patient`: a Command waits for room, and those behind it."""

    def __init__(self, engine: Engine, journal: Journal, *, patient: bool) -> None:
        self._engine = engine
        self._partition_of = journal.partition_of
        self._patient = patient
        self._taken = 0
        self._said = 0  # of what was taken
        self._told: list[Told] = []
        self._elsewhere: list[int] = []
        self._refused: dict[int, int] = {}  # partition -> the last round of which some were given back
        self._unanswered = 0
        self._ended = False
        self._something = asyncio.Event()
        self._room = asyncio.Event()

    async def take(self, frame: bytes) -> None:
        """Take the Commands of a frame in, one after another. Raises InvalidRequest; NotReady if nothing is deployed here."""
        for sent in decode_sent(frame):
            while self._unanswered >= UNANSWERED_MAX:
                self._room.clear()
                await self._room.wait()
            await self._take(sent, self._taken)
            self._taken += 1
            self._something.set()

    def end(self) -> None:
        """Nothing more comes in."""
        self._ended = True
        self._something.set()

    async def answers(self) -> AsyncIterator[bytes]:
        """Give what is told, as it comes, until nothing more comes in and all is answered; a heartbeat while there is nothing."""
        yield HELLO
        while not (self._ended and not self._unanswered and self._is_all_said()):
            if self._is_all_said():
                self._something.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_S):
                        await self._something.wait()
            yield encode_frame(self._next())

    # ------------------------------------------------------------ told by the items
    def tell(self, place: int, answer: Answer) -> None:
        """Hear what became of a Command."""
        if isinstance(answer, EventoError):
            self._told.append(Told(place, None, problem_of(answer)))
        else:
            self._told.append(Told(place, answer))
        self._something.set()

    def give_back(self, place: int, number: int, turn: int) -> None:
        """Tell that a Command is not for here, and take no other of its round and partition."""
        self._refused[number] = max(self._refused.get(number, -1), turn)
        self._elsewhere.append(place)
        self._something.set()

    def answered(self) -> None:
        """Note that the engine has told one."""
        self._unanswered -= 1
        self._room.set()

    # ------------------------------------------------------------ taking
    async def _take(self, sent: Sent, place: int) -> None:
        refused = _misshapen(sent.command)
        judged = refused if refused is not None else await self._engine.judging.judge(sent.command)
        if isinstance(judged, EventoError):
            if isinstance(judged, NotReady):
                raise judged
            self.tell(place, judged)
            return
        # Only now: where an instance is depends on what is deployed, and this node may just have learned of it.
        number = self._partition_of(judged.key)
        while sent.round > self._refused.get(number, -1):
            worker = self._engine.worker(number)
            if worker is None:
                break
            item = _Item(self, place, number, sent.round)
            wait_s = min(max(0.0, sent.wait_s), WAIT_MAX_S)
            self._unanswered += 1
            try:
                self._engine.take_in(worker, judged, item, wait_s=wait_s, eager=self._patient)
                return
            except NotReady:
                self._unanswered -= 1
                break
            except EventoError as error:
                self._unanswered -= 1
                if not (self._patient and isinstance(error, Overloaded)):
                    self.tell(place, error)
                    return
            await worker.wait_room()
        self.give_back(place, number, sent.round)

    # ------------------------------------------------------------ saying
    def _is_all_said(self) -> bool:
        return not self._told and not self._elsewhere and self._said == self._taken

    def _next(self) -> Answers:
        elsewhere, self._elsewhere = self._elsewhere, []
        size = count = 0
        while count < len(self._told) and size < TOLD_BYTES:
            size += _size(self._told[count].outcome)
            count += 1
        told, self._told = self._told[:count], self._told[count:]
        self._said = self._taken
        return Answers(self._taken, told, elsewhere)


class _Item:
    """Waits for the answer to one Command."""

    __slots__ = ("_number", "_place", "_reception", "_turn")

    def __init__(self, reception: Reception, place: int, number: int, turn: int) -> None:
        self._reception = reception
        self._place = place
        self._number = number
        self._turn = turn

    def tell(self, place: int, answer: Answer) -> None:
        """Hear it. One that the engine gave up is not for here any more."""
        self._reception.answered()
        if isinstance(answer, NotReady):
            self._reception.give_back(self._place, self._number, self._turn)
        else:
            self._reception.tell(self._place, answer)


def _size(outcome: Outcome | None) -> int:
    """Return roughly how many bytes an outcome takes."""
    if outcome is None or (found := outcome.turn or outcome.pending) is None:
        return _TOLD_BYTES
    events = outcome.turn.events if outcome.turn is not None else ()
    return _TOLD_BYTES + len(found.command.payload) + sum([len(event.payload) for event in events])


def _misshapen(command: Command) -> EventoError | None:
    """Return what is wrong with the parts of a Command that nobody else looks at."""
    if len(command.payload) > COMMAND_BYTES_MAX:
        return TooLarge(f"{len(command.payload)} bytes are more than the limit of {COMMAND_BYTES_MAX}")
    context = command.context
    texts = () if context is None else (getattr(context, name) for name in context.__struct_fields__)
    numbers = (command.accepted_us, command.expected or 0, command.due_us or 0)
    if any(text is not None and len(text) > _CONTEXT_CHARS_MAX for text in texts):
        return InvalidRequest(f"a text around the Command is longer than {_CONTEXT_CHARS_MAX} characters")
    if not all(0 <= number < _NUMBER_MAX for number in numbers):
        return InvalidRequest("a number around the Command is out of range")
    return None
