"""The kinds of values a field can have: each knows its Avro schema, its default as JSON, and the code that encodes and decodes it.

Knows nothing of annotations (`types.py`) and nothing of whole codecs (`codec.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

from evento.sdk.binary import date_days, datetime_micros, decimal_bytes, length_bytes, time_micros
from evento.sdk.source import Source

Json = Any


class Scope:
    """Where in a schema text a type stands: inside which namespace, and after the definitions of which names.

    Names are written as short as they can be, as the platform's own normal form has them.
    """

    def __init__(self, space: str = "", defined: set[str] | None = None) -> None:
        self._space = space
        self._defined: set[str] = set() if defined is None else defined

    def reference(self, namespace: str, name: str) -> str | None:
        """Return how to name the type if it is defined already; otherwise it is from now on."""
        full = f"{namespace}.{name}"
        if full not in self._defined:
            self._defined.add(full)
            return None
        return name if namespace == self._space else full

    def head(self, kind: str, namespace: str, name: str, doc: str) -> dict[str, Json]:
        """Return the beginning of a definition."""
        space = {"namespace": namespace} if namespace != self._space else {}
        return {"type": kind, "name": name, **space, **({"doc": doc} if doc else {})}

    def inside(self, namespace: str) -> "Scope":
        """Return the scope inside a definition of that namespace."""
        return Scope(namespace, self._defined)


class Kind(ABC):
    """One type of values.

    The three code writers work on the name of a value: `encode` returns expressions of bytes to be joined, `decode` reads from `b`
    at `p` and returns an expression, `test` leaves with False unless the value is normal: exactly what decoding would have made
    (then encoding cannot fail, and nothing is lost by keeping the object instead of its bytes).
    """

    label: str  # what a person calls it, for messages

    @abstractmethod
    def schema(self, scope: Scope) -> Json:
        """Return the Avro schema as it stands in `scope`."""

    def json(self, value: Any) -> Json:
        """Return `value` as the JSON of a default."""
        return value

    @abstractmethod
    def encode(self, out: Source, x: str) -> list[str]:
        """Write the code that encodes `x`."""

    @abstractmethod
    def decode(self, out: Source) -> str:
        """Write the code that decodes."""

    def test(self, out: Source, x: str) -> None:
        """Write the code that tests `x`."""
        with out.block(f"if not ({self.normal(out, x)}):"):
            out.line("return False")

    def normal(self, out: Source, x: str) -> str:
        """Return the condition for `x` to be normal, if it fits one expression."""
        return "False"


def read_size(out: Source) -> str:
    """Write the code that reads a length or an index; the case of one byte in place."""
    n = out.assign("b[p]")
    out.line("p += 1")
    with out.block(f"if {n} & 129:"):
        out.line(f"{n}, p = read_length(b, p - 1)")
    with out.block("else:"):
        out.line(f"{n} >>= 1")
    return n


def read_number(out: Source) -> str:
    """Write the code that reads a long; the case of one byte in place."""
    n = out.assign("b[p]")
    out.line("p += 1")
    with out.block(f"if {n} & 128:"):
        out.line(f"{n}, p = read_long(b, p - 1)")
    with out.block("else:"):
        out.line(f"{n} = ({n} >> 1) ^ -({n} & 1)")
    return n


def read_slice(out: Source) -> str:
    """Write the code that reads a length and that many bytes. A slice past the end is noticed when `p` is compared at the end."""
    n = read_size(out)
    out.line(f"{n} += p")
    piece = out.assign(f"b[p:{n}]")
    out.line(f"p = {n}")
    return piece


def sized(out: Source, piece: str) -> list[str]:
    """Write the code that measures `piece`; return it with its length in front."""
    n = out.assign(f"len({piece})")
    return [f"(LENGTHS[{n}] if {n} < 1024 else long_bytes({n}))", piece]


class Text(Kind):
    label = "str"

    def schema(self, scope: Scope) -> Json:
        return "string"

    def encode(self, out: Source, x: str) -> list[str]:
        return sized(out, out.assign(f"{x}.encode()"))

    def decode(self, out: Source) -> str:
        return f"{read_slice(out)}.decode()"

    def normal(self, out: Source, x: str) -> str:
        # Other text may hold lone surrogates; only encoding tells.
        return f"type({x}) is str and {x}.isascii()"


class Bytes(Kind):
    label = "bytes"

    def schema(self, scope: Scope) -> Json:
        return "bytes"

    def json(self, value: Any) -> Json:
        return value.decode("latin-1")

    def encode(self, out: Source, x: str) -> list[str]:
        return sized(out, x)

    def decode(self, out: Source) -> str:
        return read_slice(out)

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is bytes"


class Boolean(Kind):
    label = "bool"

    def schema(self, scope: Scope) -> Json:
        return "boolean"

    def encode(self, out: Source, x: str) -> list[str]:
        return [f"(b'\\x01' if {x} is True else b'\\x00' if {x} is False else refuse('not a bool'))"]

    def decode(self, out: Source) -> str:
        n = out.assign("b[p]")
        out.line("p += 1")
        return f"({n} == 1 if {n} < 2 else refuse('not a boolean'))"

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is bool"


class Integer(Kind):
    """An int of 64 or 32 bits. A bool is not one, although Python says so."""

    def __init__(self, bits: int) -> None:
        self.label = f"int of {bits} bits"
        self._bits = bits
        self._low, self._high = -(1 << bits - 1), 1 << bits - 1

    def schema(self, scope: Scope) -> Json:
        return "long" if self._bits == 64 else "int"

    def encode(self, out: Source, x: str) -> list[str]:
        small = f"LENGTHS[{x}] if 0 <= {x} < 1024 else long_bytes({x})"
        return [f"(({small}) if type({x}) is int and {self._low} <= {x} < {self._high} else refuse('not such an int'))"]

    def decode(self, out: Source) -> str:
        n = read_number(out)
        return n if self._bits == 64 else f"({n} if {self._low} <= {n} < {self._high} else refuse('not an int'))"

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is int and {self._low} <= {x} < {self._high}"


class Float(Kind):
    label = "float"

    def __init__(self, name: str) -> None:
        self._name = name  # "double" or "float"
        self._size = 8 if name == "double" else 4

    def schema(self, scope: Scope) -> Json:
        return self._name

    def encode(self, out: Source, x: str) -> list[str]:
        return [f"pack_{self._name}({x} if {x} == {x} else NAN)"]  # of all NaNs, one

    def decode(self, out: Source) -> str:
        value = out.assign(f"read_{self._name}(b, p)[0]")
        out.line(f"p += {self._size}")
        return value

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is float" if self._name == "double" else "False"  # 32 bits round


class Number(Kind):
    """A Decimal of fixed precision and scale."""

    def __init__(self, precision: int, scale: int) -> None:
        self.label = f"Decimal of {precision} digits, {scale} of them after the point"
        self._precision, self._scale = precision, scale
        self._bound = 10**precision

    def schema(self, scope: Scope) -> Json:
        return {"type": "bytes", "logicalType": "decimal", "precision": self._precision, "scale": self._scale}

    def json(self, value: Any) -> Json:
        return decimal_bytes(value, self._scale, self._bound).decode("latin-1")

    def encode(self, out: Source, x: str) -> list[str]:
        scaled = out.assign(f"wide_scaleb({x}, {self._scale}) if type({x}) is Decimal else refuse('not a Decimal')")
        i = out.assign(f"int({scaled})")
        with out.block(f"if {i} != {scaled} or not -{self._bound} < {i} < {self._bound}:"):
            out.line("refuse('too many digits')")
        n = out.assign(f"(({i} if {i} >= 0 else ~{i}).bit_length() + 8) >> 3")  # ≤ 17 bytes, so the length is always one byte
        return [f"LENGTHS[{n}]", f"{i}.to_bytes({n}, 'big', signed=True)"]

    def decode(self, out: Source) -> str:
        unit = out.constant(Decimal(1).scaleb(-self._scale))
        i = out.assign(f"from_bytes({read_slice(out)}, 'big', signed=True)")
        with out.block(f"if not -{self._bound} < {i} < {self._bound}:"):
            out.line("refuse('too many digits')")
        return f"wide_multiply({i}, {unit})"

    def normal(self, out: Source, x: str) -> str:
        unit, bound = out.constant(Decimal(1).scaleb(-self._scale)), out.constant(Decimal(self._bound).scaleb(-self._scale))
        # A negative zero loses its sign in Avro.
        return f"type({x}) is Decimal and {x}.same_quantum({unit}) and ({x}.copy_abs() < {bound} if {x} else not {x}.is_signed())"


class Moment(Kind):
    """A datetime, date or time of day in microseconds or days; `name` is the Python type's."""

    _FORMS: ClassVar[dict[str, tuple[str, str, str, Callable[[Any], int], str]]] = {
        "datetime": ("long", "timestamp-micros", "datetime_micros", datetime_micros, "type({x}) is datetime and {x}.tzinfo is UTC"),
        "date": ("int", "date", "date_days", date_days, "type({x}) is date"),
        "time": ("long", "time-micros", "time_micros", time_micros, "type({x}) is time and {x}.tzinfo is None"),
    }

    def __init__(self, name: str) -> None:
        self.label = "datetime with a time zone" if name == "datetime" else name
        self._name = name
        self._base, self._logical, self._writer, self._number, self._normal = self._FORMS[name]

    def schema(self, scope: Scope) -> Json:
        return {"type": self._base, "logicalType": self._logical}

    def json(self, value: Any) -> Json:
        return self._number(value)

    def encode(self, out: Source, x: str) -> list[str]:
        return [f"long_bytes({self._writer}({x}))"]

    def decode(self, out: Source) -> str:
        return f"read_{self._name}({read_number(out)})"

    def normal(self, out: Source, x: str) -> str:
        return self._normal.format(x=x)


