"""From canonical bytes of a writer's schema to canonical bytes of a reader's, by Avro resolution, without decoding in between.

Works on bytes so that a type in a union stays the type that it was: a decoded 5 does not tell an int from a long.
"""

from collections.abc import Callable
from typing import TypeAlias

from evento.errors import Unreadable
from evento.schema.binary import FLOAT, encode_double, encode_float, encode_long, read_long
from evento.schema.compatibility import Comparison, written_field
from evento.schema.node import Array, Enum, Fixed, Map, Node, Primitive, Record, Union
from evento.schema.skim import QUICK_ERRORS, compile_skip

Step: TypeAlias = Callable[[bytes, int], tuple[bytes, int]]


def compile_resolver(writer: Node, reader: Node) -> Callable[[bytes], bytes]:
    """Return the function from the writer's bytes to the reader's. Both raise Unreadable, this if some value could not be read."""
    comparison = Comparison()
    problems = comparison.between(reader, writer)
    if problems:
        told = "; ".join(f"{problem.path}: {problem.message}" for problem in problems[:5])
        raise Unreadable(f"the stored payload cannot be read with this schema: {told}", path=problems[0].path, problems=problems)
    steps = _Steps(comparison)
    if steps.same(writer, reader):
        return _unchanged
    step = steps.of(writer, reader)

    def resolve(payload: bytes) -> bytes:
        try:
            out, at = step(payload, 0)
        except QUICK_ERRORS as error:
            raise Unreadable(f"the stored payload is not what its schema says: {error}") from None
        if at != len(payload):
            raise Unreadable(f"the stored payload must end after {at} bytes, it has {len(payload)}")
        return out

    return resolve


def _unchanged(payload: bytes) -> bytes:
    return payload


class _Steps:
    """The functions between two schemas; each pair of types has one."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.made: dict[tuple[int, int], Step] = {}
        self.alike: dict[tuple[int, int], bool] = {}

    def of(self, writer: Node, reader: Node) -> Step:
        pair = id(writer), id(reader)
        if pair not in self.made:
            self.made[pair] = _copied(compile_skip(writer)) if self.same(writer, reader) else self.make(writer, reader)
        return self.made[pair]

    # -------------------------------------------------------------- same bytes
    def same(self, writer: Node, reader: Node) -> bool:
        """Return whether the reader reads the writer's bytes as they are."""
        pair = id(writer), id(reader)
        if pair not in self.alike:
            self.alike[pair] = self.compared(writer, reader)
        return self.alike[pair]

    def compared(self, writer: Node, reader: Node) -> bool:
        match writer, reader:
            case Primitive(), Primitive():
                return writer.kind == reader.kind or (writer.kind, reader.kind) in (("int", "long"), ("string", "bytes"))
            case Fixed(), Fixed():
                return True
            case Enum(), Enum():
                return writer.symbols == reader.symbols[: len(writer.symbols)]
            case Array(), Array():
                return self.same(writer.items, reader.items)
            case Map(), Map():
                return self.same(writer.values, reader.values)
            case Union(), Union():
                return all(
                    self.comparison.chosen(reader, branch) == index and self.same(branch, reader.branches[index])
                    for index, branch in enumerate(writer.branches)
                )
            case Record(), Record() if len(writer.fields) == len(reader.fields):
                return all(
                    written_field(new, writer) is old and self.same(old.type, new.type)
                    for old, new in zip(writer.fields, reader.fields, strict=True)
                )
        return False

    # -------------------------------------------------------------- other bytes
    def make(self, writer: Node, reader: Node) -> Step:
        if isinstance(writer, Union):
            return _branches([self.of(branch, reader) for branch in writer.branches])
        if isinstance(reader, Union):
            index = self.comparison.chosen(reader, writer)
            if index is None:
                raise Unreadable
            return _prefixed(encode_long(index), self.of(writer, reader.branches[index]))
        match writer, reader:
            case Record(), Record():
                return self.record(writer, reader)
            case Array(), Array():
                return _items(self.of(writer.items, reader.items))
            case Map(), Map():
                return _pairs(self.of(writer.values, reader.values))
            case Enum(), Enum():
                symbols = [symbol if symbol in reader.symbols else str(reader.default) for symbol in writer.symbols]
                return _symbol({encode_long(at): encode_long(reader.symbols.index(symbol)) for at, symbol in enumerate(symbols)})
            case Primitive(), Primitive():
                return _promoted(writer.kind, reader.kind)
        raise Unreadable

    def record(self, writer: Record, reader: Record) -> Step:
        absent = [field.default or b"" for field in reader.fields]
        sources = {id(source): at for at, field in enumerate(reader.fields) if (source := written_field(field, writer)) is not None}
        steps: list[tuple[int | None, Step]] = []
        for field in writer.fields:
            place = sources.get(id(field))
            steps.append(
                (place, _copied(compile_skip(field.type)) if place is None else self.of(field.type, reader.fields[place].type))
            )

        def step(data: bytes, at: int) -> tuple[bytes, int]:
            parts = absent.copy()
            for place, part_step in steps:
                part, at = part_step(data, at)
                if place is not None:
                    parts[place] = part
            return b"".join(parts), at

        return step


def _copied(skip: Callable[[bytes, int], int]) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        end = skip(data, at)
        return data[at:end], end

    return step


def _prefixed(prefix: bytes, inner: Step) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        part, at = inner(data, at)
        return prefix + part, at

    return step


def _branches(steps: list[Step]) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        index, at = read_long(data, at)
        if index < 0:
            raise IndexError(index)
        return steps[index](data, at)

    return step


def _symbol(table: dict[bytes, bytes]) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        _, end = read_long(data, at)
        return table[data[at:end]], end

    return step


def _items(inner: Step) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        count, end = read_long(data, at)
        if not 0 <= count <= len(data) - end:
            raise ValueError("more items than bytes")
        parts, at = [data[at:end]], end
        for _ in range(count):
            part, at = inner(data, at)
            parts.append(part)
        return _closed(parts, data, at)

    return step


def _pairs(inner: Step) -> Step:
    def step(data: bytes, at: int) -> tuple[bytes, int]:
        count, end = read_long(data, at)
        if not 0 <= count <= len(data) - end:
            raise ValueError("more values than bytes")
        parts, at = [data[at:end]], end
        for _ in range(count):
            size, behind = read_long(data, at)
            if not 0 <= size <= len(data) - behind:
                raise ValueError("a key that does not end")
            part, end = inner(data, behind + size)
            parts += (data[at : behind + size], part)
            at = end
        return _closed(parts, data, at)

    return step


def _closed(parts: list[bytes], data: bytes, at: int) -> tuple[bytes, int]:
    """Return the block with its end, the one zero byte that follows every block but the empty one."""
    if len(parts) == 1:
        return parts[0], at
    if data[at]:
        raise ValueError("a second block")
    return b"".join((*parts, b"\0")), at + 1


def _promoted(source: str, target: str) -> Step:
    encode = encode_float if target == "float" else encode_double

    def whole(data: bytes, at: int) -> tuple[bytes, int]:
        number, at = read_long(data, at)
        return encode(number), at

    def floating(data: bytes, at: int) -> tuple[bytes, int]:
        return encode(FLOAT.unpack_from(data, at)[0]), at + FLOAT.size

    return floating if source == "float" else whole
