"""Second opinions on a schema: the parsers of fastavro and of Apache's avro, each of which refuses what the other lets pass.

They see only texts that admission has taken. Apache's package belongs to the platform; a function's image need not have it.
"""

import json
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import fastavro.schema

from evento.errors import SchemaRefused
from evento.schema.compatibility import Incompatibility

HAS_APACHE = find_spec("avro") is not None
# What the parsers raise besides their own errors when a schema surprises them.
_PARSER_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)


def check_parsers(text: str) -> None:
    """Raise SchemaRefused when one of the parsers does not take the schema."""
    try:
        fastavro.schema.parse_schema(json.loads(text))
    except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType, *_PARSER_ERRORS) as error:
        raise SchemaRefused(f"$: fastavro does not take the schema: {error}"[:1000], path="$") from None
    if HAS_APACHE:
        parse_apache(text)


def parse_apache(text: str) -> Any:
    """Return the schema as Apache's package parses it. Raises SchemaRefused."""
    import avro.errors
    import avro.schema

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about logical types that it does not know, which is allowed
            return avro.schema.parse(text)
    except (avro.errors.AvroException, *_PARSER_ERRORS) as error:
        raise SchemaRefused(f"$: Apache's avro does not take the schema: {error}"[:1000], path="$") from None


def second_opinion(reader: str, writer: str) -> Sequence[Incompatibility]:
    """Return what Apache's compatibility checker says about two schema texts."""
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    checker: Any = ReaderWriterCompatibilityChecker
    result = checker().get_compatibility(parse_apache(reader), parse_apache(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return ()
    return [Incompatibility("$", f"{message} (at {', '.join(sorted(result.locations))})") for message in sorted(result.messages)]


def fingerprint(text: str) -> str:
    """Return the CRC-64-AVRO of the schema's parsing canonical form, 16 hex digits in the order of the single-object encoding."""
    canonical = fastavro.schema.to_parsing_canonical_form(json.loads(text))
    return str(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
