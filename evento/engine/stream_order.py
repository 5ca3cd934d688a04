"""The order of one stream's Commands to an instance, where one of them is refused for now: those behind it are refused as well.

Were they not, they would be carried out before it: who sends it again, as the refusal says, would have it done last. Pure.
"""

from collections.abc import Sequence

from evento.engine.ticket import Answer, Gathered
from evento.errors import EventoError, PredecessorRefused, Remedy
from evento.model.command import Command
from evento.model.keys import EntityKey

Place = tuple[int, int]  # of a Command in its stream: its chunk, and its place there


class StreamOrder:
    """What one stream has to be kept from. The refused Command ends it when it comes again: what follows then is in order."""

    def __init__(self) -> None:
        self.broken: dict[EntityKey, tuple[Place, str]] = {}  # the first Command of an instance that was refused for now
        self._chunks = 0

    def next_chunk(self) -> int:
        """Return the number of the next chunk of the stream."""
        self._chunks += 1
        return self._chunks

    def refuse(self, command: Command, place: Place, error: EventoError) -> None:
        """Note that a Command was refused; one before it may be only later. What is refused for good is no matter of order."""
        if error.remedy is Remedy.LATER and ((known := self.broken.get(command.key)) is None or place < known[0]):
            self.broken[command.key] = place, command.id

    def objection(self, command: Command) -> EventoError | None:
        """Return why a Command that comes now must not be taken, if so."""
        first = self.broken.get(command.key)
        if first is None:
            return None
        if first[1] == command.id:
            del self.broken[command.key]
            return None
        return self.behind(command.key)

    def behind(self, key: EntityKey) -> EventoError:
        """Return the refusal of what stands behind the Command that was refused."""
        _, first = self.broken[key]
        return PredecessorRefused(
            f"{first}, before it in this stream, was refused for now; send both again, in order, with the same ids",
            predecessor=first,
        )


class Chunk(Gathered):
    """Waits for the answers to many Commands of one stream, and keeps its order."""

    def __init__(self, commands: Sequence[Command], order: StreamOrder) -> None:
        super().__init__(len(commands))
        self._commands = commands
        self._order = order
        self._number = order.next_chunk()

    def tell(self, place: int, answer: Answer) -> None:
        """Hear one of the answers."""
        if isinstance(answer, EventoError):
            self._order.refuse(self._commands[place], (self._number, place), answer)
        self.answers[place] = answer  # as the super class does; calling it would cost more than this
        self._missing -= 1
        if not self._missing:
            self.finished.set()
