"""What one catalog version stores: the resources that a deployment changed and the schemas it brought, as self-describing JSON.

Each version is the change against the one before: its size is that of the deployment, not that of the catalog. A field added to
anything in here, `FunctionSpec` included, is a new format: raise FORMAT.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
from msgspec import Struct

from evento.errors import JournalCorrupt, JournalError
from evento.model.resources import FunctionSpec, RetryPolicy

# 1 knew no partitions of Entities, no concurrency and resources of functions that are images; 2 knew nothing of pulling them.
FORMAT = 3


class EntityRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """An Entity."""

    namespace: str
    name: str
    schema_id: int
    apply: str
    partitions: int = 0


class EventRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """An Event type; it belongs to one Entity for ever."""

    namespace: str
    name: str
    entity: str
    schema_id: int


class CommandRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A Command type; `events` and `rejections` are sorted."""

    namespace: str
    entity: str
    name: str
    schema_id: int
    events: tuple[str, ...]
    rejections: tuple[str, ...]
    handle: str
    retry: RetryPolicy


class SchemaRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A schema under its id, which is never used again."""

    id: int
    text: str


class CommandRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A Command that a deployment removed."""

    namespace: str
    entity: str
    name: str


class FunctionRef(Struct, frozen=True, forbid_unknown_fields=True):
    """A Function that a deployment removed."""

    namespace: str
    name: str


Record: TypeAlias = EntityRecord | EventRecord | CommandRecord | FunctionSpec


class CatalogChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one version changes. Schema ids go on where the version before ended."""

    schemas: Sequence[SchemaRecord] = ()
    entities: Sequence[EntityRecord] = ()
    events: Sequence[EventRecord] = ()
    commands: Sequence[CommandRecord] = ()
    functions: Sequence[FunctionSpec] = ()
    removed_commands: Sequence[CommandRef] = ()
    removed_functions: Sequence[FunctionRef] = ()


class _Envelope(Struct, frozen=True):
    """Read before anything else, so that a newer format is told from a broken one."""

    format: int
    change: msgspec.Raw


class _Written(Struct, frozen=True):
    format: int
    change: CatalogChange


def encode_change(change: CatalogChange) -> bytes:
    """Return the bytes of one catalog version."""
    return msgspec.json.encode(_Written(FORMAT, change))


def decode_change(version: int, content: bytes) -> CatalogChange:
    """Return what a catalog version changes.

    Raises JournalError if a newer Evento wrote it, JournalCorrupt if it is nothing that any Evento wrote: do not go on without it.
    """
    try:
        envelope = msgspec.json.decode(content, type=_Envelope)
        if envelope.format > FORMAT:
            raise JournalError(
                f"catalog version {version} has format {envelope.format}; this Evento knows up to {FORMAT}: use a newer one",
                version=version,
                format=envelope.format,
            )
        return msgspec.json.decode(envelope.change, type=CatalogChange)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"catalog version {version} cannot be read: {error}", version=version) from error
