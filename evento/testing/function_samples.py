"""Sample values for any Avro schema, and whether bytes are exactly one value of it.

Logical types are left aside: a sample is made and compared as what lies beneath, but chosen so that it means something.
"""

from io import BytesIO
from typing import Any

import fastavro

VARIANTS = 4
_TEXTS = ("", "a", "Zoë", "sample text")
_NUMBERS = (0, 1, 7, 300)
_UUIDS = tuple(f"0190a0a0-0000-7000-8000-{number:012x}" for number in range(VARIANTS))
_DAY, _MOMENT_S, _HOUR_S = 18_000, 1_600_000_000, 36_000
_PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
# What fastavro raises on bytes that are not of the schema.
_MISFITS = (EOFError, LookupError, ValueError, TypeError, OverflowError, MemoryError, RecursionError)


class Samples:
    """One schema: bytes of sample values, and a test for bytes. Raises what fastavro raises if the schema is none."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._parsed = fastavro.parse_schema(_stripped(schema), _write_hint=False)
        # Reading forgets which branch of a union a value was of, so that writing it again may choose another one.
        self._rewritable = not _has_choice(schema)

    def variant(self, number: int) -> bytes:
        """Return the bytes of one of a few different samples."""
        return self._written(_value(self._schema, number % VARIANTS, {}))

    def all(self) -> list[bytes]:
        """Return all different samples."""
        return list(dict.fromkeys(self.variant(number) for number in range(VARIANTS)))

    def fault(self, payload: bytes) -> str:
        """Return what is wrong with `payload` as the one plain encoding of a value, "" if nothing is."""
        source = BytesIO(payload)
        try:
            value = fastavro.schemaless_reader(source, self._parsed, None)
        except _MISFITS as error:
            return f"not of its schema: {type(error).__name__}: {error}"
        if source.tell() != len(payload):
            return f"{len(payload) - source.tell()} bytes follow the value"
        return "" if not self._rewritable or self._written(_sorted(value)) == payload else "not written the plain way"

    def _written(self, value: Any) -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, self._parsed, value)
        return out.getvalue()


def _stripped(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_stripped(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ("logicalType", "precision", "scale", "default")}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _stripped(kept[key])
    if "fields" in kept:
        kept["fields"] = [{"name": field["name"], "type": _stripped(field["type"])} for field in kept["fields"]]
    return kept


def _has_choice(schema: Any) -> bool:
    if isinstance(schema, list):
        return len([branch for branch in schema if branch != "null"]) > 1 or any(map(_has_choice, schema))
    if not isinstance(schema, dict):
        return False
    parts = [schema.get(key) for key in ("type", "items", "values")] + [field["type"] for field in schema.get("fields", ())]
    return any(map(_has_choice, parts))


def _sorted(value: Any) -> Any:
    """Maps in the order of their keys. Records are dicts too, and their order is the schema's anyway."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _value(schema: Any, k: int, named: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return _value(schema[k % len(schema)], k, named)
    if isinstance(schema, str):
        return _primitive(named[schema], k, named) if schema in named else _primitive({"type": schema}, k, named)
    if "name" in schema:
        for name in (schema["name"], f"{schema.get('namespace', '')}.{schema['name']}"):
            named[name] = schema
    return _primitive(schema, k, named)


def _primitive(schema: dict[str, Any], k: int, named: dict[str, Any]) -> Any:
    kind = schema["type"]
    if not isinstance(kind, str) or kind in named:
        return _value(kind, k, named)
    if kind == "record":
        return {field["name"]: _value(field["type"], k, named) for field in schema["fields"]}
    if kind == "array":
        return [_value(schema["items"], k + item, named) for item in range(k)]
    if kind == "map":
        return {_TEXTS[item]: _value(schema["values"], k, named) for item in range(1, min(k, 2) + 1)}
    if kind == "enum":
        return schema["symbols"][k % len(schema["symbols"])]
    if kind in ("bytes", "fixed"):
        return _bytes(schema, k)
    plain = {"null": None, "boolean": bool(k % 2), "float": k / 2, "double": k / 4}
    if kind == "string":
        return _UUIDS[k] if schema.get("logicalType") == "uuid" else _TEXTS[k]
    return plain[kind] if kind in plain else _number(schema.get("logicalType", ""), k)


def _bytes(schema: dict[str, Any], k: int) -> bytes:
    if schema.get("logicalType") != "decimal":
        return bytes([k]) * int(schema.get("size", k))
    unscaled: int = k * 10 ** schema.get("scale", 0)
    if unscaled >= 10 ** schema["precision"]:
        unscaled = min(k, 9)
    size = int(schema.get("size", (unscaled.bit_length() + 8) >> 3))
    return unscaled.to_bytes(size, "big", signed=True)


def _number(logical: str, k: int) -> int:
    if logical == "date":
        return _DAY + k
    base, _, unit = logical.rpartition("-")
    if unit in _PER_SECOND:
        return ((_HOUR_S if base == "time" else _MOMENT_S) + k) * _PER_SECOND[unit]
    return _NUMBERS[k]
