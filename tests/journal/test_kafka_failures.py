"""What each error of Kafka's client leads to, by what was being done: every row of the table that the design was made with."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from evento.errors import JournalCorrupt, JournalError, JournalFenced, JournalRefused, JournalRewind, JournalUnreachable
from evento.journal.kafka.failures import Action, Call, Failure, error_of, failure_of

FLAGS = {"fatal": "fatal", "abort": "txn_requires_abort", "retry": "retriable"}
TRANSACTIONAL = (Call.INIT, Call.PRODUCE, Call.SEND_OFFSETS, Call.COMMIT, Call.ABORT)
OLD_PRODUCER = (
    *("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED", "INVALID_PRODUCER_ID_MAPPING", "UNKNOWN_PRODUCER_ID", "INVALID_TXN_STATE"),
    "_FENCED",
)
OLD_MEMBER = ("ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID", "STALE_MEMBER_EPOCH", "REBALANCE_IN_PROGRESS")
NOT_YET = ("COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS", "CONCURRENT_TRANSACTIONS")

# (call, code, flag, action)
TABLE = [
    *((Call.INIT, code, "retry", Action.RETRY) for code in ("_TIMED_OUT", *NOT_YET)),
    *((Call.INIT, code, "", Action.RETRY) for code in ("_TIMED_OUT", *NOT_YET)),
    *((Call.INIT, code, "fatal", Action.REFUSED) for code in ("INVALID_TRANSACTION_TIMEOUT", "_UNSUPPORTED_FEATURE")),
    (Call.INIT, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "fatal", Action.REFUSED),
    (Call.PRODUCE, "_QUEUE_FULL", "", Action.WAIT),
    (Call.PRODUCE, "MSG_SIZE_TOO_LARGE", "", Action.TOO_LARGE),
    *((Call.PRODUCE, code, "", Action.FENCED) for code in ("_STATE", "_FENCED")),
    (Call.SEND_OFFSETS, "_TIMED_OUT", "retry", Action.RETRY),
    *((Call.SEND_OFFSETS, code, flag, Action.ABORT) for code in OLD_MEMBER for flag in ("abort", "")),
    *((call, code, flag, Action.FENCED) for call in TRANSACTIONAL for code in OLD_PRODUCER for flag in ("fatal", "abort", "")),
    (Call.SEND_OFFSETS, "TOPIC_AUTHORIZATION_FAILED", "abort", Action.REFUSED),
    (Call.SEND_OFFSETS, "GROUP_AUTHORIZATION_FAILED", "abort", Action.REFUSED),
    (Call.COMMIT, "_TIMED_OUT", "retry", Action.RETRY),
    (Call.COMMIT, "_MSG_TIMED_OUT", "abort", Action.ABORT),
    (Call.COMMIT, "NOT_ENOUGH_REPLICAS", "abort", Action.ABORT),
    (Call.COMMIT, "MSG_SIZE_TOO_LARGE", "abort", Action.TOO_LARGE),
    (Call.COMMIT, "_INCONSISTENT", "fatal", Action.FENCED),
    (Call.ABORT, "_TIMED_OUT", "retry", Action.RETRY),
    *(
        (Call.CONSUME, code, "", Action.QUARANTINE)
        for code in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE", "UNKNOWN_TOPIC_OR_PART")
    ),
    *((Call.CONSUME, code, "", Action.LOST) for code in ("_MAX_POLL_EXCEEDED", "_ASSIGNMENT_LOST", "UNKNOWN_MEMBER_ID")),
    *((Call.CONSUME, code, "", Action.FATAL) for code in ("_FATAL", "FENCED_MEMBER_EPOCH", "UNRELEASED_INSTANCE_ID")),
    *((Call.CONSUME, code, "", Action.RETRY) for code in ("_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_SSL")),
    (Call.CONSUME, "TOPIC_AUTHORIZATION_FAILED", "", Action.REFUSED),
    *((Call.ADMIN, code, "", Action.RETRY) for code in ("_TIMED_OUT", "REQUEST_TIMED_OUT", "UNSTABLE_OFFSET_COMMIT")),
    (Call.ADMIN, "CLUSTER_AUTHORIZATION_FAILED", "", Action.REFUSED),
    (Call.ADMIN, "_SSL", "", Action.REFUSED),
    (Call.INTAKE, "_MSG_TIMED_OUT", "", Action.UNKNOWN),
    (Call.INTAKE, "NOT_ENOUGH_REPLICAS", "", Action.RETRY),
    (Call.INTAKE, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "", Action.UNKNOWN),
    (Call.INTAKE, "_PURGE_INFLIGHT", "", Action.UNKNOWN),
    (Call.INTAKE, "MSG_SIZE_TOO_LARGE", "", Action.TOO_LARGE),
    (Call.INTAKE, "OUT_OF_ORDER_SEQUENCE_NUMBER", "fatal", Action.FATAL),
]


def kafka_error(code: str, flag: str = "") -> KafkaError:
    return KafkaError(getattr(KafkaError, code), "what it says", **({FLAGS[flag]: True} if flag else {}))


@pytest.mark.parametrize(("call", "code", "flag", "action"), TABLE)
def test_it_is_known_what_to_do_about(call: Call, code: str, flag: str, action: Action) -> None:
    failure = failure_of(call, KafkaException(kafka_error(code, flag)))
    assert (failure.action, failure.code) == (action, code)
    assert str(call) in failure.message
    assert "what it says" in failure.message


def test_fatal_goes_before_abortable_and_that_before_retriable() -> None:
    flags = dict.fromkeys(FLAGS.values(), True)
    error = KafkaError(KafkaError._TIMED_OUT, "", **flags)
    assert failure_of(Call.COMMIT, error).action is Action.FENCED
    flags["fatal"] = False
    assert failure_of(Call.COMMIT, KafkaError(KafkaError._TIMED_OUT, "", **flags)).action is Action.ABORT


@pytest.mark.parametrize("call", Call)
@pytest.mark.parametrize("code", [KafkaError._BAD_MSG, KafkaError.UNKNOWN, 9999])
def test_what_nobody_has_thought_of_is_fatal(call: Call, code: int) -> None:
    assert failure_of(call, KafkaError(code, "")).action is Action.FATAL


def test_a_commit_that_timed_out_without_a_word_of_repeating_it_is_not_repeated() -> None:
    assert failure_of(Call.COMMIT, kafka_error("_TIMED_OUT")).action is Action.FATAL


@pytest.mark.parametrize("call", [Call.PRODUCE, Call.INTAKE])
def test_a_full_queue_is_waited_for(call: Call) -> None:
    assert failure_of(call, BufferError("Local: Queue full")).action is Action.WAIT


@pytest.mark.parametrize(
    ("call", "code", "flag", "expected"),
    [
        (Call.COMMIT, "_MSG_TIMED_OUT", "abort", JournalRewind),
        (Call.COMMIT, "_FENCED", "fatal", JournalFenced),
        (Call.COMMIT, "_TIMED_OUT", "retry", JournalUnreachable),
        (Call.INIT, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "fatal", JournalRefused),
        (Call.CONSUME, "_AUTO_OFFSET_RESET", "", JournalCorrupt),
        (Call.CONSUME, "_BAD_MSG", "", JournalError),
    ],
)
def test_an_error_becomes_eventos_own(call: Call, code: str, flag: str, expected: type[JournalError]) -> None:
    error = error_of(failure_of(call, kafka_error(code, flag)))
    assert type(error) is expected
    assert code in error.message


@pytest.mark.parametrize("action", Action)
def test_only_what_was_certainly_not_committed_may_be_done_again_by_itself(action: Action) -> None:
    error = error_of(Failure(action, Call.COMMIT, "X", "x"))
    assert (type(error) is JournalRewind) is (action is Action.ABORT)


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        ("ssl://b:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", True),
        ("ssl://b:9092/bootstrap: Disconnected: SSL connection closed by peer (after 4ms in state SSL_HANDSHAKE)", True),
        ("b:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)", False),
    ],
)
def test_a_handshake_that_is_broken_off_has_a_hint(said: str, is_told: bool) -> None:
    failure = failure_of(Call.ADMIN, KafkaError(KafkaError._TRANSPORT, said))
    assert failure.action is Action.RETRY
    assert ("is it the port of a listener that speaks TLS?" in failure.message) is is_told
    assert said in failure.message
