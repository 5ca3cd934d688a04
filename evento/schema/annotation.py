"""The pieces of a definition: names, the order of attributes, logical types. What admission is put together from."""

import re
from typing import Any, cast

from evento.errors import SchemaRefused
from evento.schema.logical import DECIMAL_DIGITS_MAX, FORMS
from evento.schema.node import Kind, Logical
from evento.schema.unfit import shorten

DECIMAL_BYTES_MAX = 32
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# The order of attributes in a schema's text; what is not here follows by name.
TYPE_ATTRIBUTES = [
    "type",
    "name",
    "namespace",
    "aliases",
    "doc",
    "logicalType",
    "precision",
    "scale",
    "size",
    "symbols",
    "items",
    "values",
]
FIELD_ATTRIBUTES = ["name", "type", "default", "aliases", "doc", "order"]
_UUID_BYTES, _DURATION_BYTES = 16, 12


def read_logical(raw: dict[str, Any], path: str) -> Logical | None:
    """Return the logical type, None when there is none or when nobody knows it: then Avro has it ignored."""
    name, kind, size = raw.get("logicalType"), raw["type"], raw.get("size") if raw["type"] == "fixed" else None
    if name is None:
        return None
    where = path + ".logicalType"
    if not isinstance(name, str):
        raise refused(where, "must be text", name)
    if name in FORMS:
        _require(kind == FORMS[name].kind, where, f"must stand on {FORMS[name].kind}, not on {kind}", name)
    elif name == "decimal":
        _require(kind in ("bytes", "fixed"), where, f"must stand on bytes or fixed, not on {kind}", name)
        return _decimal(raw, size, path)
    elif name == "uuid":
        _require(kind == "string" or size == _UUID_BYTES, where, "must stand on string or on fixed of size 16", name)
    elif name == "duration":
        _require(size == _DURATION_BYTES, where, "must stand on fixed of size 12", name)
    elif name == "big-decimal":
        raise refused(where, "is not taken, as its size has no limit: use decimal with precision and scale", name)
    else:
        return None
    return Logical(name)


def _decimal(raw: dict[str, Any], size: int | None, path: str) -> Logical:
    precision, scale = raw.get("precision"), raw.get("scale", 0)
    if type(precision) is not int or not 1 <= precision <= DECIMAL_DIGITS_MAX:
        raise refused(path + ".precision", f"must be 1 to {DECIMAL_DIGITS_MAX}", precision)
    if type(scale) is not int or not 0 <= scale <= precision:
        raise refused(path + ".scale", f"must be 0 to the precision, {precision}", scale)
    if size is not None:
        _require(size <= DECIMAL_BYTES_MAX, path + ".size", f"must be at most {DECIMAL_BYTES_MAX} for a decimal", size)
        _require(int(10**precision) <= 1 << size * 8 - 1, path + ".precision", f"must fit in {size} bytes", precision)
    return Logical("decimal", precision, scale)


def placed(document: dict[str, Any], full: str, space: str) -> dict[str, Any]:
    """Return a definition with its name as it is written inside the namespace `space`, and its aliases in full."""
    own, _, short = full.rpartition(".")
    placing: dict[str, Any] = {"name": short, **({} if own == space else {"namespace": own})}
    if "aliases" in document:
        placing["aliases"] = [full_name(alias, own) for alias in document["aliases"]]
    rest = {name: item for name, item in document.items() if name != "namespace"}
    return ordered({**rest, **placing}, TYPE_ATTRIBUTES)


def full_name(name: str, space: str) -> str:
    """Return a name with its namespace, which is `space` when the name has none itself."""
    return name if "." in name or not space else f"{space}.{name}"


def ordered(document: dict[str, Any], first: list[str]) -> dict[str, Any]:
    """Return an object with its attributes in the one order: `first`, then the others by name."""
    known = {name: document[name] for name in first if name in document}
    return {**known, **{name: document[name] for name in sorted(document) if name not in known}}


def is_full_name(text: str) -> bool:
    """Return whether a text is names joined by dots."""
    return all(NAME.fullmatch(part) for part in text.split("."))


def kind_of(name: str) -> Kind:
    """Return the name of a primitive type, known to be one, as such."""
    return cast(Kind, name)


def refused(path: str, rule: str, value: object) -> SchemaRefused:
    """Return the error for a place, a rule and the value that breaks it (None: nothing to show)."""
    got = "" if value is None else f", got {shorten(value)}"
    return SchemaRefused(f"{path}: {rule}{got}", path=path, rule=rule)


def _require(holds: bool, path: str, rule: str, value: object) -> None:
    if not holds:
        raise refused(path, rule, value)
