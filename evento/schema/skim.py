"""The quick guard: one Python function per schema, generated once, that walks canonical bytes and says yes or no.

A payload is read in one pass, as bytes, without a decoder that would trust them; on the way the plain JSON value is built, when
one is wanted. It says no by an exception of QUICK_ERRORS and never why: `evento.schema.normal` finds the place. Sizes need no
check of their own: whoever reads past the end meets IndexError, or does not end where the payload ends.

The source that is generated contains nothing from outside but field names that admission has matched as Avro names; every other
constant is handed over in the function's globals. Deep types become functions of their own, so nesting in it stays small.
"""

import struct
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, cast

from evento.schema.binary import DOUBLE, DOUBLE_NAN, FLOAT, FLOAT_NAN, size_tail, zigzag_tail, zigzag_tail_int
from evento.schema.branches import needs_tag, tags
from evento.schema.logical import FORMS, UUID_TEXT, decimal_text, duration_text, uuid_text
from evento.schema.node import Array, Enum, Fixed, Map, Node, Primitive, Record, Union

QUICK_ERRORS = (IndexError, KeyError, ValueError, OverflowError, struct.error)
ONE_BYTE_INDEX_MAX = 63


def compile_check(node: Node) -> Callable[[bytes], None]:
    """Return a function that raises one of QUICK_ERRORS unless the payload is canonical."""
    return cast(Callable[[bytes], None], _Source(render=False).whole(node))


def compile_render(node: Node) -> Callable[[bytes], object]:
    """Return a function that returns the plain JSON value of a canonical payload, or raises one of QUICK_ERRORS."""
    return _Source(render=True).whole(node)


def compile_skip(node: Node) -> Callable[[bytes, int], int]:
    """Return a function that returns the place behind the value that begins at a place."""
    return cast(Callable[[bytes, int], int], _Source(render=False).part(node))


def float_value(number: float, raw: bytes) -> float:
    """Return a 32-bit float as JSON has it: a whole number as it is, another in as few digits as tell it from its neighbours."""
    if number.is_integer():
        return number
    short = float(f"{number:.6g}")
    return short if FLOAT.pack(short) == raw else float(f"{number:.9g}")


def special_value(number: float, raw: bytes) -> str:
    """Return the text for an infinity or the canonical NaN, or raise ValueError for another NaN."""
    if number == number:
        return "Infinity" if number > 0 else "-Infinity"
    if raw not in (FLOAT_NAN, DOUBLE_NAN):
        raise ValueError("not the canonical NaN")
    return "NaN"


