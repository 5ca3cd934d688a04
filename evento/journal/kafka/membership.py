"""The node's membership in the group: which partitions Kafka gives it, when it takes them back, and by what a commit proves it.

One thread owns the consumer. It subscribes to the topic of what is pending, and reads nothing: only the assignment is wanted. A
partition is held by a Lease. When the group wants a partition back, its owner has a few seconds to come to an end. Knows no
commits.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from evento.errors import JournalError
from evento.journal.kafka.failures import Action, Call, error_of, failure_of
from evento.journal.kafka.patience import Patience
from evento.journal.kafka.security import Properties
from evento.journal.kafka.survey import Member
from evento.journal.kafka.watchdog import ClientCall

POLL_S = 0.05
REVOKE_S = 5.0  # an owner has so long to finish what it has begun
AGAIN_S = 0.2  # until a broken membership is begun anew
LEAVE_S = 10.0
_WHAT = f"the membership in the group, {Call.CONSUME}"
_log = logging.getLogger(__name__)


class Lease:
    """One partition, for as long as the group lets this node have it.

    Owners ask it from their threads; it never comes back to life.
    """

    def __init__(self, number: int, membership: "Membership", loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.released = Event()
        self._membership = membership
        self._loop = loop
        self._revoked = asyncio.Event()
        self._valid = True
        self._wanted = False
        self.is_held = False

    @property
    def is_valid(self) -> bool:
        """Return whether the partition is this node's, as far as it knows."""
        return self._valid

    @property
    def is_current(self) -> bool:
        """Return whether nobody else can have the partition: it is this node's, and the node has not stood still since it knew."""
        return self._valid and not self._membership.stood_still

    @property
    def is_revoked(self) -> bool:
        """Return whether the partition must be given up."""
        return self._wanted

    def is_meant_by(self, members: Collection[Member]) -> bool:
        """Return whether the partition is this node's by the group's own list of its members."""
        mine = self._membership.member_id
        return any(member.member_id == mine and self.number in member.partitions for member in members)

    def proof(self) -> Any:
        """Return what a commit proves the membership by; None if the partition is lost: then no commit may be begun."""
        return self._membership.proof_of(self)

    async def wait_revoked(self) -> None:
        """Return when the partition must be given up, or is lost."""
        await self._revoked.wait()

    # ---------------------------------------------------------------- on the membership's thread
    def revoke(self) -> None:
        """Tell the owner to come to an end."""
        self._wanted = True
        with suppress(RuntimeError):  # the loop is closed: there is no owner any more
            self._loop.call_soon_threadsafe(self._revoked.set)

    def end(self) -> None:
        """Let no further commit be begun."""
        self._valid = False
        self.revoke()


