"""A Command on its way to the node that owns its instance, and who waits for its answer. Pure but for whom it tells."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from evento.engine.stream_order import StreamOrder
from evento.engine.ticket import Answer, Waiter
from evento.errors import EventoError, NotReady
from evento.model.command import Command, Outcome

if TYPE_CHECKING:
    from evento.cluster.lane import Lane
    from evento.cluster.route import Route


class Parcel(Struct, eq=False):
    """A Command that may have to be sent more than once, to one owner after another; its sender is told once.

    Waits itself for what the engine or a lane tells. `number` is its place in the order in which Commands came to this node;
    `until_s`, on the event loop's clock, is for how long its sender waits. `place` is where `waiter` wants the answer.
    """

    command: Command
    route: "Route"
    waiter: Waiter | None
    place: int
    number: int
    until_s: float
    eager: bool = False  # content with pending, and patient when there is no room: one of a stream
    order: StreamOrder | None = None  # that of its stream
    repeats: Callable[[int], bool] | None = None  # tells of a place whether one before it has the same id
    given: bool = False  # some owner may have it
    again: bool = False  # it came back from one that may have it
    held: bool = False  # it has waited for an owner
    lane: "Lane | None" = None
    way: int = -1  # its place in the lane
    round: int = 0

    def tell(self, place: int, answer: Answer) -> None:
        """Hear what became of it. An owner that is none any more knows nothing: somebody else will."""
        if isinstance(answer, NotReady):
            self.route.hold(self)
        else:
            self.finish(answer)

    def objection(self) -> EventoError | None:
        """Return why it must not be sent any more, if so: one before it in its stream was refused meanwhile."""
        if self.order is None or self.command.key not in self.order.broken:
            return None
        return self.order.behind(self.command.key)

    def finish(self, answer: Answer) -> None:
        """Tell the answer, unless one was told."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.tell(self.place, self._as_if_sent_once(answer) if self.again else answer)

    def _as_if_sent_once(self, answer: Answer) -> Answer:
        """Take the mark of a duplicate away if it is one of itself: what was accepted first has this very time of acceptance."""
        if not isinstance(answer, Outcome) or not answer.duplicate:
            return answer
        if self.repeats is not None and self.repeats(self.place):
            return answer
        found = answer.turn or answer.pending
        if found is None or found.command.accepted_us != self.command.accepted_us:
            return answer
        return replace(answer, duplicate=False)
