"""Which schemas Evento takes in: parses a definition to nodes and to its one complete text, and refuses what breaks a limit.

Everything is checked here before a parser of a library sees it: names, duplicates, references, defaults, logical types, circles,
and types whose values could cost more than the bytes that they come in.
"""

from collections.abc import Callable, Mapping
from typing import Any

from evento.errors import SchemaRefused
from evento.schema.annotation import (
    FIELD_ATTRIBUTES,
    NAME,
    TYPE_ATTRIBUTES,
    full_name,
    is_full_name,
    kind_of,
    ordered,
    placed,
    read_logical,
    refused,
)
from evento.schema.defaults import encode_default
from evento.schema.document import read_document, write_document
from evento.schema.node import (
    COMPLEX,
    PRIMITIVES,
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Node,
    Primitive,
    Record,
    Union,
    branch_name,
    is_empty,
)
from evento.schema.unfit import Unfit

NAMED_TYPES_MAX = 256
FIELDS_MAX = 1024
SYMBOLS_MAX = 1024
EXPANDED_TYPES_MAX = 10_000
TYPE_DEPTH_MAX = 64
FIXED_BYTES_MAX = 64 * 1024
NAME_CHARS_MAX = 255

_ORDERS = ("ascending", "descending", "ignore")


def admit(definition: object, named: Mapping[str, object]) -> tuple[Node, str]:
    """Return the nodes and the complete text of a definition, which may use the types in `named`. Raises SchemaRefused."""
    builder = _Builder(named)
    node, document = builder.build(read_document(definition), "", "$")
    return node, write_document(document)


