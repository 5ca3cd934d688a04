"""What Kafka's client says went wrong, and what to do about it. It decides; whoever called the client acts.

The order is the client library's own: fatal, then "this transaction must be aborted", then "this call may be repeated"; whatever is
none of these, and not listed here for its call, is fatal too. One thing goes before: a producer that the brokers do not know any
more. The library would make it a new one by itself, and nobody would have read what others wrote meanwhile.
"""

import re
from enum import StrEnum

from confluent_kafka import KafkaError, KafkaException
from msgspec import Struct

from evento.errors import (
    JournalCorrupt,
    JournalError,
    JournalFenced,
    JournalRefused,
    JournalRewind,
    JournalUnreachable,
)
from evento.journal.kafka.security import Properties


class Call(StrEnum):
    """What was being done."""

    INIT = "becoming the owner of a partition"
    PRODUCE = "producing to a partition"  # inside a transaction; what then fails to arrive is told by COMMIT
    SEND_OFFSETS = "adding the input's offsets to a commit"
    COMMIT = "committing"
    ABORT = "aborting a commit"
    CONSUME = "consuming"
    ADMIN = "asking the cluster"  # the administrator, and positions and offsets asked by a reader
    INTAKE = "handing a Command to its partition"  # the producer without transactions; its records' failures


class Action(StrEnum):
    """What to do."""

    RETRY = (
        "retry"  # the same call with the same arguments, after a pause. Of COMMIT: the outcome is unknown until it says otherwise
    )
    WAIT = "wait"  # the client's queue is full: poll, then the same call again
    ABORT = "abort"  # certainly not committed: abort, then make the same commit again, if this is still the owner
    FENCED = "fenced"  # drop everything, close the producer; whether the commit happened, only reading tells
    LOST = "lost"  # the group took the partitions: no commit, no abort; the next owner fences this one
    TOO_LARGE = "too-large"  # a record exceeds its topic's limit: abort; the same record will never fit
    REFUSED = "refused"  # a right or a setting is missing: stop, and tell a person
    QUARANTINE = "quarantine"  # records are missing where they must not be: stop this partition, and tell a person
    UNKNOWN = "unknown"  # it may have happened: say so; the sender sends again with the same id
    FATAL = "fatal"  # this client is of no use any more: close it


class Failure(Struct, frozen=True):
    """What went wrong, classified. `message` is for a person, without any secret."""

    action: Action
    call: Call
    code: str
    message: str