class _Source:
    """The source under construction. Locals in it: b the bytes, i the place, n the number just read, j the end of what is read."""

    def __init__(self, *, render: bool) -> None:
        self.render = render
        self.functions: list[str] = []
        self.names: dict[int, str] = {}
        self.scope: dict[str, Any] = {
            "tail": zigzag_tail,
            "tail_int": zigzag_tail_int,
            "size": size_tail,
            "number": int.from_bytes,
            "decimal_text": decimal_text,
            "uuid_text": uuid_text,
            "duration_text": duration_text,
            "is_uuid": UUID_TEXT.fullmatch,
            "base64": b2a_base64,
            "unpack_float": FLOAT.unpack_from,
            "unpack_double": DOUBLE.unpack_from,
            "float_value": float_value,
            "special": special_value,
        }

    # -------------------------------------------------------------- functions
    def whole(self, node: Node) -> Callable[[bytes], object]:
        """Return the function of a whole payload: nothing may be left over."""
        body = [*(self.record(node, "v") if isinstance(node, Record) else self.value(node, "v"))]
        return self.compiled(
            "whole", "b", ["i = 0", *body, "if i != len(b): raise ValueError", "return v" if self.render else "return None"]
        )

    def part(self, node: Node) -> Callable[[bytes, int], object]:
        """Return the function of one value inside a payload."""
        return self.compiled("part", "b, i", [*self.value(node, "v"), "return i"])

    def compiled(self, name: str, parameters: str, body: list[str]) -> Callable[..., object]:
        source = "\n".join([*self.functions, _function(name, parameters, body)])
        exec(compile(source, "<schema>", "exec"), self.scope)  # noqa: S102 - generated from an admitted schema, see above
        return cast(Callable[..., object], self.scope[name])

    def constant(self, value: object) -> str:
        name = f"c{len(self.scope)}"
        self.scope[name] = value
        return name

    def call(self, node: Node, out: str) -> list[str]:
        """Return the call of the node's own function, made on first use."""
        name = self.names.get(id(node))
        if name is None:
            name = self.names[id(node)] = f"f{len(self.names)}"
            makers: dict[type, Callable[[Any], list[str]]] = {Record: self.record_body, Array: self.array_body, Map: self.map_body}
            self.functions.append(_function(name, "b, i", makers[type(node)](node)))
        return [f"{out}, i = {name}(b, i)" if self.render else f"i = {name}(b, i)"]

    # -------------------------------------------------------------- types
    def value(self, node: Node, out: str) -> list[str]:
        match node:
            case Primitive():
                return self.primitive(node, out)
            case Fixed():
                return self.fixed(node, out)
            case Enum():
                table = self.constant({index * 2: symbol for index, symbol in enumerate(node.symbols)})
                return [*_number(), f"{out} = {table}[n]"]
            case Union():
                return self.union(node, out)
            case _:
                return self.call(node, out)

    def primitive(self, node: Primitive, out: str) -> list[str]:
        match node.kind:
            case "null":
                return [f"{out} = None"]
            case "boolean":
                return ["n = b[i]; i += 1", "if n > 1: raise ValueError", f"{out} = n == 1"]
            case "int" | "long":
                return self.integer(node, out)
            case "float" | "double":
                return self.floating(node.kind, out)
            case "string":
                uuid = [f"if not is_uuid({out}): raise ValueError"] if node.logical else []
                return [*_SIZE, f"{out} = b[i:j].decode()", "i = j", *uuid]
            case "bytes":
                if node.logical:
                    minimal = "if (n if n >= 0 else ~n).bit_length() >> 3 != j - i - 1: raise ValueError"
                    read = ['n = number(b[i:j], "big", signed=True)', minimal, *self.decimal(node, out)]
                    return [*_SIZE, *(read if self.render else self.short_decimal(node.logical.precision, read)), "i = j"]
                return [*_SIZE, *self.if_rendered(f"{out} = base64(b[i:j], newline=False).decode()"), "i = j"]

    def integer(self, node: Primitive, out: str) -> list[str]:
        read = _number("tail_int" if node.kind == "int" else "tail")
        if not node.logical:
            return [*read, *self.if_rendered(f"{out} = n >> 1 ^ -(n & 1)")]
        form = FORMS[node.logical.name]
        limits = [f"if not {form.low} <= n <= {form.high}: raise ValueError"]
        return [*read, "n = n >> 1 ^ -(n & 1)", *limits, *self.if_rendered(f"{out} = {self.constant(form.text)}(n)")]

    def floating(self, kind: str, out: str) -> list[str]:
        size = 4 if kind == "float" else 8
        number = f"float_value(n, b[i:i + {size}])" if kind == "float" else "n"
        ordinary = [f"{out} = {number}"] if self.render else ["pass"]
        return [
            f"n, = unpack_{kind}(b, i)",
            "if n - n == 0.0:",
            *_indent(ordinary),
            "else:",
            f"  {out} = special(n, b[i:i + {size}])",
            f"i += {size}",
        ]

    def decimal(self, node: Primitive | Fixed, out: str) -> list[str]:
        logical = node.logical
        if logical is None:
            raise TypeError("not a decimal")
        limit, one, scale = 10**logical.precision, 10**logical.scale, logical.scale
        lines = [f"if not -{limit} < n < {limit}: raise ValueError"]
        if not scale:
            return [*lines, *self.if_rendered(f"{out} = str(n)")]
        quick = f"{out} = str(n); {out} = {out}[:-{scale}] + '.' + {out}[-{scale}:]"
        slow = f"{out} = decimal_text(n, {scale})"
        return [*lines, *self.if_rendered(f"if n >= {one} or n <= -{one}:", "  " + quick, "else:", "  " + slow)]

    def short_decimal(self, precision: int, otherwise: list[str]) -> list[str]:
        """Return the check of a decimal in so few bytes that it is within its precision: then only the first two need a look."""
        short = (10**precision).bit_length() // 8  # bytes, of which all values are
        if not short:
            return otherwise
        padded = "if j - i > 1 and (b[i] == 0 and b[i + 1] < 128 or b[i] == 255 and b[i + 1] > 127): raise ValueError"
        return [f"if 0 < j - i <= {short}:", *_indent([padded]), "else:", *_indent(otherwise)]

    def fixed(self, node: Fixed, out: str) -> list[str]:
        end = f"j = i + {node.size}"
        match node.logical.name if node.logical else None:
            case "decimal":
                return [end, 'n = number(b[i:j], "big", signed=True)', "i = j", *self.decimal(node, out)]
            case "uuid":
                text = "uuid_text(b[i:j])"
            case "duration":
                text = "duration_text(b[i:j])"
            case _:
                text = "base64(b[i:j], newline=False).decode()"
        return [end, *self.if_rendered(f"{out} = {text}"), "i = j"]

    def union(self, node: Union, out: str) -> list[str]:
        lines = _number() if len(node.branches) > ONE_BYTE_INDEX_MAX else ["n = b[i]; i += 1"]
        names = tags(node)
        for index, branch in enumerate(node.branches):
            lines += [f"{'el' if index else ''}if n == {index * 2}:", *_indent(self.value(branch, out))]
            if not self.render or not names:
                continue
            tag = f"{out} = {{{self.constant(names[index])}: {out}}}"
            if needs_tag(node, index):
                lines.append("  " + tag)
            elif isinstance(branch, Primitive) and branch.kind in ("float", "double"):
                lines.append(f"  if type({out}) is str: {tag}")
        return [*lines, "else: raise ValueError"]

    def record(self, node: Record, out: str) -> list[str]:
        lines = []
        for index, field in enumerate(node.fields):
            lines += self.value(field.type, f"{out}{index}")
        pairs = ", ".join(f"{field.name!r}: {out}{index}" for index, field in enumerate(node.fields))
        return [*lines, *self.if_rendered(f"{out} = {{{pairs}}}")]

    def record_body(self, node: Record) -> list[str]:
        return [*self.record(node, "v"), self.returned("v")]

    def array_body(self, node: Array) -> list[str]:
        """Return the body for an array: each item takes at least a byte, so a count beyond what is left is a lie."""
        item = self.value(node.items, "v")
        return [
            *_number(),
            "a = []",
            f"if n == 0: {self.returned('a')}",
            "if n & 1 or n >> 1 > len(b) - i: raise ValueError",
            "for _ in range(n >> 1):",
            *_indent([*item, *self.if_rendered("a.append(v)")]),
            "if b[i]: raise ValueError",
            "i += 1",
            self.returned("a"),
        ]

    def map_body(self, node: Map) -> list[str]:
        item = self.value(node.values, "v")
        return [
            *_number(),
            "a = {}",
            f"if n == 0: {self.returned('a')}",
            "if n & 1 or n >> 1 > len(b) - i: raise ValueError",
            "last = None",
            "for _ in range(n >> 1):",
            *_indent([*_SIZE, "k = b[i:j].decode()", "i = j", "if last is not None and k <= last: raise ValueError", "last = k"]),
            *_indent([*item, *self.if_rendered("a[k] = v")]),
            "if b[i]: raise ValueError",
            "i += 1",
            self.returned("a"),
        ]

    # -------------------------------------------------------------- words
    def if_rendered(self, *lines: str) -> list[str]:
        return list(lines) if self.render else []

    def returned(self, out: str) -> str:
        return f"return {out}, i" if self.render else "return i"


_SIZE = ["n = b[i]; i += 1", "if n & 129: n, i = size(b, i, n)", "j = i + (n >> 1)"]


def _number(tail: str = "tail") -> list[str]:
    return ["n = b[i]; i += 1", f"if n > 127: n, i = {tail}(b, i, n)"]


def _indent(lines: list[str]) -> list[str]:
    return ["  " + line for line in lines]


def _function(name: str, parameters: str, body: list[str]) -> str:
    return "\n".join([f"def {name}({parameters}):", *_indent(body)])
