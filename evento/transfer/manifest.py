"""manifest.json: what an export consists of. It is written last, so a folder without one is no export, or half of one."""

import os
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec
from msgspec import Struct

from evento.errors import TransferRefused
from evento.transfer.container import FileEntry

FORMAT = 1
NAME = "manifest.json"
CATALOGS, SCHEMAS, STATES, PENDING = "catalogs.avro", "schemas.avro", "states.avro", "pending.avro"
PARTITIONS_MAX = 10_000
_BYTES_MAX = 16 * 1024 * 1024
_TURNS = re.compile(r"turns-(\d{5})-(\d{5})\.avro")


class Counts(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of everything an export holds."""

    catalogs: int
    schemas: int
    turns: int
    events: int
    states: int
    pending: int


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The list of an export's files. `partitions` is how many the journal had that it was made from."""

    format: int
    partitions: int
    counts: Counts
    files: tuple[FileEntry, ...]

    @property
    def records(self) -> int:
        """Return how many records all files have together."""
        return sum(entry.records for entry in self.files)

    def file(self, name: str) -> FileEntry:
        """Return one of the four files that every export has."""
        return next(entry for entry in self.files if entry.name == name)

    def turns(self) -> Sequence[FileEntry]:
        """Return the files with turns, partition by partition, in their order."""
        return sorted((entry for entry in self.files if _TURNS.fullmatch(entry.name)), key=lambda entry: entry.name)


class _Format(Struct, frozen=True):
    """Read before anything else, so that a newer format is told from a broken one."""

    format: int


def turns_name(partition: int, part: int) -> str:
    """Return the name of a file of turns; parts begin with 1."""
    return f"turns-{partition:05d}-{part:05d}.avro"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make the manifest durable, and with it the export."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with (folder / NAME).open("xb") as file:
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest, and compare the folder with it. Raises TransferRefused."""
    try:
        with (folder / NAME).open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        present = {path.name for path in folder.iterdir()} - {NAME}
    except FileNotFoundError as error:
        raise TransferRefused(f"{folder} has no {NAME}: it is not an export, or one that was interrupted") from error
    except OSError as error:
        raise TransferRefused(f"{folder} cannot be read: {error.strerror}") from error
    manifest = _decoded(content)
    _check_names([entry.name for entry in manifest.files], manifest.partitions)
    listed = {entry.name for entry in manifest.files}
    if missing := sorted(listed - present):
        raise TransferRefused(f"{folder} lacks {missing[0]}, which its manifest lists", file=missing[0])
    if foreign := sorted(present - listed):
        raise TransferRefused(f"{folder} holds {foreign[0][:80]!r}, which its manifest does not list", file=foreign[0][:80])
    return manifest


def _decoded(content: bytes) -> Manifest:
    if len(content) > _BYTES_MAX:
        raise TransferRefused(f"{NAME} is larger than {_BYTES_MAX} bytes", file=NAME)
    try:
        version = msgspec.json.decode(content, type=_Format).format
        if version != FORMAT:
            raise TransferRefused(f"the export has format {version}; this Evento knows format {FORMAT}: use another version of it")
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransferRefused(f"{NAME} is damaged: {error}", file=NAME) from error


def _check_names(names: Sequence[str], partitions: int) -> None:
    """Insist on the names that an export has: nothing else is ever opened, and no part of the turns is missing."""
    if not 1 <= partitions <= PARTITIONS_MAX:
        raise TransferRefused(f"{NAME} says {partitions} partitions; it must be 1 to {PARTITIONS_MAX}", file=NAME)
    places = sorted((int(match[1]), int(match[2])) for name in names if (match := _TURNS.fullmatch(name)))
    for partition, parts in groupby(places, key=lambda place: place[0]):
        found = [part for _, part in parts]
        if found != list(range(1, len(found) + 1)) or partition >= partitions:
            raise TransferRefused(f"{NAME} does not list the turns of partition {partition} as an export does", file=NAME)
    expected = {CATALOGS, SCHEMAS, STATES, PENDING, *(turns_name(*place) for place in places)}
    if len(names) != len(expected) or set(names) != expected:
        raise TransferRefused(f"{NAME} does not list the files that an export has", file=NAME)
