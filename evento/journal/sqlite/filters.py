"""Which Commands may have been seen: Bloom filters over their hashes, so that a new Command costs no read. Knows no disk."""

from collections.abc import Sequence

from rbloom import Bloom

FILTER_CAPACITY = 1 << 20  # hashes in one filter; 1.8 MiB each
GROWTH = 4  # a first filter that is smaller is followed by one that is so many times as big
FALSE_POSITIVES = 0.001


class CommandFilter:
    """A growing list of filters: when one is full, the next begins. `first` is for how many hashes the first one is.

    One thread adds, another asks: each call holds the interpreter's lock from its beginning to its end.
    """

    def __init__(self, first: int = FILTER_CAPACITY) -> None:
        self._capacity = first
        self._room = 0
        self._filters: list[Bloom] = []

    def add(self, hashes: Sequence[int]) -> None:
        """Remember hashes."""
        done = 0
        while done < len(hashes):
            if self._room == 0:
                self._filters.append(Bloom(self._capacity, FALSE_POSITIVES))
                self._room = self._capacity
                self._capacity = max(self._capacity, min(self._capacity * GROWTH, FILTER_CAPACITY))
            part = hashes[done : done + self._room]
            self._filters[-1].update(part)
            self._room -= len(part)
            done += len(part)

    def might_contain(self, number: int) -> bool:
        """Return False only if this hash was certainly never added."""
        for bloom in self._filters:  # noqa: SIM110  a generator here would cost twice the look-up
            if number in bloom:
                return True
        return False

    def __len__(self) -> int:
        """Return how many filters there are."""
        return len(self._filters)
