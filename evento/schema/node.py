"""The parts of an admitted schema: a small immutable tree that everything else in this package is compiled from.

Types that are used twice are the same object, so the tree is a graph without circles. Knows nothing of JSON or bytes.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
PRIMITIVES: frozenset[str] = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
COMPLEX: frozenset[str] = frozenset({"record", "error", "enum", "array", "map", "union", "fixed"})


@dataclass(frozen=True, slots=True)
class Logical:
    """A logical type; precision and scale are those of a decimal, in digits."""

    name: str
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Primitive:
    """A type without parts."""

    kind: Kind
    logical: Logical | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """So many bytes."""

    name: str
    size: int
    aliases: frozenset[str] = frozenset()
    logical: Logical | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    """One of some symbols; `default` stands for a symbol that a reader does not know."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = None
    aliases: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A list."""

    items: "Node"


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Values by text keys."""

    values: "Node"


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """One of several types."""

    branches: tuple["Node", ...]


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field of a record. `default` is canonical Avro of its type, None when there is no default."""

    name: str
    type: "Node"
    default: bytes | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Fields, in order."""

    name: str
    fields: tuple[Field, ...]
    aliases: frozenset[str] = frozenset()


Node: TypeAlias = Primitive | Fixed | Enum | Array | Map | Union | Record


def branch_name(node: Node) -> str:
    """Return the name of a type as it tells the branches of a union apart: the full name, or the kind."""
    match node:
        case Primitive():
            return node.kind
        case Array():
            return "array"
        case Map():
            return "map"
        case Union():
            return "union"
        case _:
            return node.name


def null_index(node: Node) -> int | None:
    """Return the place of null in a union, or None when the node is no union or has no null in it."""
    if not isinstance(node, Union):
        return None
    return next((at for at, branch in enumerate(node.branches) if is_null(branch)), None)


def is_null(node: Node) -> bool:
    """Return whether the node is the null type."""
    return isinstance(node, Primitive) and node.kind == "null"


def is_empty(node: Node) -> bool:
    """Return whether a value of this type takes no byte at all."""
    return is_null(node) or (isinstance(node, Record) and all(is_empty(field.type) for field in node.fields))
