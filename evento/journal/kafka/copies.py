"""A copy of a partition's replica on Kafka: the file in blocks, and what they must be to be one copy. Pure: it knows no client.

A copy spares nodes without a replica to read a history record by record. It is a cache of a cache: whatever is wrong with it, the
topics are read instead. Only what changed since the last copy is written again, so a copy is made of blocks of many commits; its
manifest, written by the same commit as its last ones, says which, by their digests.
"""

import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

from evento.journal.kafka.records import Record

_SIZES = tuple(1024 << power for power in range(6, 10))  # of blocks: 64 to 512 KiB
BLOCKS_MAX = 32 * 1024  # so that a manifest is a record of usual size
FILE_BYTES_MAX = BLOCKS_MAX * _SIZES[-1]
DIGEST_BYTES = 8
_KEY = b"copy"
_PLACE = re.compile(rb"(\d{6})/(\d{5})")
_FORMAT = b"\x01"


class Place(Struct, frozen=True):
    """Where a block belongs: it is number `number` of those with so many bytes."""

    block_bytes: int
    number: int


class Manifest(Struct, frozen=True, array_like=True):
    """What a copy consists of: a file of so many bytes, in blocks with these digests, in order.

    `turns` is how many it has; `made_s` when it was begun, in seconds since 1970.
    """

    file_bytes: int
    block_bytes: int
    turns: int
    made_s: int
    digests: bytes

    @property
    def blocks(self) -> int:
        """Return how many blocks there are."""
        return len(self.digests) // DIGEST_BYTES

    def digest(self, number: int) -> bytes:
        """Return the digest of a block, empty if there is none of this number."""
        return self.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]

    @property
    def is_sound(self) -> bool:
        """Return whether its numbers fit together. Others may have written it."""
        if not (0 < self.file_bytes <= FILE_BYTES_MAX and self.block_bytes in _SIZES and self.turns >= 0 and self.made_s >= 0):
            return False
        return len(self.digests) == DIGEST_BYTES * -(-self.file_bytes // self.block_bytes)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Manifest).decode


def digest_of(block: bytes) -> bytes:
    """Return what tells a block from others."""
    return blake2b(block, digest_size=DIGEST_BYTES).digest()


def read_place(key: bytes | None) -> Place | None:
    """Return which block a record is about, None if it is about none."""
    found = _PLACE.fullmatch(key or b"")
    if found is None:
        return None
    place = Place(int(found[1]), int(found[2]))
    return place if place.block_bytes in _SIZES and place.number < BLOCKS_MAX else None


def read_manifest(key: bytes | None, value: bytes | None) -> Manifest | None:
    """Return the manifest that a record holds; None if it is none, or in a form that this version does not know."""
    if key != _KEY or value is None or not value.startswith(_FORMAT):
        return None
    try:
        found = _decode(value[len(_FORMAT) :])
    except msgspec.DecodeError:
        return None
    return found if found.is_sound else None


class Copy:
    """A file that is to be written to a topic: iterating makes the records, in order, and may be done again.

    Blocks that `last` has are left out; those that only it has are taken away. `manifest` is known once all are made.
    """

    def __init__(self, file: Path, topic: str, last: Manifest | None, *, turns: int, made_s: int) -> None:
        """`file` must not change, and have FILE_BYTES_MAX at most."""
        self._file = file
        self._topic = topic
        self._last = last
        self._turns = turns
        self._made_s = made_s
        self.manifest: Manifest | None = None
        self.written = 0  # blocks

    def __iter__(self) -> Iterator[Record]:
        """Make the records."""
        size = self._file.stat().st_size
        block_bytes = _block_bytes(size)
        last = self._last if self._last is not None and self._last.block_bytes == block_bytes else None
        digests = bytearray()
        self.written = 0
        with self._file.open("rb") as file:
            for number, block in enumerate(iter(lambda: file.read(block_bytes), b"")):
                digest = digest_of(block)
                digests += digest
                if last is None or last.digest(number) != digest:
                    self.written += 1
                    yield Record(self._topic, _place_key(block_bytes, number), block, [])
        manifest = Manifest(size, block_bytes, self._turns, self._made_s, bytes(digests))
        if self._last is not None:
            for number in range(0 if last is None else manifest.blocks, self._last.blocks):
                yield Record(self._topic, _place_key(self._last.block_bytes, number), None, [])
        yield Record(self._topic, _KEY, _FORMAT + _encode(manifest), [])
        self.manifest = manifest


def _block_bytes(size: int) -> int:
    """Return the size of a file's blocks: the smallest of which there are not too many."""
    return next(each for each in _SIZES if each * BLOCKS_MAX >= size)


def _place_key(block_bytes: int, number: int) -> bytes:
    return b"%06d/%05d" % (block_bytes, number)
