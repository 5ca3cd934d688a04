"""Sends one Command as a record and waits for its outcome: `python send_command.py BROKERS REGISTRY INSTANCE AMOUNT [COMMAND_ID]`.

For example: python send_command.py localhost:9092 http://localhost:7070/registry ada 40.00 order-17
Needs `pip install "confluent-kafka[avro,schemaregistry]"`, and nothing of Evento's.
If the deployment has a prefix: `PREFIX=acme. python …`.
"""

import os
import sys
import uuid
from decimal import Decimal

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

PREFIX = os.environ.get("PREFIX", "")
COMMANDS = f"{PREFIX}bank.Checking.commands"
OUTCOMES = f"{PREFIX}evento.outcomes"
NAMESPACE, ENTITY = "bank", "Checking"
COMMAND, RECORD = "WithdrawCash", "bank.checking.WithdrawCash"  # the Command's name, and that of its record in Avro
WAIT_S = 30.0


def producer(brokers: str) -> Producer:
    """Return a producer that chooses the partition as Evento does, and as Java's does by itself."""
    return Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random", "enable.idempotence": True})


class Writing:
    """Makes records of Commands."""

    def __init__(self, registry_url: str) -> None:
        registry = SchemaRegistryClient({"url": registry_url})
        schema = registry.get_latest_version(RECORD).schema
        self._serialize = AvroSerializer(registry, schema, conf={"auto.register.schemas": False})

    def record(self, instance: str, data: dict[str, object], command_id: str) -> dict[str, object]:
        """Return key, value and headers. Whoever sends the same id again gets nothing done twice."""
        return {
            "key": instance.encode(),
            "value": self._serialize(data, SerializationContext(COMMANDS, MessageField.VALUE)),
            "headers": [("ce_id", command_id.encode()), ("ce_type", COMMAND.encode())],
        }


class Outcomes:
    """What became of Commands, from the moment when this was made."""

    def __init__(self, brokers: str, registry_url: str) -> None:
        self._deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
        self._kafka = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "unused",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        partitions = self._kafka.list_topics(OUTCOMES, timeout=WAIT_S).topics[OUTCOMES].partitions
        ends = [TopicPartition(OUTCOMES, number, self._end(number)) for number in partitions]
        self._kafka.assign(ends)

    def wait(self, instance: str, command_id: str) -> dict[str, object] | None:
        """Return the outcome of one Command, or None if it did not come in time."""
        key = f"{NAMESPACE}/{ENTITY}/{instance}".encode()
        while (message := self._kafka.poll(WAIT_S)) is not None:
            if message.error():
                raise KafkaException(message.error())
            if message.key() == key and is_about(command_id, message.headers()):
                return self.read(message.value())
        return None

    def read(self, value: bytes) -> dict[str, object]:
        """Return an outcome as it is told."""
        return self._deserialize(value, SerializationContext(OUTCOMES, MessageField.VALUE))

    def close(self) -> None:
        """Let go of the connection."""
        self._kafka.close()

    def _end(self, number: int) -> int:
        return self._kafka.get_watermark_offsets(TopicPartition(OUTCOMES, number), timeout=WAIT_S)[1]


def is_about(command_id: str, headers: list[tuple[str, bytes]]) -> bool:
    """Tell by the headers alone whether an outcome is that of a Command."""
    return ("evento-command-id", command_id.encode()) in headers


def main(brokers: str, registry_url: str, instance: str, amount: str, command_id: str | None = None) -> None:
    """Send a Command and print its outcome."""
    command_id = command_id or str(uuid.uuid4())
    outcomes = Outcomes(brokers, registry_url)  # first, so that none is missed
    kafka = producer(brokers)
    kafka.produce(COMMANDS, **Writing(registry_url).record(instance, {"amount": Decimal(amount)}, command_id))
    if kafka.flush(WAIT_S):
        raise SystemExit(f"not sent: send it again, with the id {command_id}")
    print(outcomes.wait(instance, command_id) or f"no outcome within {WAIT_S:.0f} s; {command_id} may be finished already, or wait")
    outcomes.close()


if __name__ == "__main__":
    main(*sys.argv[1:6])
