"""Did the platform keep its promises? Judged from its Kafka topics alone, by what docs/reference/topics.md says about them.

It reads as any program outside would: committed records, CloudEvents headers, Avro in the Confluent wire format with schemas from
the registry. It knows nothing of the platform's code. What was sent is told by whoever sent it; every contradiction is a sentence.
"""

import io
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from threading import Event, Thread
from types import TracebackType
from typing import Any, NamedTuple, Self

import fastavro
import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.kafka.broker import quiet
from tests.kafka.client import ends

Json = dict[str, Any]
Fold = Callable[[Json | None, Json], Json]
ANSWER_S = 120.0
BATCH_RECORDS = 5_000
_FRAMING_BYTES = 5
_OTHERS = ("conflict", "discarded")
_AWAY = ("_ALL_BROKERS_DOWN", "_TRANSPORT", "_RESOLVE", "_TIMED_OUT")


class Deployment(NamedTuple):
    """What stands where: one Entity on a deployment's topics, and a node whose registry has the schemas."""

    bootstrap: str
    prefix: str
    partitions: int
    url: str
    namespace: str = "bank"
    entity: str = "Checking"

    @property
    def outcomes(self) -> str:
        return f"{self.prefix}evento.outcomes"

    @property
    def pending(self) -> str:
        return f"{self.prefix}evento.pending"

    @property
    def group(self) -> str:
        return f"{self.prefix}evento"

    def of_entity(self, kind: str) -> str:
        return f"{self.prefix}{self.namespace}.{self.entity}.{kind}"


class Finding(NamedTuple):
    """What the check found: contradictions, and the events of each instance as they are on their topic."""

    broken: list[str]
    histories: dict[str, list[Json]]
    outcomes: Counter[str]
    refused: dict[tuple[str, int, int], Json]  # by topic, partition and offset


# ---------------------------------------------------------------------- reading
class Registry:
    """Schemas by their ids, from a node."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: dict[int, Any] = {}

    def decode(self, value: bytes) -> Any:
        """Return what a value in the Confluent wire format says."""
        assert value[:1] == b"\0", f"{value[:20]!r} is not in the Confluent wire format"
        return self.decode_payload(int.from_bytes(value[1:_FRAMING_BYTES], "big"), value[_FRAMING_BYTES:])

    def decode_payload(self, schema_id: int, payload: bytes) -> Any:
        """Return what Avro of a schema says, all of it."""
        if schema_id not in self._known:
            found = fetch(f"{self._url}/registry/schemas/ids/{schema_id}")
            self._known[schema_id] = fastavro.parse_schema(msgspec.json.decode(found["schema"]))
        source = io.BytesIO(payload)
        found = fastavro.schemaless_reader(source, self._known[schema_id])
        assert not source.read(1), f"there is something behind the Avro of schema {schema_id}"
        return found


def fetch(url: str) -> Any:
    """Return the JSON that stands there."""
    with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:  # noqa: S310
        return msgspec.json.decode(answer.read())


class Reading:
    """Reads partitions whole, one after another, with one consumer."""

    def __init__(self, bootstrap: str, group: str = "checker", *, isolation: str = "read_committed") -> None:
        self._consumer = _consumer(bootstrap, group, isolation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def read(self, topic: str, partition: int) -> list[Message]:
        """Return everything that is in one partition now, as far as the isolation lets it be seen."""
        place, found = TopicPartition(topic, partition, OFFSET_BEGINNING), list[Message]()
        self._consumer.list_topics(topic, ANSWER_S)  # one that the client knows is read at once, another after a second
        self._consumer.incremental_assign([place])
        try:
            while True:
                first = self._consumer.poll(ANSWER_S)
                assert first is not None, f"{topic}[{partition}]: the broker does not answer"
                for message in (first, *self._consumer.consume(BATCH_RECORDS, 0)):
                    error = message.error()
                    if error is None:
                        found.append(message)
                    elif error.name() == "_PARTITION_EOF":
                        return found
                    else:
                        assert error.retriable() or error.name() in _AWAY, error
        finally:
            self._consumer.incremental_unassign([place])

    def lags(self, topic: str, partitions: int) -> dict[int, int]:
        """Return how many records the group is behind in each partition, as Kafka's own tools would say it."""
        places = self._consumer.committed([TopicPartition(topic, number) for number in range(partitions)], ANSWER_S)
        ends = {place.partition: self._consumer.get_watermark_offsets(place, ANSWER_S)[1] for place in places}
        return {place.partition: ends[place.partition] - max(0, place.offset) for place in places}


