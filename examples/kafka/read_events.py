"""Prints the Events of one topic as they come, without any of Evento's code: `python read_events.py BROKERS REGISTRY TOPIC`.

For example: python read_events.py localhost:9092 http://localhost:7070/registry bank.Checking.events
Needs `pip install "confluent-kafka[avro,schemaregistry]"`.
"""

import sys

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

GROUP = "event-printer"


def consumer(brokers: str) -> Consumer:
    """Return a consumer that is shown only what is committed, from the first Event on."""
    return Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": GROUP,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


class Reading:
    """Makes of a record what there is to know of an Event."""

    def __init__(self, registry_url: str) -> None:
        self._deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))

    def event(self, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> dict[str, object]:
        """Return an Event: who, what, the how manyth, and its data."""
        said = {name: content.decode() for name, content in headers}
        return {
            "id": said["ce_id"],
            "instance": said["ce_subject"],
            "version": int(said["ce_sequence"]),
            "type": said["ce_type"],
            "rejection": "evento-rejection" in said,
            "data": self._deserialize(value, SerializationContext(topic, MessageField.VALUE, headers)),
        }


def main(brokers: str, registry_url: str, topic: str) -> None:
    """Print Events until Ctrl-C, each at least once: its version tells whether it was there before."""
    reading = Reading(registry_url)
    kafka = consumer(brokers)
    kafka.subscribe([topic])
    try:
        while True:
            message = kafka.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            print(reading.event(topic, message.value(), message.headers()), flush=True)
            kafka.commit(message)
    except KeyboardInterrupt:
        pass
    finally:
        kafka.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
