"""What a journal that nodes share tells of its owners' doings, for whoever counts. Knows no backend."""


class JournalObserver:
    """Hears what owners of partitions do, on whichever thread that happens; telemetry overrides what it wants to hear."""

    def restoring(self, partition: int, done: int, total: int) -> None:
        """Hear how many records a new owner has read of those, `total` at most, that it must read before it takes Commands."""

    def taken_over(self, partition: int, seconds: float) -> None:
        """Hear that a partition has all there is, and takes Commands; and how long that took."""

    def given_up(self, partition: int) -> None:
        """Hear that a partition is no longer this node's, or was not taken over after all."""

    def committed(self, seconds: float, records: int) -> None:
        """Hear that a commit with so many records is durable, and how long it took."""

    def copied(self, partition: int, blocks: int) -> None:
        """Hear that the copy of a partition's replica is as new as the replica was, and how many blocks were written for that."""

    def commit_failed(self, code: str) -> None:
        """Hear that a commit failed, and with it its owner, by the code of the error. The next owner reads what became of it."""