def _consumer(bootstrap: str, group: str, isolation: str = "read_committed") -> Consumer:
    own = {"group.id": group, "enable.auto.commit": False, "enable.partition.eof": True, "isolation.level": isolation}
    return Consumer({**quiet(bootstrap), **own, "fetch.wait.max.ms": 50, "auto.offset.reset": "error"})


def headers_of(message: Message) -> dict[str, str]:
    """Return a record's headers, each of which must be there once."""
    found: dict[str, str] = {}
    for name, value in message.headers() or ():
        assert name not in found, f"{_place(message)} has the header {name} twice"
        found[name] = (value or b"").decode()
    return found


# ---------------------------------------------------------------------- checking
def check(deployment: Deployment, sent: Mapping[tuple[str, str], str], fold: Fold, *, unfinished: bool = False) -> Finding:
    """Read all topics and hold them against each other and against `sent`: the Command's name by instance and command id.

    Each Command must be finished, unless `unfinished` may be; what is refused was no Command.
    """
    registry = Registry(deployment.url)
    finding = Finding([], {}, Counter(), {})
    finished: set[tuple[str, str]] = set()
    with Reading(deployment.bootstrap) as reading:
        for partition in range(deployment.partitions):
            _Partition(deployment, (registry, reading), partition, finding).check(sent, finished, fold)
        if not unfinished:
            lost = [name for name in sent if name not in finished]
            finding.broken.extend(f"lost: Command {command_id} of {instance} has no outcome" for instance, command_id in lost)
            finding.broken.extend(_waiting(deployment, reading))
    return finding


