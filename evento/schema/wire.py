"""Two ways to say which schema a payload has: the Confluent wire format and Avro's single-object encoding. Never looks inside."""

import struct

from evento.errors import PayloadRefused

CONFLUENT_MAGIC = 0
SINGLE_OBJECT_MARK = b"\xc3\x01"
SCHEMA_ID_MAX = (1 << 31) - 1
_CONFLUENT = struct.Struct(">BI")
_FINGERPRINT_BYTES = 8
_SINGLE_OBJECT_HEAD = len(SINGLE_OBJECT_MARK) + _FINGERPRINT_BYTES


def pack_confluent(schema_id: int, payload: bytes) -> bytes:
    """Return the payload behind a zero byte and its schema's id, 0 to 2³¹-1, in four bytes, big-endian."""
    return _CONFLUENT.pack(CONFLUENT_MAGIC, schema_id) + payload


def unpack_confluent(message: bytes) -> tuple[int, bytes]:
    """Return (schema id, payload). Raises PayloadRefused when the message is not in the Confluent wire format."""
    if len(message) < _CONFLUENT.size or message[0] != CONFLUENT_MAGIC:
        raise PayloadRefused("the message must begin with a zero byte and four bytes of schema id", path="$")
    schema_id = int.from_bytes(message[1:5], "big")
    if schema_id > SCHEMA_ID_MAX:
        raise PayloadRefused(f"the schema id must be at most {SCHEMA_ID_MAX}, got {schema_id}", path="$")
    return schema_id, message[5:]


def pack_single_object(fingerprint: str, payload: bytes) -> bytes:
    """Return the payload behind Avro's mark and the fingerprint of its schema (16 hex digits, as in `Schema.fingerprint`)."""
    return SINGLE_OBJECT_MARK + bytes.fromhex(fingerprint) + payload


def unpack_single_object(message: bytes) -> tuple[str, bytes]:
    """Return (fingerprint, payload). Raises PayloadRefused when the message is not a single-object encoding."""
    if len(message) < _SINGLE_OBJECT_HEAD or not message.startswith(SINGLE_OBJECT_MARK):
        raise PayloadRefused("the message must begin with C3 01 and eight bytes of fingerprint", path="$")
    return message[2:_SINGLE_OBJECT_HEAD].hex(), message[_SINGLE_OBJECT_HEAD:]
