"""Whether everything that a writer wrote can be read with another schema, and if not, where and why.

Stricter than Avro's own rules where these would change what a value means or fail on some values: logical types must agree,
decimals keep their scale, and bytes are not read as text. Apache's checker is asked too, when it is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evento.schema.node import Array, Enum, Field, Fixed, Map, Node, Primitive, Record, Union, branch_name

PROMOTIONS = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",), "string": ("bytes",)}


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """What keeps a reader from reading what a writer wrote; `path` as in `$.items[*].price`."""

    path: str
    message: str


class Comparison:
    """A comparison of two schemas; a pair of types that occurs twice is compared once. Ends, since no type contains itself."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], tuple[Incompatibility, ...]] = {}

    def between(self, reader: Node, writer: Node) -> tuple[Incompatibility, ...]:
        """Return everything that stands between the reader and what the writer wrote, with paths that begin here."""
        pair = id(reader), id(writer)
        if pair not in self.known:
            self.known[pair] = tuple(self.compared(reader, writer))
        return self.known[pair]

    def chosen(self, reader: Union, writer: Node) -> int | None:
        """Return which type of the reader's union takes what the writer wrote: the same type before a promoted one."""
        fits = [index for index, branch in enumerate(reader.branches) if not self.between(branch, writer)]
        same = [index for index in fits if branch_name(reader.branches[index]) == branch_name(writer)]
        kind = [index for index in fits if type(reader.branches[index]) is type(writer) and not isinstance(writer, Primitive)]
        return next(iter([*same, *kind, *fits]), None)

    def compared(self, reader: Node, writer: Node) -> list[Incompatibility]:
        """Compare two types of any kind."""
        if isinstance(writer, Union):
            return [problem for branch in writer.branches for problem in self.between(reader, branch)]
        if isinstance(reader, Union):
            return self.union(reader, writer)
        match reader, writer:
            case Primitive(), Primitive():
                return _primitives(reader, writer)
            case Record(), Record():
                return self.records(reader, writer)
            case Array(), Array():
                return _below("[*]", self.between(reader.items, writer.items))
            case Map(), Map():
                return _below("[*]", self.between(reader.values, writer.values))
            case Enum(), Enum():
                return [*_names(reader, writer), *_symbols(reader, writer)]
            case Fixed(), Fixed():
                return [*_names(reader, writer), *_sizes(reader, writer)]
        return _problem(f"{branch_name(writer)} was written and cannot be read as {branch_name(reader)}")

    def union(self, reader: Union, writer: Node) -> list[Incompatibility]:
        """Compare what was written with a reader's union."""
        if self.chosen(reader, writer) is not None:
            return []
        for branch in reader.branches:  # the type that was surely meant tells more than that none fits
            if branch_name(branch) == branch_name(writer):
                return list(self.between(branch, writer))
        return _problem(f"{branch_name(writer)} was written and is none of {', '.join(map(branch_name, reader.branches))}")

    def records(self, reader: Record, writer: Record) -> list[Incompatibility]:
        """Compare two records field by field."""
        problems = _names(reader, writer)
        for field in reader.fields:
            written = written_field(field, writer)
            if written is not None:
                problems += _below("." + field.name, self.between(field.type, written.type))
            elif field.default is None:
                problems += _below(
                    "." + field.name,
                    _problem("is new, so older data does not have it: give it a default, or an alias if it was renamed"),
                )
        return problems


def written_field(field: Field, writer: Record) -> Field | None:
    """Return the writer's field that a reader's field reads: by its name, else by one of its aliases."""
    by_name = {written.name: written for written in writer.fields}
    return next((by_name[name] for name in (field.name, *field.aliases) if name in by_name), None)


def same_name(reader: Record | Enum | Fixed, writer: Record | Enum | Fixed) -> bool:
    """Return whether two named types are meant to be the same: the last part of the name agrees, or an alias."""
    return reader.name.rpartition(".")[2] == writer.name.rpartition(".")[2] or writer.name in reader.aliases


def _primitives(reader: Primitive, writer: Primitive) -> list[Incompatibility]:
    if reader.kind != writer.kind and reader.kind not in PROMOTIONS.get(writer.kind, ()):
        return _problem(f"{writer.kind} was written and cannot be read as {reader.kind}")
    return _logicals(reader, writer)


def _logicals(reader: Primitive | Fixed, writer: Primitive | Fixed) -> list[Incompatibility]:
    new, old = reader.logical, writer.logical
    if (new and new.name) != (old and old.name):
        return _problem(
            f"{old.name if old else 'no logical type'} was written and cannot be read as {new.name if new else 'no logical type'}"
        )
    if new and old and new.scale != old.scale:
        return _problem(f"a decimal of scale {old.scale} was written and would change its value at scale {new.scale}")
    if new and old and new.precision < old.precision:
        return _problem(f"a decimal of {old.precision} digits was written and may not fit in {new.precision}")
    return []


def _names(reader: Record | Enum | Fixed, writer: Record | Enum | Fixed) -> list[Incompatibility]:
    if same_name(reader, writer):
        return []
    return _problem(f"{writer.name} was written and is read as {reader.name}: give that the alias {writer.name} if it was renamed")


def _symbols(reader: Enum, writer: Enum) -> list[Incompatibility]:
    missing = [symbol for symbol in writer.symbols if symbol not in reader.symbols]
    if not missing or reader.default is not None:
        return []
    return _problem(f"symbols that were written are gone, {', '.join(missing[:10])}: keep them or give the enum a default")


def _sizes(reader: Fixed, writer: Fixed) -> list[Incompatibility]:
    if reader.size != writer.size:
        return _problem(f"{writer.size} bytes were written and cannot be read as {reader.size}")
    return _logicals(reader, writer)


def _problem(message: str) -> list[Incompatibility]:
    return [Incompatibility("$", message)]


def _below(step: str, problems: Sequence[Incompatibility]) -> list[Incompatibility]:
    return [Incompatibility("$" + step + problem.path[1:], problem.message) for problem in problems]