class _Partition:
    """One partition of all topics."""

    def __init__(self, deployment: Deployment, sources: tuple[Registry, Reading], number: int, finding: Finding) -> None:
        self._deployment = deployment
        self._registry, self._reading = sources
        self._number = number
        self._finding = finding
        self._broken = finding.broken

    def check(self, sent: Mapping[tuple[str, str], str], finished: set[tuple[str, str]], fold: Fold) -> None:
        told = self._outcomes(sent, finished)
        histories = self._events(told)
        self._states(histories, fold)
        self._finding.histories.update(histories)

    def _outcomes(self, sent: Mapping[tuple[str, str], str], finished: set[tuple[str, str]]) -> dict[str, list[tuple[Any, ...]]]:
        """Check the outcomes by themselves; return the events that they tell of, by instance, in order."""
        told: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        versions: dict[str, int] = defaultdict(int)
        for message in self._read(self._deployment.outcomes):
            outcome, headers = self._registry.decode(message.value()), headers_of(message)
            self._finding.outcomes[outcome["outcome"]] += 1
            self._say(
                (headers["evento-outcome"], headers["evento-command-id"]) == (outcome["outcome"], outcome["command_id"]),
                f"{_place(message)}: headers {headers} are not of its value",
            )
            if outcome["refusal"] is not None:
                self._refused(message, outcome)
                continue
            instance, turn = outcome["instance_id"], outcome["turn"]
            name = instance, outcome["command_id"]
            place = f"{_place(message)}: Command {name[1]} of {instance}"
            key = f"{self._deployment.namespace}/{self._deployment.entity}/{instance}"
            self._say(message.key().decode() == key, f"{place} has the key {message.key()}")
            self._say(name not in finished, f"{place} has a second outcome")
            self._say(sent.get(name) == turn["command"], f"{place} is {turn['command']}; sent was {sent.get(name)}")
            self._say(turn["before"] == versions[instance], f"{place} begins at {turn['before']}, not at {versions[instance]}")
            self._say(bool(turn["events"]) == (outcome["outcome"] not in _OTHERS), f"{place} is {outcome['outcome']}: {turn}")
            finished.add(name)
            versions[instance] = turn["before"] + len(turn["events"])
            told[instance] += [
                (
                    turn["before"] + at,
                    name[1],
                    event["type"],
                    event["schema_id"],
                    event["payload"],
                    event["rejection"],
                    outcome["time"],
                )
                for at, event in enumerate(turn["events"], 1)
            ]
        return told

    def _refused(self, message: Message, outcome: Json) -> None:
        place = outcome["refusal"]["source"], self._number, outcome["refusal"]["offset"]
        self._say(place not in self._finding.refused, f"{_place(message)}: record {place} is refused a second time")
        self._finding.refused[place] = outcome

    def _events(self, told: Mapping[str, Sequence[tuple[Any, ...]]]) -> dict[str, list[Json]]:
        """Check the events against the outcomes; return them decoded, by instance."""
        found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        histories: dict[str, list[Json]] = defaultdict(list)
        for message in self._read(self._deployment.of_entity("events")):
            headers, instance = headers_of(message), message.key().decode()
            version, kind = int(headers["ce_sequence"]), headers["ce_type"].removeprefix(f"{self._deployment.namespace}.")
            self._say(version == len(found[instance]) + 1, f"{_place(message)}: version {version} of {instance} is out of order")
            self._check_headers(message, headers, instance, version)
            value, time = message.value(), datetime.fromisoformat(headers["ce_time"])
            command_id, rejection = headers["ce_causationid"], headers.get("evento-rejection") == "true"
            found[instance].append(
                (version, command_id, kind, int.from_bytes(value[1:_FRAMING_BYTES], "big"), value[_FRAMING_BYTES:], rejection, time)
            )
            data = plain(self._registry.decode(value))
            histories[instance].append({"type": kind, "data": data, "command_id": command_id, "version": version})
        for instance in {*told, *found}:
            mine, theirs = found.get(instance, []), told.get(instance, [])
            if mine != list(theirs):
                pairs = enumerate(zip(mine, theirs, strict=False))
                at = next((at for at, (event, outcome) in pairs if event != outcome), min(len(mine), len(theirs)))
                pair = f"{mine[at : at + 1]} and {theirs[at : at + 1]}"
                self._say(False, f"{instance}: its events and outcomes differ from version {at + 1} on: {pair}")
        return dict(histories)

    def _check_headers(self, message: Message, headers: Mapping[str, str], instance: str, version: int) -> None:
        place, namespace, entity = _place(message), self._deployment.namespace, self._deployment.entity
        self._say(murmur2(message.key()) % self._deployment.partitions == self._number, f"{place}: {instance} does not belong here")
        expected = {
            "ce_specversion": "1.0",
            "ce_id": f"{namespace}/{entity}/{instance}/{version}",
            "ce_source": f"/{namespace}/{entity}",
            "ce_subject": instance,
            "ce_partitionkey": instance,
            "content-type": "application/avro",
            "ce_sequence": f"{version:020}",
        }
        wrong = {name: headers.get(name) for name, value in expected.items() if headers.get(name) != value}
        self._say(not wrong, f"{place}: event {version} of {instance} has the headers {wrong}")

    def _states(self, histories: Mapping[str, Sequence[Json]], fold: Fold) -> None:
        """Fold the events, and compare with the last state of each key."""
        last = {message.key().decode(): message for message in self._read(self._deployment.of_entity("state"))}
        for instance in {*last, *histories}:
            events, message = histories.get(instance, ()), last.get(instance)
            state: Json | None = None
            for event in events:
                state = fold(state, event)
            if message is None:
                self._say(False, f"{instance} has {len(events)} events and no state")
                continue
            version, found = int(headers_of(message)["evento-version"]), plain(self._registry.decode(message.value()))
            self._say(version == len(events), f"{_place(message)}: {instance} is at version {version}; it has {len(events)} events")
            self._say(found == state, f"{_place(message)}: {instance} is {found}; its events make {state}")

    def _read(self, topic: str) -> list[Message]:
        return self._reading.read(topic, self._number)

    def _say(self, fact: bool, sentence: str) -> None:
        if not fact:
            self._broken.append(sentence)


def _waiting(deployment: Deployment, reading: Reading) -> Iterator[str]:
    """What is pending, and Commands' records that nobody has done with."""
    for partition in range(deployment.partitions):
        last = {message.key(): message.value() for message in reading.read(deployment.pending, partition)}
        for key, value in last.items():
            if value is not None and key != b"inputs":
                yield f"{deployment.pending}[{partition}]: number {key.decode()} is pending still"
    for partition, lag in lags(deployment).items():
        if lag:
            yield f"{deployment.of_entity('commands')}[{partition}]: {lag} records are not done with"


def lags(deployment: Deployment) -> dict[int, int]:
    """Return how many Commands' records are not done with, by partition."""
    with Reading(deployment.bootstrap, deployment.group) as reading:
        return reading.lags(deployment.of_entity("commands"), deployment.partitions)


def aborted(deployment: Deployment) -> int:
    """Return how many outcomes were written by commits that were aborted: nobody who reads what is committed ever sees them."""
    counts: list[int] = []
    for isolation in ("read_committed", "read_uncommitted"):
        with Reading(deployment.bootstrap, isolation=isolation) as reading:
            counts.append(sum(len(reading.read(deployment.outcomes, number)) for number in range(deployment.partitions)))
    return counts[1] - counts[0]


