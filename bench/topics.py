"""What the benchmark puts on topics and reads there: Commands for each contestant, and how far each has come."""

import io
import itertools
import json
import random
import struct
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import fastavro
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

DEPOSITS = 0.7
CENTS_MAX = 10_000
LOOK_S = 0.02
STALLED_S = 120.0
WARM_TRIPS = 30
SHOWN = ("rate", "p50_ms", "p99_ms", "seconds", "n", "measured", "commits", "cpu_us", "rss_mb", "others_cores", "errors", "wrong")
Line = dict[str, Any]
Schemas = dict[str, tuple[int, Any]]


def commands(name: str) -> str:
    """Return a stream processor's topic of Commands."""
    return f"{name}.commands"


def events(name: str) -> str:
    """Return a stream processor's topic of Events."""
    return f"{name}.events"


def create(brokers: str, name: str, partitions: int) -> None:
    """Make both topics."""
    admin = AdminClient({"bootstrap.servers": brokers})  # held until it has answered: what it is asked ends with it
    made = admin.create_topics([NewTopic(commands(name), partitions, 1), NewTopic(events(name), partitions, 1)])
    for future in made.values():
        future.result()
    time.sleep(0.5)


def schemas(url: str) -> Schemas:
    """Return id and schema of the two Commands, from the registry that Evento serves."""
    found: Schemas = {}
    for name in ("ReceiveDeposit", "WithdrawCash"):
        with urllib.request.urlopen(f"{url}/registry/subjects/bank.checking.{name}/versions/latest", timeout=10) as answer:
            told = json.load(answer)
        found[name] = told["id"], fastavro.parse_schema(json.loads(told["schema"]))
    return found


def bank(count: int, accounts: int, seed: int = 3) -> Iterator[tuple[str, int]]:
    """Yield accounts and signed amounts in cents; with no `accounts`, a deposit for each of `count` accounts."""
    chance = random.Random(seed)
    for number in range(count):
        cents = chance.randint(1, CENTS_MAX)
        if not accounts:
            yield f"a{number}", cents
        else:
            yield f"a{chance.randrange(accounts)}", cents if chance.random() < DEPOSITS else -cents


def fill_evento(brokers: str, topic: str, partitions: int, known: Schemas, *, count: int, accounts: int) -> None:
    """Put Commands where programs outside put them, as docs/how-to/produce-commands.md says."""
    producer = _producer(brokers)
    cache: dict[tuple[str, int], bytes] = {}
    for number, (account, cents) in enumerate(bank(count, accounts)):
        name = "ReceiveDeposit" if cents > 0 else "WithdrawCash"
        value = cache.get((name, cents))
        if value is None:
            schema_id, schema = known[name]
            body = io.BytesIO()
            fastavro.schemaless_writer(body, schema, {"amount": Decimal(abs(cents)).scaleb(-2)})
            value = cache[name, cents] = struct.pack(">bI", 0, schema_id) + body.getvalue()
        headers: list[tuple[str, str | bytes | None]] = [("ce_id", b"c%d" % number), ("ce_type", name.encode())]
        _put(producer, topic, account, value, headers)
    producer.flush()


def fill(brokers: str, name: str, peer: str, *, count: int, accounts: int) -> None:
    """Put a stream processor's Commands."""
    producer = _producer(brokers)
    for number, (account, cents) in enumerate(bank(count, accounts)):
        _put(producer, commands(name), account, command(peer, cents, number), [])
    producer.flush()


def command(peer: str, cents: int, number: int) -> bytes:
    """Return a Command as a stream processor reads it."""
    return struct.pack(">qq", cents, number) if peer == "streams" else json.dumps({"cents": cents, "number": number}).encode()


def _producer(brokers: str, linger_ms: int = 5) -> Producer:
    return Producer(
        {"bootstrap.servers": brokers, "partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": linger_ms}
    )


def _put(producer: Producer, topic: str, key: str, value: bytes, headers: list[tuple[str, str | bytes | None]]) -> None:
    while True:
        try:
            producer.produce(topic, value, key, headers=headers)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def wait_committed(brokers: str, group: str, topic: str, partitions: int, count: int) -> Line:
    """Wait until the group has committed all records of a topic; return the rate from its first commit to its last but one.

    The last one waits for its time, not for work, where commits go by time. Where there are two, it is the last one all the same.
    """
    admin = AdminClient({"bootstrap.servers": brokers})
    places = [TopicPartition(topic, number) for number in range(partitions)]
    with closing(Consumer({"bootstrap.servers": brokers, "group.id": "bench", "isolation.level": "read_uncommitted"})) as asking:
        end = sum(asking.get_watermark_offsets(place)[1] for place in places)
    began_s = time.perf_counter()
    commits: list[tuple[float, int]] = []  # when was seen that so many are done
    while not commits or commits[-1][1] < end:
        answer = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group].result()
        now_s, done = time.perf_counter(), sum(max(0, place.offset) for place in answer.topic_partitions)
        if done > (commits[-1][1] if commits else 0):
            commits.append((now_s, done))
        elif now_s - (commits[-1][0] if commits else began_s) > STALLED_S:
            raise TimeoutError(f"{group} has stood still with {end} to be done for {STALLED_S:g} s: {commits[-1:]}")
        time.sleep(LOOK_S)
    (first_s, first), (last_s, last) = commits[0], commits[-2 if len(commits) > 2 else -1]
    return {
        "rate": (last - first) / max(1e-9, last_s - first_s),
        "n": count,
        "measured": last - first,
        "commits": len(commits),
        "seconds": commits[-1][0] - began_s,
    }


def round_trips(brokers: str, name: str, peer: str, *, seconds: float) -> Line:
    """Send one Command after another to a stream processor, each when the Event of the one before is committed."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": f"{name}-reader", "isolation.level": "read_committed", "fetch.wait.max.ms": 5}
    )
    producer = _producer(brokers, linger_ms=0)
    places = [TopicPartition(events(name), number) for number in consumer.list_topics(events(name)).topics[events(name)].partitions]
    consumer.assign([TopicPartition(place.topic, place.partition, consumer.get_watermark_offsets(place)[1]) for place in places])
    taken: list[float] = []
    end_s = time.perf_counter() + seconds
    for number in itertools.count(1_000_000_000):
        began_s = time.perf_counter()
        producer.produce(commands(name), command(peer, 1, number), f"a{number}")
        producer.flush()
        while not _is(peer, consumer.poll(1.0), number):
            if time.perf_counter() - began_s > STALLED_S:
                raise TimeoutError(f"{name} has not answered for {STALLED_S:g} s")
        taken.append((time.perf_counter() - began_s) * 1000)
        if time.perf_counter() > end_s:
            break
    consumer.close()
    counted = sorted(taken[WARM_TRIPS:] or taken)
    return {"p50_ms": counted[len(counted) // 2], "p99_ms": counted[int(len(counted) * 0.99)], "n": len(counted)}


def _is(peer: str, message: Any, number: int) -> bool:
    if message is None or message.error():
        return False
    found = struct.unpack_from(">q", message.value(), 17)[0] if peer == "streams" else json.loads(message.value())["number"]
    return bool(found == number)


def shown(line: Line) -> str:
    """Return a result as one short line."""
    told = " ".join(f"{key}={round(line[key], 2) if isinstance(line[key], float) else line[key]}" for key in SHOWN if key in line)
    return f"{line['round']} {line['case']:28} {line['peer']:8} {told}"
