"""One Avro object container file, written and read. Knows Avro and files; what the records mean is `records`' matter.

Writing is fastavro's. Reading is guarded (reliability §9): fastavro would unpack a block of any size, so the blocks are taken out
of the file here, each within a limit, and only then given to fastavro, record by record, with our own schema. A file is refused
with a sentence if it is not, byte for byte, what its line in the manifest says, and what writing its records again would give.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO

import fastavro
from fastavro.types import Schema
from fastavro.write import Writer
from msgspec import Struct

from evento.errors import TransferRefused
from evento.model.limits import COMMAND_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_PER_COMMAND_MAX
from evento.transfer.kinds import Kind, shape
from evento.transfer.records import Record

BLOCK_BYTES = 64 * 1024  # a block is closed by the record that goes over it
# The biggest turn, with room for what is not payload. A catalog version is smaller.
BLOCK_BYTES_MAX = COMMAND_BYTES_MAX + EVENTS_PER_COMMAND_MAX * EVENT_BYTES_MAX + 1024 * 1024
BLOCK_RECORDS_MAX = BLOCK_BYTES
_PACKED_BYTES_MAX = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX // 1000 + 1024  # deflate can make data that little bigger
_HEADER_BYTES_MAX = 64 * 1024
_VARINT_BYTES_MAX = 10
_COMPRESSION_LEVEL = 6
_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16
_RAW_DEFLATE = -15
_LEFT_OVER_BYTES_MAX = 4  # fastavro leaves most of zlib's own checksum behind the data
_HEADER = fastavro.parse_schema({"type": "map", "values": "bytes"})
# What fastavro raises on bytes that are not of the schema.
_DECODE_ERRORS = (EOFError, IndexError, KeyError, ValueError, TypeError, OverflowError, MemoryError, RecursionError)


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A file as the manifest lists it."""

    name: str
    records: int
    bytes: int
    sha256: str


