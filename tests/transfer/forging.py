"""Exports that somebody has changed: a copy of a sound one, with the manifest made to fit what was done to a file, or not."""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec

from evento.transfer.container import ContainerWriter, FileEntry, read_container
from evento.transfer.kinds import CATALOG, PENDING, SCHEMA, STATE, TURN, Kind
from evento.transfer.manifest import NAME, read_manifest

KINDS = {"catalogs.avro": CATALOG, "schemas.avro": SCHEMA, "states.avro": STATE, "pending.avro": PENDING}
MARKER_BYTES = 16
Record = dict[str, Any]


def kind_of(name: str) -> Kind:
    """Return what a file holds."""
    return KINDS.get(name, TURN)


def records_of(folder: Path, name: str) -> list[Record]:
    """Return the records of a file."""
    entry = next(entry for entry in read_manifest(folder).files if entry.name == name)
    return [record for block in read_container(folder, entry, kind_of(name)) for record in block]


def rewrite(folder: Path, name: str, change: Callable[[list[Record]], Sequence[Record]], **counts: int) -> None:
    """Change the records of a file, and write file and manifest anew, as one who knows the format would."""
    records = change(records_of(folder, name))
    (folder / name).unlink()
    writer = ContainerWriter(folder / name, kind_of(name))
    writer.write(records)
    replace_entry(folder, writer.close(), **counts)


def replace_entry(folder: Path, entry: FileEntry, **counts: int) -> None:
    """Put another line for a file into the manifest."""
    content = json.loads((folder / NAME).read_text())
    content["files"] = [each if each["name"] != entry.name else msgspec.to_builtins(entry) for each in content["files"]]
    content["counts"].update(counts)
    (folder / NAME).write_text(json.dumps(content))


def put_bytes(folder: Path, name: str, content: bytes, records: int) -> None:
    """Replace a file by these bytes, and let the manifest agree."""
    (folder / name).write_bytes(content)
    replace_entry(folder, FileEntry(name, records, len(content), hashlib.sha256(content).hexdigest()))


def edit_manifest(folder: Path, change: Callable[[Record], None]) -> None:
    """Change the manifest alone."""
    content = json.loads((folder / NAME).read_text())
    change(content)
    (folder / NAME).write_text(json.dumps(content))


def container(kind: Kind, blocks: Sequence[tuple[int, bytes]], *, codec: str = "deflate", pack: bool = True) -> bytes:
    """Return a file of these blocks, each with the number of records it claims to hold; what is in them may be anything."""
    out = BytesIO()
    marker = b"m" * MARKER_BYTES
    fastavro.write.Writer(out, kind.schema, codec, sync_marker=marker).flush()
    for records, data in blocks:
        body = raw_deflate(data) if pack else data
        out.write(long(records) + long(len(body)) + body + marker)
    return out.getvalue()


def raw_deflate(data: bytes) -> bytes:
    """Return data as a block has it."""
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packing.compress(data) + packing.flush()


def long(number: int) -> bytes:
    """Return a number as Avro writes it."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema("long"), number)
    return out.getvalue()


def plain_bytes(kind: Kind, records: Sequence[Record]) -> bytes:
    """Return the bytes of records, one after another."""
    out = BytesIO()
    for record in records:
        fastavro.schemaless_writer(out, kind.plain, record)
    return out.getvalue()
