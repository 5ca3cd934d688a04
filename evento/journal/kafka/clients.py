"""What each of our Kafka clients is told: complete properties, with the reason for each. It makes no client, and reaches nobody.

The producer of one partition's commits, the member of the group that owns partitions, readers of what is committed, and the
administrator. Properties of the client library are in milliseconds and kilobytes, as their names say.
"""

import logging
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from evento.errors import SettingsError
from evento.journal.kafka.address import KafkaAddress
from evento.journal.kafka.security import Properties

logger = logging.getLogger(__name__)

RECORD_BYTES_MAX = 1024 * 1024  # of a record, as the broker counts; a Command, an Event or a state is smaller
AHEAD_RECORDS = 20_000  # of one topic, read ahead
AHEAD_KIB = 16_384  # likewise
COPY_MS = 300_000  # a copy's transaction, if the brokers allow it; readers of copies never wait for one that is open
# So long a rebalance waits for a member that is gone, where the coordinator has not noticed that: one that was elected once more
# while it read its topic does not (Kafka 4.1.1).
POLL_MS = 60_000
_SOCKET_MARGIN_MS = 100  # so much earlier than its transaction a request must end; the client library does not check it


class Times(Struct, frozen=True, kw_only=True):
    """How long Kafka's clients wait for what. They depend on each other. Raises SettingsError if they do not fit."""

    transaction_ms: int = 20_000  # after the death of an owner that nobody replaces, readers wait so long at its open transaction
    message_ms: int = 15_000  # a record that is not with the broker by then has failed
    request_ms: int = 10_000  # one request, before its connection is given up and it is sent again
    session_ms: int = 15_000  # a member that is silent so long loses its partitions
    heartbeat_ms: int = 3_000
    poll_ms: int = POLL_MS  # between two polls of a member; the thread that polls does nothing else

    def __post_init__(self) -> None:
        rules = {
            "message_ms is larger than transaction_ms": self.message_ms <= self.transaction_ms,
            f"request_ms is not {_SOCKET_MARGIN_MS} ms below transaction_ms": self.request_ms + _SOCKET_MARGIN_MS
            <= self.transaction_ms,
            "heartbeat_ms is more than a third of session_ms": 3 * self.heartbeat_ms <= self.session_ms,
            "session_ms is larger than poll_ms": self.session_ms <= self.poll_ms,
        }
        broken = [rule for rule, kept in rules.items() if not kept]
        if broken:
            raise SettingsError("; ".join(broken), setting="journal")

    @classmethod
    def of_session(cls, session_s: float) -> Self:
        """Return the times that go with a session: all others are in proportion to it."""
        share_ms = int(session_s * 1000) // 15  # as in the defaults, which are those of 15 s
        return cls(
            transaction_ms=20 * share_ms,
            message_ms=15 * share_ms,
            request_ms=10 * share_ms,
            session_ms=15 * share_ms,
            heartbeat_ms=3 * share_ms,
            poll_ms=max(POLL_MS, 60 * share_ms),
        )


class Cluster(Struct, frozen=True, kw_only=True):
    """A Kafka cluster as a client sees it: where it is, how it is reached, who asks (`client_id`, for its logs and quotas)."""

    address: KafkaAddress
    security: Properties
    client_id: str
    times: Times = Times()


def admin_properties(cluster: Cluster) -> Properties:
    """Return what the administrator is told: he makes and checks topics, and asks for members of the group."""
    # Whoever asks is told what failed. The library would write a line for each attempt to connect: twenty a second.
    return _base(cluster, {"log_level": 2})


def offsets_properties(cluster: Cluster, level: str) -> Properties:
    """Return what a consumer is told that is only asked how far partitions reach: for who reads at this isolation level."""
    told = {"group.id": cluster.address.group, "isolation.level": level, "enable.auto.commit": False, "log_level": 2}
    return _base(cluster, told)


def lane_producer_properties(cluster: Cluster, transactional_id: str, *, message_bytes_max: int) -> Properties:
    """Return what the producer of one partition's commits is told. `message_bytes_max` is the largest record of its topics."""
    times = cluster.times
    return _base(
        cluster,
        {
            "transactional.id": transactional_id,
            # Not to all brokers: that one is away which has no part in a commit must cast no doubt on it.
            "enable.sparse.connections": True,
            "transaction.timeout.ms": times.transaction_ms,
            "message.timeout.ms": times.message_ms,
            "request.timeout.ms": times.request_ms,
            # That the end of a commit was asked for again is told by nothing else: who made it must know (`transactions.py`).
            "debug": "eos",
            # A transactional id implies these. They are said, so that nobody has to know that.
            "enable.idempotence": True,
            "acks": "all",
            "max.in.flight": 5,
            # Rebootstrapping, the default, replaces the client's brokers when all connections are lost. Requests of a transaction
            # may then wait for ever at one that was replaced (librdkafka 2.16.1), whatever time they were given.
            "metadata.recovery.strategy": "none",
            # What the coordinator answers with "not yet" (a transaction is being ended) is asked again at once: it takes 1 or 2 ms,
            # and the default pause of 100 ms would be in every commit.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 5,
            "linger.ms": 100,  # a flush ends it early: so each topic's records of a commit go in one request
            "compression.type": "lz4",
            "message.max.bytes": message_bytes_max,
            "queue.buffering.max.messages": 20_000,  # bounds of one commit
            "queue.buffering.max.kbytes": 65_536,
        },
    )


