"""Everything about Avro, pure: schemas taken in and compared, payloads guarded, rendered as plain JSON, resolved, framed.

No I/O, no clock, nothing asynchronous; knows nothing of Entities, Commands and Events.
"""

from evento.schema.compatibility import Incompatibility
from evento.schema.schema import Schema, incompatibilities, parse_schema, require_record, resolver
from evento.schema.wire import pack_confluent, pack_single_object, unpack_confluent, unpack_single_object

__all__ = [
    "Incompatibility",
    "Schema",
    "incompatibilities",
    "pack_confluent",
    "pack_single_object",
    "parse_schema",
    "require_record",
    "resolver",
    "unpack_confluent",
    "unpack_single_object",
]
