"""Where an instance is: the murmur2 of its id, as the default partitioner of Kafka's Java client has it. Pure."""

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_SHIFT = 24
_MASK = 0xFFFFFFFF


def murmur2(content: bytes) -> int:
    """Return the hash of 32 bits, not negative, as Java's client counts partitions by."""
    length = len(content)
    value = (_SEED ^ length) & _MASK
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(content[at : at + 4], "little") * _FACTOR & _MASK
        word = (word ^ word >> _SHIFT) * _FACTOR & _MASK
        value = value * _FACTOR & _MASK ^ word
    if length & 3:
        value = (value ^ int.from_bytes(content[whole:], "little")) * _FACTOR & _MASK
    value = (value ^ value >> 13) * _FACTOR & _MASK
    return (value ^ value >> 15) & 0x7FFFFFFF


def partition_of(instance_id: str, partitions: int) -> int:
    """Return the partition of an instance of an Entity that uses so many."""
    return murmur2(instance_id.encode()) % partitions