def copy_producer_properties(cluster: Cluster, transactional_id: str, transaction_ms: int) -> Properties:
    """Return what the producer of copies of a replica is told: as that of commits, but a copy is large, and nobody waits for it."""
    lane = lane_producer_properties(cluster, transactional_id, message_bytes_max=RECORD_BYTES_MAX)
    return Properties({**lane, "transaction.timeout.ms": transaction_ms, "queue.buffering.max.kbytes": 16_384})


def member_properties(cluster: Cluster, group: str) -> Properties:
    """Return what a member of the group is told, which is given partitions to own."""
    times = cluster.times
    return _base(
        cluster,
        {
            "group.id": group,
            # The older protocol: under the newer one, a lawful commit could be refused until late in 2026 (KIP-1251).
            "group.protocol": "classic",
            "partition.assignment.strategy": "cooperative-sticky",  # what stays with a node is not interrupted
            "session.timeout.ms": times.session_ms,
            "heartbeat.interval.ms": times.heartbeat_ms,
            "max.poll.interval.ms": times.poll_ms,
            **_READING,
            "queued.min.messages": 1_000,  # it reads nothing: what it is assigned is paused
        },
    )


def reader_properties(cluster: Cluster, group: str) -> Properties:
    """Return what a reader is told, which is assigned its partitions by us, and never joins the group. It reads what there is.

    `group` is the members' group: its committed offsets can be asked for. The end of a partition is told: it is that of what is
    committed, not of all there is.
    """
    # A broker that has nothing more says so at once. When enough is ahead the client looks again after a moment; the default of a
    # second left who reads fast with nothing to do.
    return _reader(cluster, group, wait_ms=10, full_ms=5)


def follower_properties(cluster: Cluster, group: str, shares: int) -> Properties:
    """Return what a reader is told that waits for what will come. Each partition that is owned has one; most have nothing to do.

    `shares`: so many of them share what a single one would have ahead.
    """
    # It asks twice a second where nothing comes; what comes is answered at once. Not less often: a topic that is added, or goes on
    # after enough was ahead, waits for the request that is under way, and half a second's records are ahead at most. Where many
    # have enough, to look so often whether there is room would cost more than what is read.
    reader = _reader(cluster, group, wait_ms=500, full_ms=max(25, 12 * shares))
    ahead = {"queued.min.messages": AHEAD_RECORDS // shares, "queued.max.messages.kbytes": AHEAD_KIB // shares}
    return Properties({**reader, **ahead})


def _reader(cluster: Cluster, group: str, *, wait_ms: int, full_ms: int) -> Properties:
    times = {"fetch.wait.max.ms": wait_ms, "fetch.queue.backoff.ms": full_ms}
    return _base(cluster, {"group.id": group, "enable.partition.eof": True, **_READING, **times})


_READING: Mapping[str, object] = {
    "isolation.level": "read_committed",
    # Offsets are committed by transactions, and a start is always given. One that is not there means lost records, and is told.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "check.crcs": True,
    # Bounds of what the client reads ahead, for each topic; the defaults are 100,000 records and 64 MiB.
    "queued.min.messages": AHEAD_RECORDS,
    "queued.max.messages.kbytes": AHEAD_KIB,
}


def _base(cluster: Cluster, more: Mapping[str, object]) -> Properties:
    return Properties(
        {
            **cluster.security,
            "bootstrap.servers": cluster.address.bootstrap,
            "client.id": cluster.client_id,
            "socket.timeout.ms": cluster.times.request_ms,
            "socket.keepalive.enable": True,
            # A topic that is gone must not come back, empty, by being written to: of producers that is the default.
            "allow.auto.create.topics": False,
            "reconnect.backoff.max.ms": 2_000,  # the default of 10 s is longer than a broker's restart
            # Be connected to all brokers, and not only once one is needed: else finding a coordinator often takes half a second.
            "enable.sparse.connections": False,
            "logger": logger,  # the library's own lines, instead of the standard error
            **more,
        }
    )
