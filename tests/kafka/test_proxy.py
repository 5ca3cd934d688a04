"""The proxy: what it holds is held, and what it releases arrives, late, as a network may deliver it."""

import asyncio
import struct

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.kafka.client import make_topic, producer, read, write
from tests.kafka.fixtures import Kafka
from tests.kafka.proxy import Kind, Proxy, Side

# A client that soon gives up an answer, so that tests of lost ones are short.
IMPATIENT = {"socket.timeout.ms": 1000, "transaction.timeout.ms": 20_000, "message.timeout.ms": 15_000}


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return make_topic(kafka.bootstrap, f"{kafka.prefix}things")


def produced(writing: Producer, topic: str, value: str) -> None:
    writing.begin_transaction()
    writing.produce(topic, value, partition=0)
    writing.flush()


async def test_a_request_that_is_held_has_not_happened(kafka: Kafka, kafka_proxy: Proxy, topic: str) -> None:
    held = kafka_proxy.hold(Kind.PRODUCE, containing=topic.encode())
    writing = asyncio.create_task(asyncio.to_thread(write, kafka_proxy.bootstrap, topic, ["a"]))
    await held.caught()
    await asyncio.sleep(0.2)
    assert not writing.done()
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == []
    assert await held.release() is None
    await writing
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["a"]


async def test_an_answer_that_is_held_is_to_a_request_that_has_happened(kafka: Kafka, kafka_proxy: Proxy, topic: str) -> None:
    writing = await asyncio.to_thread(producer, kafka_proxy.bootstrap, f"{kafka.prefix}writer", **IMPATIENT)
    await asyncio.to_thread(produced, writing, topic, "a")
    held = kafka_proxy.hold(Kind.END_TXN, Side.ANSWER)
    committing = asyncio.create_task(asyncio.to_thread(writing.commit_transaction))
    await held.caught()
    assert not committing.done()
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["a"]
    await held.release()
    await committing


async def test_a_request_is_released_though_its_sender_has_sent_another(kafka: Kafka, kafka_proxy: Proxy, topic: str) -> None:
    """The trap that the journal avoids: the end of one transaction arrives in the middle of the next one, and ends that."""
    writing = await asyncio.to_thread(producer, kafka_proxy.bootstrap, f"{kafka.prefix}writer", **IMPATIENT)
    await asyncio.to_thread(produced, writing, topic, "first")
    held = kafka_proxy.hold(Kind.END_TXN)
    await asyncio.to_thread(writing.commit_transaction)  # the client gives up, connects again and sends it again
    assert held.is_caught
    await asyncio.to_thread(produced, writing, topic, "torn")
    answer = await held.release()
    assert answer is not None
    assert error_of(answer) == 0
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["first", "torn"]  # nobody has committed the second
    with pytest.raises(KafkaException):
        await asyncio.to_thread(writing.abort_transaction)


async def test_a_late_request_is_refused_when_the_producer_was_made_anew(kafka: Kafka, kafka_proxy: Proxy, topic: str) -> None:
    """How the journal avoids it: after anything ambiguous, the next transaction has an epoch of its own."""
    writing = await asyncio.to_thread(producer, kafka_proxy.bootstrap, f"{kafka.prefix}writer", **IMPATIENT)
    await asyncio.to_thread(produced, writing, topic, "first")
    held = kafka_proxy.hold(Kind.END_TXN)
    await asyncio.to_thread(writing.commit_transaction)
    writing = await asyncio.to_thread(producer, kafka_proxy.bootstrap, f"{kafka.prefix}writer", **IMPATIENT)
    await asyncio.to_thread(produced, writing, topic, "whole")
    answer = await held.release()
    assert answer is not None
    assert error_of(answer) in (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["first"]
    await asyncio.to_thread(writing.commit_transaction)
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["first", "whole"]


def error_of(answer: bytes) -> int:
    """Return the error of an answer to EndTxn in version 1: after the correlation id and the throttle time."""
    return int(struct.unpack_from(">h", answer, 8)[0])


async def test_clients_find_their_way_when_all_connections_are_cut(kafka: Kafka, kafka_proxy: Proxy, topic: str) -> None:
    writing = await asyncio.to_thread(producer, kafka_proxy.bootstrap, f"{kafka.prefix}writer")
    for value in ("a", "b", "c"):
        await asyncio.to_thread(produced, writing, topic, value)
        kafka_proxy.cut()
        await asyncio.to_thread(writing.commit_transaction)
    assert await asyncio.to_thread(read, kafka.bootstrap, topic) == ["a", "b", "c"]
