"""What the cluster itself is asked: how far partitions reach, and which topics they are. On a real broker."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from evento.errors import JournalLost, JournalUnreachable
from evento.journal.kafka import survey as survey_module
from evento.journal.kafka.survey import Survey
from tests.faults.node import eventually
from tests.journal.kafka_child import cluster_at
from tests.kafka.broker import Cluster, quiet
from tests.kafka.client import make_topic, producer, write
from tests.kafka.fixtures import Kafka, need_kafka

ANSWER_S = 90.0
NEW_TOPICS = 12
THREADS = 4
AWAY_S = (4.0, 2.0, 5.0, 3.0)  # beyond what an answer is waited for, and beyond what a question is asked again
BACK_S = 0.5


@pytest.fixture
def survey(kafka: Kafka) -> Iterator[Survey]:
    made = Survey(cluster_at(kafka.address(), "http://a"))
    yield made
    made.close()


def test_how_far_a_partition_reaches(kafka: Kafka, survey: Survey) -> None:
    first, second = (make_topic(kafka.bootstrap, f"{kafka.prefix}{name}", partitions=2) for name in ("first", "second"))
    assert survey.ends([first, second], 0) == survey.beginnings([first, second], 0) == {first: 0, second: 0}
    write(kafka.bootstrap, first, ["a", "b", "c"])
    assert survey.ends([first, second], 0) == {first: 3, second: 0}
    assert survey.ends([first], 1) == {first: 0}
    assert survey.ends([], 0) == {}
    admin = AdminClient(quiet(kafka.bootstrap))
    admin.delete_records([TopicPartition(first, 0, 2)])[TopicPartition(first, 0)].result(ANSWER_S)
    assert survey.beginnings([first], 0) == {first: 2}


def test_what_is_not_committed_counts_only_for_who_asks_for_all_there_is(kafka: Kafka, survey: Survey) -> None:
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}topic")
    writing = producer(kafka.bootstrap, f"{kafka.prefix}id")
    writing.begin_transaction()
    writing.produce(topic, b"a", partition=0)
    assert writing.flush(ANSWER_S) == 0
    assert (survey.decided(topic, 0), survey.ends([topic], 0)) == (0, {topic: 1})
    writing.commit_transaction(ANSWER_S)
    for _ in eventually("the end of the commit counts, too"):  # it is written when the commit is told already
        if (survey.decided(topic, 0), survey.ends([topic], 0)) == (2, {topic: 2}):
            break


def test_what_stays_away_is_gone(kafka: Kafka, survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone = make_topic(kafka.bootstrap, f"{kafka.prefix}there"), f"{kafka.prefix}gone"
    monkeypatch.setattr(survey_module, "ABSENT_S", 0.3)
    for asked, partition in (([gone], 0), ([there, gone], 0), ([there], 1)):
        with pytest.raises(JournalLost):
            survey.ends(asked, partition)
    assert survey.identities([there, gone]).keys() == {there}
    with pytest.raises(JournalLost):
        survey.identity(gone)


def test_what_a_broker_has_not_heard_of_yet_is_waited_for(kafka: Kafka, survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a topic that another broker has just made."""
    monkeypatch.setattr(survey_module, "ABSENT_S", ANSWER_S)
    late, later = (f"{kafka.prefix}{name}" for name in ("late", "later"))
    with ThreadPoolExecutor(2) as threads:
        end, identity = threads.submit(survey.ends, [late], 0), threads.submit(survey.identity, later)
        for _ in eventually("both are asked for"):
            if end.running() and identity.running():
                break
        for topic in (late, later):
            make_topic(kafka.bootstrap, topic)
        assert end.result(ANSWER_S) == {late: 0}
        assert identity.result(ANSWER_S)


def test_new_topics_are_told_of_to_many_who_ask_at_once(kafka: Kafka, survey: Survey) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(NEW_TOPICS):
            topics = [make_topic(kafka.bootstrap, f"{kafka.prefix}t{number}.{each}", partitions=THREADS) for each in "ab"]
            found = list(threads.map(lambda partition, topics=topics: survey.ends(topics, partition), range(THREADS)))
            assert found == [dict.fromkeys(topics, 0)] * THREADS


def test_a_cluster_that_does_not_answer_is_said_to_be_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "ASK_S", 0.5)
    monkeypatch.setattr(survey_module, "REQUEST_S", 0.1)
    survey = Survey(cluster_at("kafka://127.0.0.1:1?replication=1", "http://a"))
    for ask in (lambda: survey.ends(["topic"], 0), lambda: survey.identities(["topic"]), lambda: survey.members("group", "topic")):
        with pytest.raises(JournalUnreachable):
            ask()
    survey.close()


@pytest.mark.slow
def test_who_asks_while_the_cluster_goes_and_comes_again_and_again_lives(tmp_path: Path) -> None:
    need_kafka()
    with Cluster(1, folder=tmp_path / "kafka") as cluster:
        command = [sys.executable, "-m", "tests.journal.kafka_asking", f"kafka://{cluster.bootstrap}?replication=1"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
            assert asking.stdout is not None
            assert asking.stdout.readline() == "ANSWER\n"
            for away_s in AWAY_S:
                cluster.kill(1)
                time.sleep(away_s)
                cluster.start(1)
                time.sleep(BACK_S)
                assert asking.poll() is None, "the process ended by itself"
            said, _ = asking.communicate("\n", timeout=2 * ANSWER_S)
            assert asking.returncode == 0
    assert re.fullmatch(r"ANSWERED [1-9]\d* NOT [1-9]\d*\n", said)
