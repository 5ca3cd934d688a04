"""Plain JSON, as a person writes it, to canonical Avro: one small function per type, composed once per schema.

The value is already parsed. What Avro's own JSON encoding has and people do not (tags on optional fields, numbers for dates) is
not understood. A union takes the one type that the value fits; when several fit, the value must name its type (see `branches`).
"""

from collections.abc import Mapping

from evento.schema.binary import encode_long
from evento.schema.branches import has_integer, is_tagged, tags
from evento.schema.leaves import Encode, encode_enum, encode_fixed, encode_primitive, encode_string, listed, only_null
from evento.schema.node import Array, Enum, Field, Fixed, Map, Node, Primitive, Record, Union, null_index
from evento.schema.unfit import Unfit

# Defaults can make few bytes of JSON many bytes of Avro; a list or map stops growing here, far above every payload limit.
COLLECTION_BYTES_MAX = 4 * 1024 * 1024
_MISSING = object()


def compile_encode(node: Node) -> Encode:
    """Return the function from a plain JSON value to canonical Avro; it raises Unfit."""
    return _Encoders().of(node)


class _Encoders:
    """The functions of a schema; a type that is used twice has one."""

    def __init__(self) -> None:
        self.made: dict[int, Encode] = {}

    def of(self, node: Node) -> Encode:
        encode = self.made.get(id(node))
        if encode is None:
            encode = self.made[id(node)] = self.make(node)
        return encode

    def make(self, node: Node) -> Encode:
        match node:
            case Primitive():
                return encode_primitive(node)
            case Fixed():
                return encode_fixed(node)
            case Enum():
                return encode_enum(node)
            case Array():
                return _array(self.of(node.items))
            case Map():
                return _map(self.of(node.values))
            case Record():
                return _record([(field.name, self.of(field.type), _absent(field)) for field in node.fields])
            case Union():
                return self.union(node)

    def union(self, node: Union) -> Encode:
        null, names = null_index(node), tags(node)
        if names:
            return _choice(node, [self.of(branch) for branch in node.branches])
        others = [index for index in range(len(node.branches)) if index != null]
        if not others:
            return only_null(encode_long(0))
        return _optional(encode_long(others[0]), self.of(node.branches[others[0]]), None if null is None else encode_long(null))


# ------------------------------------------------------------------ types with parts
def _absent(field: Field) -> bytes | None:
    """Return what stands for a field that is left out: its default, or null; None when it must not be left out."""
    if field.default is not None:
        return field.default
    null = null_index(field.type)
    if null is not None:
        return encode_long(null)
    return b"" if isinstance(field.type, Primitive) and field.type.kind == "null" else None


def _record(fields: list[tuple[str, Encode, bytes | None]]) -> Encode:
    def encode(value: object) -> bytes:
        if not isinstance(value, dict):
            raise Unfit("must be an object", value)
        parts, given = [], 0
        for name, encode_field, absent in fields:
            item = value.get(name, _MISSING)
            if item is not _MISSING:
                given += 1
                try:
                    parts.append(encode_field(item))
                except Unfit as unfit:
                    unfit.steps.append("." + name)
                    raise
            elif absent is not None:
                parts.append(absent)
            else:
                raise _at("." + name, Unfit("must not be left out"))
        if given != len(value):
            raise _unknown(value, [name for name, _, _ in fields])
        return b"".join(parts)

    return encode


def _unknown(value: Mapping[object, object], known: list[str]) -> Unfit:
    name = next(name for name in value if name not in known)
    return _at(
        f".{str(name)[:60]}",
        Unfit(f"is not a field here; the fields are {listed(known)}" if known else "is not a field: there are none"),
    )


def _array(encode_item: Encode) -> Encode:
    def encode(value: object) -> bytes:
        if not isinstance(value, list):
            raise Unfit("must be a list", value)
        if not value:
            return b"\0"
        parts, size = [encode_long(len(value))], 0
        for index, item in enumerate(value):
            try:
                part = encode_item(item)
                size = _grown(size, part)
            except Unfit as unfit:
                unfit.steps.append(f"[{index}]")
                raise
            parts.append(part)
        parts.append(b"\0")
        return b"".join(parts)

    return encode


def _map(encode_value: Encode) -> Encode:
    def encode(value: object) -> bytes:
        if not isinstance(value, dict):
            raise Unfit("must be an object", value)
        if not value:
            return b"\0"
        parts, size = [encode_long(len(value))], 0
        if not all(type(key) is str for key in value):
            raise Unfit("must have text keys", value)
        for key in sorted(value):
            try:
                part = encode_string(key) + encode_value(value[key])
                size = _grown(size, part)
            except Unfit as unfit:
                unfit.steps.append(f"[{str(key)[:60]!r}]")
                raise
            parts.append(part)
        parts.append(b"\0")
        return b"".join(parts)

    return encode


def _grown(size: int, part: bytes) -> int:
    size += len(part)
    if size > COLLECTION_BYTES_MAX:
        raise Unfit(f"must stay within {COLLECTION_BYTES_MAX} bytes, defaults included")
    return size


# ------------------------------------------------------------------ unions
def _optional(prefix: bytes, encode_some: Encode, null: bytes | None) -> Encode:
    def encode(value: object) -> bytes:
        if value is None and null is not None:
            return null
        return prefix + encode_some(value)

    return encode


def _choice(node: Union, encoders: list[Encode]) -> Encode:
    names, whole = tags(node), has_integer(node)
    branches = [
        (name, encode_long(index), _narrowed(node.branches[index], encoders[index], whole)) for index, name in enumerate(names)
    ]
    tagged = {name: (encode_long(index), encoders[index]) for index, name in enumerate(names)}

    def encode(value: object) -> bytes:
        if is_tagged(value, names) and isinstance(value, dict):
            name, item = next(iter(value.items()))
            prefix, encode_branch = tagged[name]
            try:
                return prefix + encode_branch(item)
            except Unfit as unfit:
                unfit.steps.append("." + name)
                raise
        fits, tried = [], []
        for name, prefix, encode_branch in branches:
            try:
                fits.append((name, prefix + encode_branch(value)))
            except Unfit as unfit:
                tried.append(f"{name} ({unfit.path} {unfit.sentence})" if unfit.steps else f"{name} ({unfit.rule})")
        if len(fits) == 1:
            return fits[0][1]
        if fits:
            raise Unfit(f"fits {listed([name for name, _ in fits])}: name the type, as {{{fits[0][0]!r}: …}}", value)
        raise Unfit(f"fits no type of the union; tried {'; '.join(tried)}"[:1000], value)

    return encode


def _narrowed(branch: Node, encode_branch: Encode, whole: bool) -> Encode:
    """Return the function for untagged values: whole numbers go to int and long first, and text never to a float."""
    floating = isinstance(branch, Primitive) and branch.kind in ("float", "double")
    integer = isinstance(branch, Primitive) and branch.kind in ("int", "long") and not branch.logical

    def encode(value: object) -> bytes:
        if type(value) is int and whole and not integer:
            raise Unfit("whole numbers are taken by another type of the union")
        if floating and type(value) is str:
            raise Unfit("must be a number")
        return encode_branch(value)

    return encode if floating or (whole and not integer) else encode_branch


def _at(step: str, unfit: Unfit) -> Unfit:
    unfit.steps.append(step)
    return unfit