_RIGHTS = {
    "CLUSTER_AUTHORIZATION_FAILED": "a right on the cluster is missing",
    "GROUP_AUTHORIZATION_FAILED": "a right on the consumer group is missing",
    "SASL_AUTHENTICATION_FAILED": "the cluster does not accept user and password",
    "TOPIC_AUTHORIZATION_FAILED": "a right on a topic is missing",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "the right to write with this transactional id is missing",
    "_AUTHENTICATION": "the cluster does not accept who this is",
    "_SSL": "no TLS connection can be made; the broker's certificate must be signed by one in ssl.ca.location, and name the host "
    "that is connected to",
}
_SETTINGS = {
    "ILLEGAL_SASL_STATE": "the listener wants SASL otherwise",
    "INVALID_SESSION_TIMEOUT": "the brokers' group.min or group.max.session.timeout.ms do not allow our session timeout",
    "INVALID_TRANSACTION_TIMEOUT": "the brokers' transaction.max.timeout.ms is below the timeout of Evento's transactions",
    "POLICY_VIOLATION": "a policy of the cluster forbids it",
    "SECURITY_DISABLED": "the cluster has no authorizer",
    "UNSUPPORTED_SASL_MECHANISM": "the cluster does not have this sasl.mechanism",
    "UNSUPPORTED_VERSION": "the brokers are too old; Evento needs Kafka 4.0",
    "_INVALID_ARG": "a property is wrong",
    "_UNSUPPORTED_FEATURE": "the brokers are too old; Evento needs Kafka 4.0",
}
_REFUSED = {**_RIGHTS, **_SETTINGS}
# A consumer that was let in connects again by itself: a broker that starts may refuse it for a moment.
_CONNECTING = dict.fromkeys(("SASL_AUTHENTICATION_FAILED", "_AUTHENTICATION", "_SSL"), Action.RETRY)
_AWAY = dict.fromkeys(
    ("_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_TRANSPORT", "NETWORK_EXCEPTION", "REQUEST_TIMED_OUT"), Action.RETRY
)
_HANDSHAKE = re.compile("ssl.handshake", re.IGNORECASE)  # while it lasted, a connection was broken off, or told something else
_NO_TLS = ": no TLS connection can be made; is it the port of a listener that speaks TLS?"
_MOVING = dict.fromkeys(
    (
        "CONCURRENT_TRANSACTIONS",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "LEADER_NOT_AVAILABLE",
        "NOT_CONTROLLER",
        "NOT_COORDINATOR",
        "NOT_LEADER_FOR_PARTITION",
        "OFFSET_NOT_AVAILABLE",
        "UNSTABLE_OFFSET_COMMIT",
        "_WAIT_COORD",
    ),
    Action.RETRY,
)
_OLD_PRODUCER = dict.fromkeys(
    (
        "INVALID_PRODUCER_EPOCH",
        "INVALID_PRODUCER_ID_MAPPING",
        "INVALID_TXN_STATE",
        "PRODUCER_FENCED",
        "UNKNOWN_PRODUCER_ID",
        "_FENCED",
        "_STATE",
    ),
    Action.FENCED,
)
_OLD_MEMBER = dict.fromkeys(
    ("FENCED_INSTANCE_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "STALE_MEMBER_EPOCH", "UNKNOWN_MEMBER_ID"), Action.ABORT
)
_TOO_LARGE = dict.fromkeys(("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"), Action.TOO_LARGE)
_GONE = dict.fromkeys(
    (
        "INCONSISTENT_TOPIC_ID",
        "OFFSET_OUT_OF_RANGE",
        "UNKNOWN_TOPIC_ID",
        "UNKNOWN_TOPIC_OR_PART",
        "_AUTO_OFFSET_RESET",
        "_LOG_TRUNCATION",
        "_NO_OFFSET",
        "_UNKNOWN_PARTITION",
        "_UNKNOWN_TOPIC",
    ),
    Action.QUARANTINE,
)
_MAYBE = dict.fromkeys(
    ("NOT_ENOUGH_REPLICAS_AFTER_APPEND", "_MSG_TIMED_OUT", "_PURGE_INFLIGHT", "REQUEST_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT"),
    Action.UNKNOWN,
)
# By call and code, for what the flags of an error do not tell.
_ACTIONS: dict[Call, dict[str, Action]] = {
    Call.INIT: {**_OLD_PRODUCER, **_AWAY, **_MOVING},
    Call.PRODUCE: {**_OLD_PRODUCER, **_TOO_LARGE, "_QUEUE_FULL": Action.WAIT},
    Call.SEND_OFFSETS: {**_OLD_PRODUCER, **_OLD_MEMBER},
    Call.COMMIT: _OLD_PRODUCER,
    Call.ABORT: _OLD_PRODUCER,
    Call.CONSUME: {
        **_AWAY,
        **_CONNECTING,
        **_MOVING,
        **_GONE,
        "ILLEGAL_GENERATION": Action.LOST,
        "UNKNOWN_MEMBER_ID": Action.LOST,
        "_ASSIGNMENT_LOST": Action.LOST,
        "_MAX_POLL_EXCEEDED": Action.LOST,
    },
    Call.ADMIN: {**_GONE, **_AWAY, **_MOVING, "_NOENT": Action.RETRY, "THROTTLING_QUOTA_EXCEEDED": Action.RETRY},
    Call.INTAKE: {
        **_MOVING,
        **_MAYBE,
        **_TOO_LARGE,
        **_GONE,
        "NOT_ENOUGH_REPLICAS": Action.RETRY,
        "_ALL_BROKERS_DOWN": Action.RETRY,
        "_PURGE_QUEUE": Action.RETRY,
        "_QUEUE_FULL": Action.WAIT,
    },
}
_ERRORS: dict[Action, type[JournalError]] = {
    Action.RETRY: JournalUnreachable,
    Action.WAIT: JournalUnreachable,
    Action.ABORT: JournalRewind,
    Action.FENCED: JournalFenced,
    Action.LOST: JournalFenced,
    Action.TOO_LARGE: JournalError,
    Action.REFUSED: JournalRefused,
    Action.QUARANTINE: JournalCorrupt,
    Action.UNKNOWN: JournalUnreachable,
    Action.FATAL: JournalError,
}


def failure_of(call: Call, raised: KafkaException | KafkaError | BufferError, *, told: Properties | None = None) -> Failure:
    """Return what `raised`, by this call or in its delivery report, means. No secret of `told`, the client's properties, shows."""
    if isinstance(raised, BufferError):
        return Failure(Action.WAIT, call, "_QUEUE_FULL", f"{call}: the client's queue is full")
    error = raised.args[0] if isinstance(raised, KafkaException) else raised
    code = error.name()
    said = told.scrubbed(error.str()) if told is not None else error.str()
    hint = f": {_REFUSED[code]}" if code in _REFUSED else _NO_TLS if code == "_TRANSPORT" and _HANDSHAKE.search(said) else ""
    return Failure(_action(call, error), call, code, f"{call}{hint} ({code}: {said})")


def error_of(failure: Failure) -> JournalError:
    """Return the failure as Evento's error, for when nothing more can be done here about it."""
    return _ERRORS[failure.action](failure.message, kafka=failure.code)


def _action(call: Call, error: KafkaError) -> Action:
    code = error.name()
    if code in _REFUSED and not (
        call is Call.CONSUME and code in _CONNECTING
    ):  # whatever the flags: only a person can mend it. An open transaction is still to be aborted
        return Action.REFUSED
    if call in _TRANSACTIONAL and (error.fatal() or code in _OLD_PRODUCER):
        return Action.FENCED
    if error.fatal():
        return Action.FATAL
    if error.txn_requires_abort():
        return Action.TOO_LARGE if code in _TOO_LARGE else Action.ABORT
    if error.retriable():
        return Action.RETRY
    return _ACTIONS[call].get(code, Action.FATAL)


_TRANSACTIONAL = frozenset({Call.INIT, Call.PRODUCE, Call.SEND_OFFSETS, Call.COMMIT, Call.ABORT})
