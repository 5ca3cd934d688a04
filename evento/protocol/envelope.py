"""The codec of the protocol's envelopes: dicts of columns to Avro bytes and back.

Both sides use it, so it knows neither the platform's nouns nor the SDK's, and needs nothing but fastavro.
"""

import json
from contextlib import suppress
from importlib.resources import files
from io import BytesIO
from typing import Any

import fastavro
from fastavro.types import Schema

MEDIA_TYPE = "application/avro"
WORK_PATH = "/evento"  # GET: discovery; POST: work
HEALTH_PATH = "/evento/health"
PROTOCOL_VERSION = 1
_FALSE = b"\0"

# What fastavro raises on bytes that are not of the schema (reliability §9).
_DECODE_ERRORS = (
    EOFError,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    UnicodeDecodeError,
)


class EnvelopeError(ValueError):
    """The bytes are not an envelope of this protocol."""


def _load(name: str) -> Schema:
    return fastavro.parse_schema(json.loads(files(__package__).joinpath(f"{name}.avsc").read_text("utf-8")))


CALL = _load("call")
REPLY = _load("reply")
DISCOVERY = _load("discovery")


def encode(schema: Schema, envelope: dict[str, Any]) -> bytes:
    """Return the Avro bytes of one envelope (CALL, REPLY or DISCOVERY)."""
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, envelope)
    return out.getvalue()


def decode(schema: Schema, body: bytes) -> dict[str, Any]:
    """Return the envelope in `body`. Raises EnvelopeError; whether its columns fit together is the caller's to check."""
    source = BytesIO(body)
    try:
        envelope: dict[str, Any] = fastavro.schemaless_reader(source, schema, None)  # type: ignore[assignment]
    except _DECODE_ERRORS as error:
        raise EnvelopeError(f"not Avro of {schema['name']}: {type(error).__name__}: {error}") from error  # type: ignore[index,call-overload]
    if source.tell() != len(body):
        raise EnvelopeError(f"{len(body) - source.tell()} bytes follow the envelope")
    return envelope


def decode_discovery(body: bytes) -> dict[str, Any]:
    """Return the discovery in `body`, as `decode` does; one from before the field `single` was there ends without it."""
    try:
        return decode(DISCOVERY, body)
    except EnvelopeError as error:
        with suppress(EnvelopeError):
            return decode(DISCOVERY, body + _FALSE)
        raise error from None