class _Builder:
    """The types seen so far. A reference is looked up here, then among the types shared between files."""

    def __init__(self, shared: Mapping[str, object]) -> None:
        self.shared = shared
        self.done: dict[str, Node] = {}
        self.busy: list[str] = []
        self.depth = 0
        self.sizes: dict[int, tuple[int, int]] = {}

    # -------------------------------------------------------------- dispatch
    def build(self, raw: object, space: str, path: str) -> tuple[Node, object]:
        """Return the node and the normal form of a raw schema that stands in the namespace `space`, within the limits."""
        self.depth += 1
        if self.depth > TYPE_DEPTH_MAX:
            raise refused(path, f"must be types nested at most {TYPE_DEPTH_MAX} deep", None)
        node, document = self.built(raw, space, path)
        self.depth -= 1
        self.measure(node, path)
        return node, document

    def measure(self, node: Node, path: str) -> None:
        """Count the types in a node, each use of a shared type again, and how deep they are; its parts are measured already.

        Everything that later walks the types, recursively, relies on these two limits.
        """
        parts = [self.sizes[id(part)] for part in _parts(node)]
        weight, depth = 1 + sum(weight for weight, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        if weight > EXPANDED_TYPES_MAX:
            raise refused(path, f"must be at most {EXPANDED_TYPES_MAX} types, each use counted", weight)
        if depth > TYPE_DEPTH_MAX:
            raise refused(path, f"must be types nested at most {TYPE_DEPTH_MAX} deep", depth)
        self.sizes[id(node)] = weight, depth

    def built(self, raw: object, space: str, path: str) -> tuple[Node, object]:
        if isinstance(raw, str):
            return (Primitive(kind_of(raw)), raw) if raw in PRIMITIVES else self.reference(raw, space, path)
        if isinstance(raw, list):
            return self.union(raw, space, path)
        if not isinstance(raw, dict) or "type" not in raw:
            raise refused(path, "must be the name of a type, a list of types, or an object with `type`", raw)
        if not isinstance(raw["type"], str):
            raise refused(path + ".type", "must be the name of a type; the outer object is one too many", raw["type"])
        makers: dict[str, Callable[[dict[str, Any], str, str], tuple[Node, object]]] = {
            "record": self.record,
            "enum": self.enum,
            "fixed": self.fixed,
            "array": self.array,
            "map": self.map,
        }
        if raw["type"] in makers:
            return makers[raw["type"]](raw, space, path)
        if raw["type"] in PRIMITIVES:
            return self.primitive(raw, path)
        if len(raw) == 1 and raw["type"] not in COMPLEX:
            return self.reference(raw["type"], space, path)
        raise refused(path + ".type", "must be one of Avro's types; a named type is used by its name alone", raw["type"])

    def reference(self, name: str, space: str, path: str) -> tuple[Node, object]:
        full = full_name(name, space)
        if full in self.busy:
            raise refused(path, "must not contain itself: Evento takes no recursive types; keep the parts by id instead", full)
        if full not in self.done:
            if full not in self.shared:
                raise refused(path, f"must be a type of Avro or one defined before or shared; there is no {full}", name)
            return self.inlined(full, space, path)
        return self.done[full], full.rpartition(".")[2] if full.rpartition(".")[0] == space else full

    def inlined(self, full: str, space: str, path: str) -> tuple[Node, object]:
        self.depth -= 1  # the reference and what it stands for are one type
        node, document = self.build(read_document(self.shared[full]), "", f"{path}<{full}>")
        self.depth += 1
        if branch_name(node) != full or not isinstance(document, dict):
            raise refused(path, f"is shared as {full} but defines {branch_name(node)}", None)
        return node, placed(document, full, space)

    # -------------------------------------------------------------- unnamed types
    def primitive(self, raw: dict[str, Any], path: str) -> tuple[Node, object]:
        kind = kind_of(raw["type"])
        logical = read_logical(raw, path)
        return Primitive(kind, logical), kind if len(raw) == 1 else ordered(raw, TYPE_ATTRIBUTES)

    def union(self, raw: list[Any], space: str, path: str) -> tuple[Node, object]:
        built = [self.build(branch, space, f"{path}[{index}]") for index, branch in enumerate(raw)]
        names = [branch_name(node) for node, _ in built]
        if not names:
            raise refused(path, "must have at least one type", raw)
        for index, name in enumerate(names):
            if name == "union":
                raise refused(f"{path}[{index}]", "must not be a union inside a union: write its types here", None)
            if name in names[:index]:
                raise refused(f"{path}[{index}]", "must not repeat a type of the union", name)
        return Union(tuple(node for node, _ in built)), [document for _, document in built]

    def array(self, raw: dict[str, Any], space: str, path: str) -> tuple[Node, object]:
        node, document = self.part(raw, "items", space, path)
        return Array(node), document

    def map(self, raw: dict[str, Any], space: str, path: str) -> tuple[Node, object]:
        node, document = self.part(raw, "values", space, path)
        return Map(node), document

    def part(self, raw: dict[str, Any], name: str, space: str, path: str) -> tuple[Node, object]:
        if name not in raw:
            raise refused(path, f"must have `{name}`", None)
        read_logical(raw, path)
        node, document = self.build(raw[name], space, f"{path}.{name}")
        if is_empty(node):
            raise refused(f"{path}.{name}", "must not take zero bytes, or a few bytes could announce billions", branch_name(node))
        return node, ordered({**raw, name: document}, TYPE_ATTRIBUTES)

    # -------------------------------------------------------------- named types
    def name(self, raw: dict[str, Any], space: str, path: str) -> tuple[str, str]:
        """Return (full name, namespace) of a definition, and mark it as under construction."""
        name, given = raw.get("name"), raw.get("namespace", space)
        if not isinstance(given, str) or (given and not is_full_name(given)):
            raise refused(path + ".namespace", "must be names joined by dots", given)
        if not isinstance(name, str) or not is_full_name(name):
            raise refused(path + ".name", "must be a name: letters, digits and _, not a digit first; dots join a namespace", name)
        full = full_name(name, given)
        own, _, short = full.rpartition(".")
        if short in PRIMITIVES or short in COMPLEX:
            raise refused(path + ".name", "must not be the name of a type of Avro", short)
        if len(full) > NAME_CHARS_MAX:
            raise refused(path + ".name", f"must have at most {NAME_CHARS_MAX} characters", full)
        if full in self.done or full in self.busy or (full in self.shared and f"<{full}>" not in path):
            raise refused(path + ".name", "must be defined once: use it by its name where it is needed again", full)
        if len(self.done) + len(self.busy) >= NAMED_TYPES_MAX:
            raise refused(path + ".name", f"must not be more than {NAMED_TYPES_MAX} named types", full)
        return full, own

    def aliases(self, raw: dict[str, Any], own: str, path: str) -> frozenset[str]:
        aliases = raw.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(alias, str) and is_full_name(alias) for alias in aliases):
            raise refused(path + ".aliases", "must be a list of names", aliases)
        return frozenset(full_name(alias, own) for alias in aliases)

    def record(self, raw: dict[str, Any], space: str, path: str) -> tuple[Node, object]:
        full, own = self.name(raw, space, path)
        aliases = self.aliases(raw, own, path)
        raw_fields = raw.get("fields")
        if not isinstance(raw_fields, list):
            raise refused(path + ".fields", "must be a list of fields", raw_fields)
        if len(raw_fields) > FIELDS_MAX:
            raise refused(path + ".fields", f"must be at most {FIELDS_MAX} fields", raw_fields)
        read_logical(raw, path)
        self.busy.append(full)
        built = [self.field(field, own, f"{path}.fields[{index}]") for index, field in enumerate(raw_fields)]
        self.busy.pop()
        _check_fields([field for field, _ in built], path)
        node = Record(full, tuple(field for field, _ in built), aliases)
        return self.defined(node, {**raw, "fields": [document for _, document in built]}, space)

    def field(self, raw: object, space: str, path: str) -> tuple[Field, object]:
        if not isinstance(raw, dict):
            raise refused(path, "must be an object with `name` and `type`", raw)
        name = raw.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX:
            raise refused(path + ".name", "must be a name: letters, digits and _, not a digit first", name)
        if "type" not in raw:
            raise refused(path, "must have `type`", raw)
        if "logicalType" in raw:
            raise refused(
                path, "must have `logicalType` inside `type`, as {type: {type: long, logicalType: …}}", raw["logicalType"]
            )
        if raw.get("order", "ascending") not in _ORDERS:
            raise refused(path + ".order", f"must be one of {', '.join(_ORDERS)}", raw["order"])
        aliases = raw.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(alias, str) and NAME.fullmatch(alias) for alias in aliases):
            raise refused(path + ".aliases", "must be a list of names", aliases)
        node, document = self.build(raw["type"], space, path + ".type")
        default = _default(node, raw["default"], path) if "default" in raw else None
        return Field(name, node, default, tuple(aliases)), ordered({**raw, "type": document}, FIELD_ATTRIBUTES)

    def enum(self, raw: dict[str, Any], space: str, path: str) -> tuple[Node, object]:
        full, own = self.name(raw, space, path)
        symbols, default = raw.get("symbols"), raw.get("default")
        if (
            not isinstance(symbols, list)
            or not symbols
            or not all(isinstance(symbol, str) and NAME.fullmatch(symbol) for symbol in symbols)
        ):
            raise refused(path + ".symbols", "must be a list of names: letters, digits and _, not a digit first", symbols)
        if len(symbols) > SYMBOLS_MAX:
            raise refused(path + ".symbols", f"must be at most {SYMBOLS_MAX} symbols", symbols)
        if len(set(symbols)) < len(symbols):
            raise refused(path + ".symbols", "must have each symbol once", next(s for s in symbols if symbols.count(s) > 1))
        if "default" in raw and default not in symbols:
            raise refused(path + ".default", "must be one of the symbols", default)
        read_logical(raw, path)
        return self.defined(Enum(full, tuple(symbols), default, self.aliases(raw, own, path)), raw, space)

    def fixed(self, raw: dict[str, Any], space: str, path: str) -> tuple[Node, object]:
        full, own = self.name(raw, space, path)
        size = raw.get("size")
        if type(size) is not int or not 1 <= size <= FIXED_BYTES_MAX:
            raise refused(path + ".size", f"must be 1 to {FIXED_BYTES_MAX} bytes", size)
        return self.defined(Fixed(full, size, self.aliases(raw, own, path), read_logical(raw, path)), raw, space)

    def defined(self, node: Record | Enum | Fixed, raw: dict[str, Any], space: str) -> tuple[Node, object]:
        self.done[node.name] = node
        return node, placed(raw, node.name, space)


# ------------------------------------------------------------------ checks on the whole
def _check_fields(fields: list[Field], path: str) -> None:
    seen: dict[str, str] = {}
    for index, field in enumerate(fields):
        if field.name in seen:
            raise refused(f"{path}.fields[{index}].name", "must be there once in its record", field.name)
        seen[field.name] = "field"
    for index, field in enumerate(fields):
        for alias in field.aliases:
            if alias in seen:
                raise refused(f"{path}.fields[{index}].aliases", f"must not be the name or alias of another {seen[alias]}", alias)
            seen[alias] = "alias"


def _default(node: Node, value: object, path: str) -> bytes:
    try:
        return encode_default(node, value)
    except Unfit as unfit:
        where = path + ".default" + unfit.path[1:]
        raise SchemaRefused(f"{where}: {unfit.sentence}", path=where, rule=unfit.rule) from None


def _parts(node: Node) -> list[Node]:
    match node:
        case Record():
            return [field.type for field in node.fields]
        case Union():
            return list(node.branches)
        case Array():
            return [node.items]
        case Map():
            return [node.values]
        case _:
            return []
