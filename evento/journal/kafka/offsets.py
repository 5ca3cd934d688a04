"""How far partitions reach, as a consumer is told that reads nothing.

The administrator's `list_offsets` is not used. While it looks for leaders that its client does not know yet, two threads of the
client may work on one request, and one of them when the other has ended it (librdkafka 2.16.1,
`rd_kafka_topic_partition_list_query_leaders_async`): the process ends, or its memory is damaged. Where the threads of several
partitions ask about new topics, that happened once in some hundred times.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition


class Which(IntEnum):
    """Which offset of a partition is asked for. In the protocol they stand where a time stands (Kafka's ListOffsets request)."""

    FIRST = OFFSET_BEGINNING
    NEXT = OFFSET_END


def told_offsets(
    consumer: Consumer, places: Sequence[tuple[str, int]], which: Which, timeout_s: float
) -> Mapping[tuple[str, int], int]:
    """Return an offset of each place, a topic and a partition, of which there is one at least; without those of which the client
    knows no leader. Blocks.

    Raises KafkaException.
    """
    asked = [TopicPartition(topic, partition, which) for topic, partition in places]
    try:
        told = consumer.offsets_for_times(asked, timeout=timeout_s)
    except KafkaException as error:
        if error.args[0].name() not in _UNKNOWN:
            raise
        return {}
    for place in told:
        if place.error is not None and place.error.name() not in _UNKNOWN:
            raise KafkaException(place.error)
    return {(place.topic, place.partition): place.offset for place in told if place.error is None and place.offset >= 0}


_UNKNOWN = ("LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_ID", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC")