class Uuid(Kind):
    label = "UUID"

    def schema(self, scope: Scope) -> Json:
        return {"type": "string", "logicalType": "uuid"}

    def json(self, value: Any) -> Json:
        return str(value)

    def encode(self, out: Source, x: str) -> list[str]:
        uuid = out.constant(UUID)
        return sized(out, out.assign(f"str({x}).encode() if type({x}) is {uuid} else refuse('not a UUID')"))

    def decode(self, out: Source) -> str:
        return f"{out.constant(UUID)}({read_slice(out)}.decode())"

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is {out.constant(UUID)}"


class Choice(Kind):
    """A Python Enum; its members' names are the symbols."""

    def __init__(self, cls: type[Enum], namespace: str, doc: str) -> None:
        self.label = cls.__name__
        self._cls, self._namespace, self._doc = cls, namespace, doc

    def schema(self, scope: Scope) -> Json:
        reference = scope.reference(self._namespace, self.label)
        if reference:
            return reference
        return {**scope.head("enum", self._namespace, self.label, self._doc), "symbols": [member.name for member in self._cls]}

    def json(self, value: Any) -> Json:
        return self._cls(value).name

    def encode(self, out: Source, x: str) -> list[str]:
        # Comparing identities: looking a member up in a dict calls Enum.__hash__, which is Python and slow.
        code = "refuse('no member')"
        for index, member in reversed(list(enumerate(self._cls))):
            code = f"{length_bytes(index)!r} if {x} is {out.constant(member)} else {code}"
        return [f"({code})"]

    def decode(self, out: Source) -> str:
        return f"{out.constant(tuple(self._cls))}[{read_size(out)}]"

    def normal(self, out: Source, x: str) -> str:
        return f"type({x}) is {out.constant(self._cls)}"
