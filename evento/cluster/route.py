"""One partition as seen from a node that has Commands for it: which are with its owner, and which wait for one. Pure.

Commands of an instance must come to its owner in the order in which they came here, also while owners change. So: as soon as one
comes back, all that come later wait behind it; and nothing is sent again before it is known of each that is on its way whether the
owner took it. An owner that has refused one of a round takes none of that round any more, so that what is on its way cannot
overtake what came back.
"""

from bisect import insort
from collections.abc import Callable, Sequence

from evento.cluster.parcel import Parcel
from evento.errors import NotReady

PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 0.5
_TRIES_MAX = 10


def _number(parcel: Parcel) -> int:
    return parcel.number


class Route:
    """The way to one partition. `on_hold` hears of each Command that begins to wait here."""

    def __init__(self, number: int, on_hold: Callable[[], None]) -> None:
        self.number = number
        self.round = 0
        self.held: list[Parcel] = []
        self.out: dict[int, Parcel] = {}  # in lanes, and not answered
        self.closed = False  # this node stops: nothing waits here any more
        self.address = ""  # of the node that they are sent to
        self.not_before_s = 0.0
        self._tries = 0
        self._untaken = 0  # of `out`: nobody knows whether the owner took it
        self._on_hold = on_hold

    def hold(self, parcel: Parcel) -> None:
        """Let a Command wait for an owner, behind those that came before it."""
        if parcel.waiter is None:
            return
        if self.closed:
            parcel.finish(NotReady())
            return
        parcel.held = True
        parcel.again = parcel.given
        insort(self.held, parcel, key=_number)
        self._on_hold()

    def take_held(self) -> Sequence[Parcel]:
        """Return what waits, in order, to be sent; nothing as long as something on its way might come back."""
        if self._untaken:
            return ()
        held, self.held = self.held, []
        return held

    def pause(self, now_s: float) -> None:
        """Note that it is tried now, and when to try again if that is in vain."""
        self.not_before_s = now_s + min(PAUSE_FIRST_S * 2**self._tries, PAUSE_MAX_S)
        self._tries = min(self._tries + 1, _TRIES_MAX)

    def reach(self) -> None:
        """Note that an owner was found."""
        self._tries = 0

    # ------------------------------------------------------------ told by the lanes
    def sent(self, parcel: Parcel) -> None:
        """Note that a Command is in a lane."""
        parcel.round = self.round
        self.out[parcel.number] = parcel
        self._untaken += 1

    def taken(self) -> None:
        """Note that the owner took or refused one."""
        self._untaken -= 1
        self.reach()

    def answered(self, parcel: Parcel) -> None:
        """Note that one, which was taken, is answered."""
        self.out.pop(parcel.number, None)

    def refused(self, parcel: Parcel) -> None:
        """Let one wait again that its owner, who is none, took and gave back, or did not take."""
        self.out.pop(parcel.number, None)
        if parcel.round == self.round:
            self.round += 1
        self.hold(parcel)

    def returned(self, parcel: Parcel, *, taken: bool) -> None:
        """Let one wait again whose lane broke, or is not the one to the owner any more."""
        self.out.pop(parcel.number, None)
        self._untaken -= not taken
        self.round += 1
        self.hold(parcel)

    def recall(self) -> None:
        """Take everything back out of the lanes: somebody else is the owner now."""
        for parcel in list(self.out.values()):
            if parcel.lane is not None:
                parcel.lane.give_back(parcel)