class ContainerWriter:
    """Writes one new file. Blocking: not for the event loop."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self._path = path
        self._kind = kind
        self._file = path.open("xb")
        # Not random, so that equal journals make equal files.
        marker = hashlib.sha256(path.name.encode()).digest()[:_SYNC_BYTES]
        self._writer = Writer(
            self._file, kind.schema, "deflate", BLOCK_BYTES, sync_marker=marker, compression_level=_COMPRESSION_LEVEL
        )
        self.records = 0

    def write(self, records: Iterable[Record]) -> int:
        """Add records; return how big the file is by now. Raises TransferRefused for one that no reader would take."""
        for record in records:
            self._writer.write(record)
            self.records += 1
        return self._file.tell()

    def close(self) -> FileEntry:
        """End the file, make it durable, and return its line for the manifest."""
        self._writer.flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        with self._path.open("rb") as written:
            checksum = hashlib.file_digest(written, "sha256").hexdigest()
        return FileEntry(name=self._path.name, records=self.records, bytes=size, sha256=checksum)


def read_container(folder: Path, entry: FileEntry, kind: Kind, *, again: bool = False) -> Iterator[list[Record]]:
    """Yield the records of a file, block by block. Blocking: not for the event loop.

    `again` says that the file was read before, so that only its checksum is compared. Raises TransferRefused.
    """
    try:
        with (folder / entry.name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.bytes:
                raise _refused(entry, f"has {size} bytes, and the manifest says {entry.bytes}")
            yield from _Reader(file, entry, kind).blocks(compare=not again)
    except OSError as error:
        raise _refused(entry, f"cannot be read: {error.strerror}") from error


class _Reader:
    def __init__(self, file: IO[bytes], entry: FileEntry, kind: Kind) -> None:
        self._file = file
        self._entry = entry
        self._kind = kind
        self._left = entry.bytes
        self._hash = hashlib.sha256()

    def blocks(self, *, compare: bool) -> Iterator[list[Record]]:
        marker = self._header()
        records = 0
        while self._left:
            count, size = self._long(), self._long()
            if not (0 < count <= BLOCK_RECORDS_MAX and 0 <= size <= _PACKED_BYTES_MAX):
                raise _refused(self._entry, f"is damaged: it has a block of {count} records in {size} bytes")
            block = self._records(_unpacked(self._take(size), self._entry), count, compare=compare)
            if self._take(_SYNC_BYTES) != marker:
                raise _refused(self._entry, "is damaged: a block does not end where it should")
            records += count
            yield block
        if self._hash.hexdigest() != self._entry.sha256:
            raise _refused(self._entry, "is not the file that was exported: its checksum is another one than in the manifest")
        if records != self._entry.records:
            raise _refused(self._entry, f"has {records} records, and the manifest says {self._entry.records}")

    def _header(self) -> bytes:
        """Read the header, compare it with ours, and return the marker behind each block."""
        start = self._file.read(min(self._left, _HEADER_BYTES_MAX))
        source = BytesIO(start)
        if source.read(len(_MAGIC)) != _MAGIC:
            raise _refused(self._entry, "is not an Avro object container file")
        try:
            metadata: Mapping[str, bytes] = fastavro.schemaless_reader(source, _HEADER, None)  # type: ignore[assignment]
            schema = shape(json.loads(metadata["avro.schema"]))
            codec = metadata["avro.codec"]
        except _DECODE_ERRORS as error:
            raise _refused(self._entry, "is damaged: its header cannot be read") from error
        if codec != b"deflate" or schema != self._kind.shape:
            raise _refused(self._entry, f"is not from `evento export`: its codec or its schema is not that of a {self._kind.name}")
        self._file.seek(0)
        self._take(source.tell())
        return self._take(_SYNC_BYTES)

    def _take(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self._left else b""
        if len(data) != size:
            raise _refused(self._entry, "is damaged: it ends in the middle")
        self._left -= size
        self._hash.update(data)
        return data

    def _long(self) -> int:
        raw = 0
        for place in range(_VARINT_BYTES_MAX):
            byte = self._take(1)[0]
            raw |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return raw >> 1 ^ -(raw & 1)
        raise _refused(self._entry, "is damaged: a block does not begin with its size")

    def _records(self, data: bytes, count: int, *, compare: bool) -> list[Record]:
        source, schema = BytesIO(data), self._kind.plain
        try:
            records: list[Record] = [fastavro.schemaless_reader(source, schema, None) for _ in range(count)]  # type: ignore[misc]
        except _DECODE_ERRORS as error:
            raise _refused(self._entry, f"is damaged: a record cannot be read ({type(error).__name__})") from error
        if source.tell() != len(data):
            raise _refused(self._entry, "is damaged: more bytes stand in a block than its records have")
        if compare and _encoded(records, schema) != data:
            raise _refused(self._entry, "is not as Evento writes it: a record is written in another way than it should be")
        return records


def _unpacked(data: bytes, entry: FileEntry) -> bytes:
    unpacking = zlib.decompressobj(_RAW_DEFLATE)
    try:
        unpacked = unpacking.decompress(data, BLOCK_BYTES_MAX + 1)
    except zlib.error as error:
        raise _refused(entry, "is damaged: a block cannot be unpacked") from error
    if len(unpacked) > BLOCK_BYTES_MAX:
        raise _refused(entry, f"has a block of more than {BLOCK_BYTES_MAX} bytes, which no export has")
    if not unpacking.eof or len(unpacking.unused_data) > _LEFT_OVER_BYTES_MAX:
        raise _refused(entry, "is damaged: a block cannot be unpacked")
    return unpacked


def _encoded(records: Iterable[Record], schema: Schema) -> bytes:
    out = BytesIO()
    for record in records:
        fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def _refused(entry: FileEntry, sentence: str) -> TransferRefused:
    return TransferRefused(f"{entry.name} {sentence}", file=entry.name)
