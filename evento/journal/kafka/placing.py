"""Where an instance is: the murmur2 of its id, as the default partitioner of Kafka's Java client has it. Pure."""

from functools import lru_cache
from struct import unpack_from

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_SHIFT = 24
_MASK = 0xFFFFFFFF
_KEPT = 16_384  # ids that come again and again are hashed once; some 3 MiB


def murmur2(content: bytes) -> int:
    """Return the hash of 32 bits, not negative, as Java's client counts partitions by."""
    length = len(content)
    value = (_SEED ^ length) & _MASK
    whole = length & ~3
    for each in unpack_from(f"<{length >> 2}I", content):
        word = each * _FACTOR & _MASK
        word = (word ^ word >> _SHIFT) * _FACTOR & _MASK
        value = value * _FACTOR & _MASK ^ word
    if length & 3:
        value = (value ^ int.from_bytes(content[whole:], "little")) * _FACTOR & _MASK
    value = (value ^ value >> 13) * _FACTOR & _MASK
    return (value ^ value >> 15) & 0x7FFFFFFF


@lru_cache(_KEPT)
def partition_of(instance_id: str, partitions: int) -> int:
    """Return the partition of an instance of an Entity that uses so many."""
    return murmur2(instance_id.encode()) % partitions
