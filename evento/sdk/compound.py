"""The kinds that are made of other kinds: records, unions, arrays, maps."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from evento.sdk.binary import length_bytes
from evento.sdk.kinds import Json, Kind, Scope, read_size, sized
from evento.sdk.source import Source


class NoDefault:
    """The field has no default."""


@dataclass
class Field:
    """One field of a record."""

    name: str
    kind: Kind
    default: Any = NoDefault

    def schema(self, scope: Scope) -> Json:
        """Return the field as it stands in its record's schema."""
        schema: Json = {"name": self.name, "type": self.kind.schema(scope)}
        if self.default is not NoDefault:
            schema["default"] = self.kind.json(self.default)
        return schema


@dataclass
class Record(Kind):
    """A dataclass. Its fields stand in the order of the schema: the dataclass's own, unless a given schema has another."""

    cls: type
    name: str
    namespace: str
    doc: str = ""
    fields: list[Field] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.label = self.cls.__name__

    def schema(self, scope: Scope) -> Json:
        reference = scope.reference(self.namespace, self.name)
        if reference:
            return reference
        inner = scope.inside(self.namespace)
        head = scope.head("record", self.namespace, self.name, self.doc)
        return {**head, "fields": [field.schema(inner) for field in self.fields]}

    def json(self, value: Any) -> Json:
        return {field.name: field.kind.json(getattr(value, field.name)) for field in self.fields}

    def encode(self, out: Source, x: str) -> list[str]:
        with out.block(f"if {x}.__class__ is not {out.constant(self.cls)}:"):
            out.line(f"refuse('not a {self.label}')")
        return [piece for field in self.fields for piece in field.kind.encode(out, out.assign(f"{x}.{field.name}"))]

    def decode(self, out: Source) -> str:
        values = [(field.name, out.assign(field.kind.decode(out))) for field in self.fields]
        cls, give_dict = out.constant(self.cls), _dict_giver(self.cls)
        if give_dict is None:
            return f"{cls}({', '.join(f'{name}={value}' for name, value in values)})"
        made = out.assign(f"new({cls})")
        out.line(f"{out.constant(give_dict)}({made}, {{{', '.join(f'{name!r}: {value}' for name, value in values)}}})")
        return made

    def test(self, out: Source, x: str) -> None:
        with out.block(f"if {x}.__class__ is not {out.constant(self.cls)}:"):
            out.line("return False")
        for field in self.fields:
            field.kind.test(out, out.assign(f"{x}.{field.name}"))


def _dict_giver(cls: type) -> Any:
    """Return what gives an instance its `__dict__`: a quarter of the price of a frozen dataclass's own constructor.

    None if the constructor does more than to set the fields, or if there is no dict.
    """
    if hasattr(cls, "__post_init__") or getattr(cls, "__new__", None) is not object.__new__ or "__init__" not in vars(cls):
        return None
    if not cls.__dataclass_params__.init:  # type: ignore[attr-defined]
        return None
    return next((vars(base)["__dict__"].__set__ for base in cls.__mro__ if "__dict__" in vars(base)), None)


class Union(Kind):
    """One of several kinds, told apart by Python type; None is the null branch."""

    def __init__(self, branches: list[tuple[type, Kind | None]]) -> None:
        self.branches = branches
        self.label = " | ".join(kind.label if kind else "None" for _, kind in branches)

    def put_first(self, value: Any) -> None:
        """Move the branch of `value` to the front: Avro wants a default to be of the first branch."""
        self.branches.sort(key=lambda branch: branch[0] is not type(value))

    def schema(self, scope: Scope) -> Json:
        return [kind.schema(scope) if kind else "null" for _, kind in self.branches]

    def json(self, value: Any) -> Json:
        kind = next((kind for cls, kind in self.branches if cls is type(value)), None)
        return kind.json(value) if kind else None

    def encode(self, out: Source, x: str) -> list[str]:
        result = out.fresh()
        for index, (cls, kind) in enumerate(self.branches):
            with out.block(f"{'el' if index else ''}if {self._is(out, x, cls)}:"):
                pieces = [repr(length_bytes(index)), *(kind.encode(out, x) if kind else [])]
                out.line(f"{result} = join(({', '.join(pieces)},))")
        with out.block("else:"):
            out.line("refuse('of no branch')")
        return [result]

    def decode(self, out: Source) -> str:
        index, result = read_size(out), out.fresh()
        for number, (_, kind) in enumerate(self.branches):
            with out.block(f"{'el' if number else ''}if {index} == {number}:"):
                out.line(f"{result} = {kind.decode(out) if kind else None}")
        with out.block("else:"):
            out.line("refuse('of no branch')")
        return result

    def test(self, out: Source, x: str) -> None:
        for index, (cls, kind) in enumerate(self.branches):
            with out.block(f"{'el' if index else ''}if {self._is(out, x, cls)}:"):
                if kind:
                    kind.test(out, x)
                else:
                    out.line("pass")
        with out.block("else:"):
            out.line("return False")

    @staticmethod
    def _is(out: Source, x: str, cls: type) -> str:
        return f"{x} is None" if cls is type(None) else f"{x}.__class__ is {out.constant(cls)}"


