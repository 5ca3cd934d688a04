"""Fixtures: one broker for the whole run, shared by all workers, with names of its own for each test; a proxy; three brokers."""

import fcntl
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.broker import LIBS, Cluster, quiet
from tests.kafka.properties import PROXIED_PORTS
from tests.kafka.proxy import Proxy

NODES = 3
ANSWER_S = 90.0
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


@dataclass(frozen=True)
class Running:
    """The broker of the whole run: its address and, for each listener behind a proxy, `Cluster.proxied`."""

    bootstrap: str
    proxied: list[dict[int, int]]


@dataclass(frozen=True)
class Kafka:
    """A broker as one test sees it. Topics whose names begin with `prefix` are the test's own, and are deleted after it."""

    bootstrap: str
    prefix: str

    def address(self, *, partitions: int = 3, proxy: Proxy | None = None) -> str:
        """Return the address of a journal of the test's own here, by a proxy if one is given."""
        bootstrap = proxy.bootstrap if proxy else self.bootstrap
        return f"kafka://{bootstrap}?prefix={self.prefix}&partitions={partitions}&replication=1&min_insync=1"


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Running:
    """One broker for the whole run. The first worker that needs it starts it; it ends with the run."""
    need_kafka()
    base = tmp_path_factory.getbasetemp()
    folder, run = (base.parent, os.getppid()) if _WORKER else (base, os.getpid())
    told = folder / "kafka.json"
    with alone(folder / "kafka.lock"):
        if not told.exists():
            cluster = Cluster(folder=folder / "kafka", owner=run)
            cluster.open()
            proxied = [cluster.proxied(listener) for listener in range(PROXIED_PORTS)]
            told.write_bytes(msgspec.json.encode(Running(cluster.bootstrap, proxied)))
    return msgspec.json.decode(told.read_bytes(), type=Running)


@pytest.fixture
def kafka(kafka_broker: Running) -> Iterator[Kafka]:
    """The run's broker, with a prefix of the test's own."""
    mine = Kafka(kafka_broker.bootstrap, f"t{secrets.token_hex(4)}.")
    yield mine
    delete_topics(mine.bootstrap, mine.prefix)


@pytest.fixture
async def kafka_proxy(kafka_broker: Running) -> AsyncIterator[Proxy]:
    """A proxy in front of the run's broker: one for each worker."""
    worker = int(re.sub(r"\D", "", _WORKER) or "0")
    assert worker < PROXIED_PORTS, f"the broker has listeners for {PROXIED_PORTS} workers: raise PROXIED_PORTS"
    async with Proxy(kafka_broker.proxied[worker]).serving() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def _three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_kafka()
    base = tmp_path_factory.getbasetemp()
    with (
        alone((base.parent if _WORKER else base) / "kafka_cluster.lock"),  # three brokers at a time are enough for one machine
        Cluster(NODES, folder=tmp_path_factory.mktemp("kafka_cluster")) as cluster,
    ):
        yield cluster


@pytest.fixture
def kafka_cluster(_three_brokers: Cluster) -> Cluster:
    """Three brokers, all of them well at the start of the test, which may do to them what it likes. Shared within a module."""
    _three_brokers.mend()
    return _three_brokers


def need_kafka() -> None:
    """Skip the test if Apache Kafka is not here; in CI that is a failure."""
    if not LIBS.is_dir():
        reason = "Apache Kafka is not in build/kafka: scripts/kafka-broker takes it there"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one worker of the run in at a time."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete all topics whose names begin so."""
    admin = AdminClient(quiet(bootstrap))
    names = [name for name in admin.list_topics(timeout=ANSWER_S).topics if name.startswith(prefix)]
    for deleted in admin.delete_topics(names, request_timeout=ANSWER_S).values() if names else ():
        with suppress(KafkaException):  # the test itself has deleted it
            deleted.result(ANSWER_S)