class Membership:
    """The thread, and the leases of what is assigned."""

    def __init__(self, properties: Properties, topic: str) -> None:
        self._properties = properties
        self._topic = topic
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()  # leases and the proof change together
        self._leases: dict[int, Lease] = {}
        self._proof: Any = None
        self._member_id = ""
        self._changed = asyncio.Event()
        self._failure: JournalError | None = None
        self._stopping = Event()
        self._still_s = float(properties["session.timeout.ms"]) / 1000 / 2
        self._awake = Patience(self._still_s)
        self._thread = Thread(target=self._run, name="journal-member", daemon=True)

    def start(self) -> None:
        """Join the group, unless this node is in it already; partitions come later. Who only reads never joins."""
        if self._thread.ident is None:
            self._thread.start()

    async def stop(self) -> None:
        """Leave the group: others may have the partitions at once."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def leave(self) -> None:
        """Leave the group if that is soon done, though owners may not come to an end. For a thread whose process ends."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(LEAVE_S)

    @property
    def is_begun(self) -> bool:
        """Return whether this node is in the group, or about to be."""
        return self._thread.ident is not None

    @property
    def stood_still(self) -> bool:
        """Return whether the thread has not run for so long that the group may have given everything to others meanwhile."""
        return self._awake.is_over

    @property
    def member_id(self) -> str:
        """Return by which id the group knows this node just now."""
        return self._member_id

    @asynccontextmanager
    async def hold(self, number: int) -> AsyncIterator[Lease]:
        """Wait until the partition is assigned, and hold it. Raises JournalError if the group cannot be joined."""
        self.start()
        lease = await self._wait_assigned(number)
        lease.is_held = True
        try:
            yield lease
        finally:
            lease.released.set()
            with self._lock:
                if self._leases.get(number) is lease and lease.is_valid and not lease.is_revoked:
                    self._leases[number] = Lease(number, self, self._loop)  # still this node's: for its next owner here

    def proof_of(self, lease: Lease) -> Any:
        """Return the group's metadata as of the last poll, if the lease is good."""
        with self._lock:
            return self._proof if lease.is_valid else None

    async def _wait_assigned(self, number: int) -> Lease:
        while True:
            if self._failure is not None:
                raise self._failure
            self._changed.clear()
            lease = self._leases.get(number)
            if lease is not None and lease.is_valid and not lease.is_revoked:
                return lease
            await self._changed.wait()

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._be_member()
            except KafkaException as error:
                self._hear(error)
            except Exception as error:  # noqa: BLE001  a thread that dies in silence would let everybody wait for ever
                _log.exception("unexpected")
                self._fail(JournalError(f"the membership in the group failed: {error!r}"))
            self._lose(list(self._leases))
            if self._failure is not None:
                return
            self._stopping.wait(AGAIN_S)

    def _be_member(self) -> None:
        consumer = Consumer(dict(self._properties))
        try:
            consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            self._awake = Patience(self._still_s)
            while not self._stopping.is_set():
                if self.stood_still:
                    _log.warning("this node stood still; it joins the group anew")
                    return
                self._awake = Patience(self._still_s)
                with ClientCall(_WHAT):
                    message = consumer.poll(POLL_S)
                error = None if message is None else message.error()
                if error is not None and failure_of(Call.CONSUME, error).action is not Action.RETRY:
                    raise KafkaException(error)
                self._publish(consumer)
        finally:
            if not self._stopping.is_set():  # the others need not wait for owners whose commits would be refused
                self._lose(list(self._leases))
            with ClientCall(_WHAT):
                consumer.close()

    def _publish(self, consumer: Consumer) -> None:
        proof, member_id = consumer.consumer_group_metadata(), consumer.memberid() or ""
        with self._lock:
            self._proof, self._member_id = proof, member_id

    def _assigned(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        places = [TopicPartition(place.topic, place.partition, 0) for place in partitions]
        consumer.incremental_assign(places)
        consumer.pause(places)
        self._publish(consumer)
        with self._lock:
            self._leases.update((place.partition, Lease(place.partition, self, self._loop)) for place in places)
        _log.info("partitions %s are this node's", sorted(place.partition for place in places))
        self._tell()

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Let the owners finish; what they commit meanwhile is still lawful: nobody else is given the partitions before."""
        self._publish(consumer)
        leases = [lease for place in partitions if (lease := self._leases.get(place.partition)) is not None]
        for lease in leases:
            lease.revoke()
        patience = Patience(REVOKE_S)
        for lease in leases:
            if lease.is_held and not lease.released.wait(patience.left_s):
                _log.warning("partition %d is given up before its owner has come to an end", lease.number)
        self._lose([lease.number for lease in leases])
        consumer.incremental_unassign(list(partitions))
        self._awake = Patience(self._still_s)

    def _lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        _log.warning("partitions %s are lost to the group", sorted(place.partition for place in partitions))
        self._lose([place.partition for place in partitions])
        consumer.incremental_unassign(list(partitions))

    def _lose(self, numbers: Sequence[int]) -> None:
        with self._lock:
            for number in numbers:
                lease = self._leases.pop(number, None)
                if lease is not None:
                    lease.end()
        self._tell()

    def _hear(self, error: KafkaException) -> None:
        failure = failure_of(Call.CONSUME, error, told=self._properties)
        if failure.action in (Action.REFUSED, Action.QUARANTINE):
            self._fail(error_of(failure))
        else:
            _log.warning("the membership in the group is begun anew: %s", failure.message)

    def _fail(self, failure: JournalError) -> None:
        self._failure = failure

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._changed.set)