def standing(deployment: Deployment) -> list[str]:
    """Return every partition that readers cannot read to its end, because of a commit that nobody has ended."""
    topics = [deployment.outcomes, deployment.pending, *map(deployment.of_entity, ("events", "state"))]
    places = [(topic, number) for topic in topics for number in range(deployment.partitions)]
    decided, all_there_is = (ends(deployment.bootstrap, places, committed=committed) for committed in (True, False))
    return [
        f"{topic}[{number}] can be read to {decided[topic, number]} of {end}"
        for (topic, number), end in all_there_is.items()
        if decided[topic, number] != end
    ]


def plain(value: Any) -> Any:
    """Return what Avro says as the HTTP API would: decimals and enums as text."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, Decimal | Enum):
        return str(value)
    return value


def murmur2(content: bytes) -> int:
    """Return where Java's default partitioner puts a key, before it is divided; written from its description."""
    size, factor, mask = len(content), 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ size
    words, rest = divmod(size, 4)
    for at in range(words):
        word = (int.from_bytes(content[4 * at : 4 * at + 4], "little") * factor) & mask
        word = ((word ^ (word >> 24)) * factor) & mask
        value = ((value * factor) & mask) ^ word
    if rest:
        value = ((value ^ int.from_bytes(content[4 * words :], "little")) * factor) & mask
    value = ((value ^ (value >> 13)) * factor) & mask
    return (value ^ (value >> 15)) & 0x7FFFFFFF


# ---------------------------------------------------------------------- watching
class Watcher(Thread):
    """Reads events all the time, begins anew now and then, and remembers what it saw: nothing of it may be gone or other later."""

    def __init__(self, deployment: Deployment, *, anew_records: int = 500) -> None:
        super().__init__(name="watcher", daemon=True)
        self._deployment = deployment
        self._topic = deployment.of_entity("events")
        self._anew_records = anew_records
        self._ending = Event()
        self._seen: list[dict[int, int]] = [{} for _ in range(deployment.partitions)]  # checksums by offset
        self._versions: dict[bytes, int] = {}
        self.restarts = 0
        self.broken: list[str] = []

    @property
    def seen(self) -> int:
        return sum(map(len, self._seen))

    def run(self) -> None:
        while not self._ending.is_set():
            self._read_on()
            self.restarts += 1

    def _read_on(self) -> None:
        """Read on behind what was seen, as a consumer that keeps its offsets beside what it makes of the events."""
        consumer = _consumer(self._deployment.bootstrap, "watcher")
        consumer.assign([TopicPartition(self._topic, number, max(seen, default=-1) + 1) for number, seen in enumerate(self._seen)])
        count = 0
        try:
            while count < self._anew_records and not self._ending.is_set():
                message = consumer.poll(0.1)
                if message is not None and message.error() is None:
                    count += 1
                    self._note(message)
        finally:
            consumer.close()

    def _note(self, message: Message) -> None:
        number, offset, version = message.partition(), message.offset(), int(headers_of(message)["ce_sequence"])
        if version != self._versions.get(message.key(), 0) + 1:
            self.broken.append(f"{_place(message)}: version {version} was read after {self._versions.get(message.key(), 0)}")
        self._versions[message.key()] = version
        self._seen[number][offset] = _checksum(message)

    def end(self) -> list[str]:
        """Stop, read everything once more, and return what it says otherwise than what was seen."""
        self._ending.set()
        self.join(ANSWER_S)
        with Reading(self._deployment.bootstrap) as reading:
            for number, seen in enumerate(self._seen):
                now = {message.offset(): message for message in reading.read(self._topic, number)}
                self._compare(f"{self._topic}[{number}]", seen, now)
        return self.broken

    def _compare(self, place: str, seen: Mapping[int, int], now: Mapping[int | None, Message]) -> None:
        for offset, checksum in seen.items():
            if offset not in now or _checksum(now[offset]) != checksum:
                self.broken.append(f"{place} at offset {offset} is not what was read there before")
        missed = [offset for offset in now if offset is not None and offset not in seen and offset < max(seen, default=0)]
        if missed:
            self.broken.append(f"{place} has records at the offsets {missed[:5]} that were not there when they were passed")


def _checksum(message: Message) -> int:
    return zlib.crc32(repr((message.key(), message.value(), message.headers(), message.timestamp())).encode())


def _place(message: Message) -> str:
    return f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
