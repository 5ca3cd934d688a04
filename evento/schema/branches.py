"""Which type of a union a plain JSON value means, as far as the schema alone can say.

A value is written plain when it fits one type only, and is read so. Where plain values of one type could be taken for another,
the name of the type stands around them: `{"bank.Cash": {"amount": "5.00"}}`. With at most one type beside null there is no tag.
"""

from evento.schema.node import Array, Enum, Fixed, Map, Node, Primitive, Record, Union, branch_name, is_null, null_index


def tags(union: Union) -> tuple[str, ...]:
    """Return the name of each type, or nothing when at most one is not null."""
    if sum(not is_null(branch) for branch in union.branches) < 2:
        return ()
    return tuple(map(branch_name, union.branches))


def is_tagged(value: object, names: tuple[str, ...]) -> bool:
    """Return whether a JSON value names its type: an object whose only key is the name of one."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in names


def needs_tag(union: Union, index: int) -> bool:
    """Return whether a plain value of this type could be taken for another one of the union, or for a tag."""
    branch, names = union.branches[index], tags(union)
    if not names or is_null(branch):
        return False
    if isinstance(branch, Map) or (isinstance(branch, Record) and len(branch.fields) == 1 and branch.fields[0].name in names):
        return True
    others = [other for other in union.branches if other is not branch]
    return any(_could_be(branch, other, with_integer=has_integer(union)) for other in others)


def has_integer(union: Union) -> bool:
    """Return whether a JSON integer means an int or long of this union rather than its floats and decimals."""
    return any(isinstance(branch, Primitive) and branch.kind in ("int", "long") and not branch.logical for branch in union.branches)


def _could_be(source: Node, target: Node, *, with_integer: bool) -> bool:
    """Return whether what is written for `source` might be read as `target`."""
    if isinstance(source, Record) and isinstance(target, Record):
        written, known = {field.name for field in source.fields}, {field.name for field in target.fields}
        required = {field.name for field in target.fields if field.default is None and null_index(field.type) is None}
        return required <= written <= known
    accepted = _written(target) | _also_read(target)
    if with_integer and "int" not in _written(target):
        accepted -= {"int"}
    return not _written(source).isdisjoint(accepted)


def _written(node: Node) -> set[str]:
    """Return the JSON shapes in which values of a type are written. Floats as text (NaN) are always tagged, so not counted."""
    match node:
        case Record() | Map():
            return {"object"}
        case Array():
            return {"list"}
        case Primitive(kind="null" | "boolean" as kind):
            return {kind}
        case Primitive(kind="int" | "long", logical=None):
            return {"int"}
        case Primitive(kind="float" | "double"):
            return {"float"}
        case _:
            return {"text"}


def _also_read(node: Node) -> set[str]:
    """Return the JSON shapes in which values of a type may be given besides."""
    match node:
        case Primitive(kind="float" | "double"):
            return {"int"}
        case Primitive(kind="bytes", logical=logical) | Fixed(logical=logical) if logical and logical.name == "decimal":
            return {"int", "float"}
        case Fixed(logical=logical) if logical and logical.name == "duration":
            return {"object"}
        case Enum() | _:
            return set()
