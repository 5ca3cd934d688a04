"""The brokers themselves: what the tests of the journal rest on is so. A mock of Kafka fails most of this file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kafka.broker import ROOT, BrokerFailed, Cluster
from tests.kafka.client import make_topic, producer, read, write
from tests.kafka.fixtures import Kafka, need_kafka

GONE_S = 60.0


def test_what_is_written_is_read(kafka: Kafka) -> None:
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}things")
    write(kafka.bootstrap, topic, ["a", "b"])
    assert read(kafka.bootstrap, topic) == ["a", "b"]


def test_a_reader_of_what_is_committed_sees_no_aborted_record(kafka: Kafka) -> None:
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}things")
    writing = producer(kafka.bootstrap, f"{kafka.prefix}writer")
    for value, end in (
        ("kept", writing.commit_transaction),
        ("dropped", writing.abort_transaction),
        ("last", writing.commit_transaction),
    ):
        writing.begin_transaction()
        writing.produce(topic, value, partition=0)
        writing.flush()
        end()
    assert read(kafka.bootstrap, topic) == ["kept", "last"]
    assert read(kafka.bootstrap, topic, committed=False) == ["kept", "dropped", "last"]


def test_a_second_producer_of_an_id_fences_the_first(kafka: Kafka) -> None:
    topic = make_topic(kafka.bootstrap, f"{kafka.prefix}things")
    zombie = producer(kafka.bootstrap, f"{kafka.prefix}writer")
    zombie.begin_transaction()
    zombie.produce(topic, "late", partition=0)
    zombie.flush()
    producer(kafka.bootstrap, f"{kafka.prefix}writer")
    with pytest.raises(Exception, match="_FENCED"):
        zombie.commit_transaction()
    assert read(kafka.bootstrap, topic) == []


def test_a_killed_broker_comes_back_with_what_it_had(tmp_path: Path) -> None:
    need_kafka()
    with Cluster(folder=tmp_path) as cluster:
        topic = make_topic(cluster.bootstrap, "things")
        write(cluster.bootstrap, topic, ["a", "b"])
        cluster.kill(1)
        assert not cluster.brokers[0].running
        cluster.start(1)
        write(cluster.bootstrap, topic, ["c"])
        assert read(cluster.bootstrap, topic) == ["a", "b", "c"]


def test_two_of_three_brokers_go_on(kafka_cluster: Cluster) -> None:
    config = {"min.insync.replicas": "2"}
    topic = make_topic(kafka_cluster.bootstrap, "things", replication=3, config=config)
    write(kafka_cluster.bootstrap, topic, ["all"])
    kafka_cluster.kill(1)
    write(kafka_cluster.bootstrap, topic, ["without the first"])
    kafka_cluster.start(1)
    kafka_cluster.pause(2)
    write(kafka_cluster.bootstrap, topic, ["without the second"])
    kafka_cluster.resume(2)
    assert read(kafka_cluster.bootstrap, topic) == ["all", "without the first", "without the second"]


def test_what_a_test_did_to_the_three_brokers_is_mended_for_the_next(kafka_cluster: Cluster) -> None:
    kafka_cluster.kill(1)
    kafka_cluster.pause(2)
    kafka_cluster.mend()
    topic = make_topic(kafka_cluster.bootstrap, "more", replication=3)
    write(kafka_cluster.bootstrap, topic, ["a"])
    assert read(kafka_cluster.bootstrap, topic) == ["a"]


def test_a_broker_that_does_not_start_says_why(tmp_path: Path) -> None:
    need_kafka()
    cluster = Cluster(folder=tmp_path)
    settings = tmp_path / "broker1" / "server.properties"
    settings.write_text(settings.read_text() + "compression.type=paper\n")
    with pytest.raises(BrokerFailed, match="paper"):
        cluster.open()
    assert not cluster.brokers[0].running


def test_no_broker_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """Not even one that stands still, when that process is killed."""
    need_kafka()
    program = f"""
import sys
from pathlib import Path
from tests.kafka.broker import Cluster
cluster = Cluster(folder=Path({str(tmp_path)!r}))
cluster.open()
print(cluster.brokers[0].pid, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        owner.kill()
    deadline = time.monotonic() + GONE_S
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