class Sequence(Kind):
    """A list, or a tuple of any length."""

    def __init__(self, cls: type, item: Kind) -> None:
        self._cls, self.item = cls, item
        self.label = f"{cls.__name__} of {item.label}"

    def schema(self, scope: Scope) -> Json:
        return {"type": "array", "items": self.item.schema(scope)}

    def json(self, value: Any) -> Json:
        return [self.item.json(item) for item in value]

    def encode(self, out: Source, x: str) -> list[str]:
        parts, item = out.fresh(), out.fresh()
        with out.block(f"if type({x}) is not {self._cls.__name__}:"):
            out.line(f"refuse('not a {self._cls.__name__}')")
        out.line(f"{parts} = [length_bytes(len({x}))] if {x} else []")
        with out.block(f"for {item} in {x}:"):
            out.line(f"{parts} += ({', '.join(self.item.encode(out, item))},)")
        return [f"join({parts})", "b'\\x00'"]

    def decode(self, out: Source) -> str:
        items, count = out.assign("[]"), out.fresh()
        with out.block("while True:"):
            out.line(f"{count}, p = read_block(b, p)")
            with out.block(f"if not {count}:"):
                out.line("break")
            with out.block(f"for _ in range({count}):"):
                out.line(f"{items}.append({self.item.decode(out)})")
        return items if self._cls is list else f"tuple({items})"

    def test(self, out: Source, x: str) -> None:
        with out.block(f"if type({x}) is not {self._cls.__name__}:"):
            out.line("return False")
        item = out.fresh()
        with out.block(f"for {item} in {x}:"):
            self.item.test(out, item)


class Mapping(Kind):
    """A dict with text for keys, written in the order of the keys, so that equal maps are equal bytes."""

    def __init__(self, value: Kind) -> None:
        self.value = value
        self.label = f"dict of {value.label}"

    def schema(self, scope: Scope) -> Json:
        return {"type": "map", "values": self.value.schema(scope)}

    def json(self, value: Any) -> Json:
        return {key: self.value.json(item) for key, item in value.items()}

    def encode(self, out: Source, x: str) -> list[str]:
        parts, key, item = out.fresh(), out.fresh(), out.fresh()
        with out.block(f"if type({x}) is not dict:"):
            out.line("refuse('not a dict')")
        out.line(f"{parts} = [length_bytes(len({x}))] if {x} else []")
        with out.block(f"for {key}, {item} in sorted({x}.items(), key=first):"):
            pieces = sized(out, out.assign(f"{key}.encode()")) + self.value.encode(out, item)
            out.line(f"{parts} += ({', '.join(pieces)},)")
        return [f"join({parts})", "b'\\x00'"]

    def decode(self, out: Source) -> str:
        items, count, key, end = out.assign("{}"), out.fresh(), out.fresh(), out.fresh()
        with out.block("while True:"):
            out.line(f"{count}, p = read_block(b, p)")
            with out.block(f"if not {count}:"):
                out.line("break")
            with out.block(f"for _ in range({count}):"):
                out.line(f"{end}, p = read_length(b, p)")
                out.line(f"{key} = b[p:p + {end}].decode()")
                out.line(f"p += {end}")
                out.line(f"{items}[{key}] = {self.value.decode(out)}")
        return items

    def test(self, out: Source, x: str) -> None:
        with out.block(f"if type({x}) is not dict or list({x}) != sorted({x}):"):
            out.line("return False")
        key, item = out.fresh(), out.fresh()
        with out.block(f"for {key}, {item} in {x}.items():"):
            with out.block(f"if not (type({key}) is str and {key}.isascii()):"):
                out.line("return False")
            self.value.test(out, item)
