"""Writing copies of the replicas that this node owns to Kafka, one after another, on a thread of its own.

A copy is due when a partition has so many turns more than its last one that a node without a replica would have much to read. The
thread rests much longer than it works. Whoever owned the partition before is fenced here too, so that blocks of two writers never
mix. What fails is tried again later, and later each time: nobody waits for it. What the cluster refuses is not tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from threading import Event, Thread

from evento.clock import Clock
from evento.errors import JournalError, JournalRefused, JournalRewind
from evento.journal.kafka.clients import COPY_MS, copy_producer_properties
from evento.journal.kafka.copies import FILE_BYTES_MAX, Copy, Manifest
from evento.journal.kafka.fetching import last_manifest
from evento.journal.kafka.holding import Holding, Node
from evento.journal.kafka.membership import Lease
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.rights import TIME_REFUSED
from evento.journal.kafka.transactions import Transactions
from evento.journal.sqlite.copying import copy_file

TURNS_MIN = 20_000  # fewer are soon read
GROWTH = 0.2  # of what the last copy has
LOOK_S = 1.0
REST = 10  # so many times as long as a copy took, the thread rests, where there is other work
AGAIN_S = 60.0  # after a failure; twice as long after each that follows
AGAIN_S_MAX = 3600.0
COMMIT_SHARE = 0.8  # of the time that the brokers give a transaction
STOP_S = 5.0
_US = 1_000_000
_WAL_BYTES = 64 * 1024 * 1024  # of a replica in use, as much as there is now and then
_log = logging.getLogger(__name__)


class Copier:
    """The thread of a node, and the partitions that it looks after."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._producers = _Producers(node)
        self._jobs: list[_Job] = []  # replaced, never changed: the thread goes through it
        self._ended: list[_Job] = []
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="journal-copier", daemon=True)

    @contextmanager
    def copying(self, holding: Holding, lease: Lease) -> Iterator[None]:
        """Look after a partition for the time of the context: that of its ownership. For the event loop."""
        if self._thread.ident is None:
            self._thread.start()
        job = _Job((self._node, self._clock, self._producers), holding, lease, self._stopping)
        self._jobs = [*self._jobs, job]
        try:
            yield
        finally:
            self._jobs = [each for each in self._jobs if each is not job]
            self._ended.append(job)

    async def stop(self) -> None:
        """End the thread: a copy under way is given up, at once or, where a cluster is waited for, by itself later."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, STOP_S)

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for job in sorted(self._jobs, key=lambda job: job.missing, reverse=True):
                self._rest(REST * job.work())
            self._close_ended()
        for job in (*self._jobs, *self._ended):
            job.close()

    def _rest(self, seconds: float) -> None:
        """Wait, but not while nothing else is done here."""
        rest, before = Patience(seconds), -1
        while not (rest.is_over or self._stopping.is_set()) and (moved := sum(job.turns for job in self._jobs)) != before:
            before = moved
            self._stopping.wait(min(LOOK_S, rest.left_s))

    def _close_ended(self) -> None:
        while self._ended:
            self._ended.pop().close()


class _Producers:
    """Makes the producers of copies; knows how much time the brokers give their transactions."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._transaction_ms = COPY_MS

    def fence(self, number: int, watch: Callable[[], None]) -> Transactions:
        """Return a producer of one partition's copies; whoever was it before is fenced. Raises JournalError."""
        try:
            return self._fence(number, watch)
        except JournalRefused as error:
            commits_ms = self._node.cluster.times.transaction_ms
            if error.details.get("kafka") != TIME_REFUSED or self._transaction_ms == commits_ms:
                raise
            _log.warning(
                "the brokers' transaction.max.timeout.ms is below %d: a copy of a replica gets %d ms, as commits do, and fails if "
                "it needs more",
                self._transaction_ms,
                commits_ms,
            )
            self._transaction_ms = commits_ms
            return self._fence(number, watch)

    def _fence(self, number: int, watch: Callable[[], None]) -> Transactions:
        properties = copy_producer_properties(self._node.cluster, self._node.names.copying_id(number), self._transaction_ms)
        transactions = Transactions(properties, number, commit_s=COMMIT_SHARE * self._transaction_ms / 1000)
        transactions.fence(watch)
        return transactions


class _Job:
    """The copies of one ownership."""

    def __init__(self, place: tuple[Node, Clock, _Producers], holding: Holding, lease: Lease, stopping: Event) -> None:
        self._node, self._clock, self._producers = place
        self._number = holding.number
        self._replica = holding.store
        self._lease = lease
        self._stopping = stopping
        self._transactions: Transactions | None = None
        self._last: Manifest | None = None
        self._topic = ""  # by its id
        self._is_mended = holding.store.is_mended
        self._again = Patience(0.0)
        self._again_s = AGAIN_S

    @property
    def turns(self) -> int:
        """Return how many turns the replica has."""
        return self._replica.position

    @property
    def missing(self) -> int:
        """Return how many of them the copy does not have, as far as is known."""
        return self.turns - (0 if self._last is None else self._last.turns)

    def work(self) -> float:
        """Make a copy if one is due; return how many seconds that took."""
        begun = Patience(0.0)
        try:
            if not self._is_wanted() or not self._again.is_over or self.turns < TURNS_MIN:
                return 0.0
            if self._transactions is None or self._transactions.is_tainted:
                self._begin()
            else:
                self._transactions.listen()
            if self._is_due() and self._is_fit():
                self._copy()
        except JournalRefused as error:  # until a person has changed something
            self.close()
            self._again = Patience(inf)
            _log.warning("partition %d: its replica is not copied any more: %s", self._number, error)
        except JournalError as error:
            self.close()
            if self._is_wanted():
                self._wait()
                _log.warning("partition %d: its replica is not copied now: %s", self._number, error)
        except Exception:  # noqa: BLE001  a thread that dies in silence would make no copies for ever
            self.close()
            self._wait()
            _log.exception("unexpected")
        return begun.over_s

    def _wait(self) -> None:
        self._again = Patience(self._again_s)
        self._again_s = min(2 * self._again_s, AGAIN_S_MAX)

    def close(self) -> None:
        """Drop the producer."""
        if self._transactions is not None:
            self._transactions.close()
            self._transactions = None

    def _is_wanted(self) -> bool:
        return self._lease.is_valid and not self._lease.is_revoked and not self._stopping.is_set()

    def _is_due(self) -> bool:
        if self._last is None or self._is_mended:
            return True
        return self.missing < 0 or self.missing >= max(TURNS_MIN, GROWTH * self._last.turns)

    def _is_fit(self) -> bool:
        """Return whether the replica is not too large; if it is, that stays so."""
        size = self._node.replica(self._number).stat().st_size
        if size + _WAL_BYTES <= FILE_BYTES_MAX:
            return True
        _log.warning("partition %d: its replica has %d bytes, and is not copied any more", self._number, size)
        self._again = Patience(inf)
        return False

    def _begin(self) -> None:
        """Fence whoever wrote copies before; then what is there stays."""
        self.close()
        self._transactions = self._producers.fence(self._number, self._watch)
        self._topic = self._identity()
        self._last = last_manifest(self._node.copies(self._number), self._watch)

    def _identity(self) -> str:
        name = self._node.names.replicas
        return self._node.survey.identities([name]).get(name, "")

    def _copy(self) -> None:
        assert self._transactions is not None  # noqa: S101 - `work` has seen to it
        if self._identity() != self._topic:
            raise JournalError(f"the topic {self._node.names.replicas} is gone, or another one")
        replica = self._node.replica(self._number)
        file = replica.with_suffix(".copy")
        made_s = self._clock.now_us() // _US
        try:
            turns = copy_file(replica, file, self._node.tuning, self._watch)
            copy = Copy(file, self._node.names.replicas, self._last, turns=turns, made_s=made_s)
            self._transactions.commit(copy, lambda: (), self._lease.proof)
        finally:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        self._last, self._is_mended, self._again_s = copy.manifest, False, AGAIN_S
        self._node.observer.copied(self._number, copy.written)
        _log.info("partition %d: copied its replica with %d turns, %d blocks anew", self._number, turns, copy.written)

    def _watch(self) -> None:
        if not self._is_wanted():
            raise JournalRewind("the partition is no longer this node's")
