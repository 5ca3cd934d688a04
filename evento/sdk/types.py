"""From annotations to kinds: which Avro type a Python type stands for, and the markers that say what Python's types cannot."""

import re
import types
import typing
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence as AbstractSequence
from dataclasses import MISSING, fields, is_dataclass
from dataclasses import dataclass as _dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from inspect import cleandoc
from typing import Annotated, Any, NamedTuple, get_args, get_origin
from uuid import UUID

from evento.sdk.compound import Field, Mapping, Record, Sequence, Union
from evento.sdk.errors import DeclarationError
from evento.sdk.kinds import Boolean, Bytes, Choice, Float, Integer, Kind, Moment, Number, Scope, Text, Uuid

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRECISION_MAX = 38


@_dataclass(frozen=True)
class Precision:
    """`Annotated[Decimal, Precision(18, 2)]`: at most 18 digits, 2 of them after the point."""

    precision: int
    scale: int = 0


class Int32:
    """`Annotated[int, Int32]`: Avro's int; a plain int is a long."""


class Float32:
    """`Annotated[float, Float32]`: Avro's float; a plain float is a double."""


_PLAIN: dict[Any, Kind] = {
    str: Text(),
    bytes: Bytes(),
    bool: Boolean(),
    int: Integer(64),
    float: Float("double"),
    UUID: Uuid(),
    datetime: Moment("datetime"),
    date: Moment("date"),
    time: Moment("time"),
}


class _Place(NamedTuple):
    """Where in a declaration we are: for messages, and for what the names of nested types need."""

    path: str
    namespace: str
    within: tuple[type, ...]

    def wrong(self, rule: str) -> DeclarationError:
        return DeclarationError(f"{self.path}: {rule}")

    def below(self, step: str) -> "_Place":
        return self._replace(path=self.path + step)


def record_of(cls: type, name: str, namespace: str, nested_namespace: str) -> Record:
    """Return the record that a dataclass declares.

    `namespace` is the Avro namespace of its own name, `nested_namespace` that of the dataclasses and enums among its fields.
    Raises DeclarationError with the path of the field.
    """
    record = _record(cls, _Place(cls.__name__, nested_namespace, ()))
    record.name, record.namespace = name, namespace
    return record


def doc_of(cls: type) -> str:
    """Return a class's docstring, "" if it has only the signature that `dataclass` puts there."""
    doc = vars(cls).get("__doc__") or ""
    return "" if doc.startswith(f"{cls.__name__}(") or (issubclass(cls, Enum) and doc == Enum.__doc__) else cleandoc(doc)


def hints_of(owner: Any, path: str) -> dict[str, Any]:
    """Return the annotations of a class or function, resolved. Raises DeclarationError for a name that means nothing."""
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError as error:
        raise DeclarationError(f"{path}: annotation {error.name!r} is not defined where {path} is") from error


def _record(cls: type, place: _Place) -> Record:
    if cls in place.within:
        raise place.wrong(f"{cls.__name__} contains itself; recursive types are not supported")
    if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise place.wrong(f"{cls.__name__} must be @dataclass(frozen=True): handle and apply are pure")
    inner = place._replace(within=(*place.within, cls))
    hints = hints_of(cls, cls.__name__)
    found = []
    for item in fields(cls):
        here = inner.below(f".{item.name}")
        if not item.init:
            raise here.wrong("init=False is not supported: an object is made of its fields and nothing else")
        if not _NAME.fullmatch(item.name):
            raise here.wrong("Avro allows only ASCII letters, digits and underscores in names")
        found.append(_field(item, hints[item.name], here))
    return Record(cls, cls.__name__, place.namespace, doc_of(cls), found)


def _field(item: Any, annotation: Any, place: _Place) -> Field:
    kind = kind_of(annotation, place)
    if item.default is MISSING and item.default_factory is MISSING:
        return Field(item.name, kind)
    default = item.default_factory() if item.default is MISSING else item.default
    if isinstance(kind, Union):
        kind.put_first(default)
    field = Field(item.name, kind, default)
    try:
        field.schema(Scope())
    except Exception as error:  # the author's value met the kind's own code
        raise place.wrong(f"the default {default!r} is not a {kind.label}") from error
    return field


def kind_of(annotation: Any, place: _Place) -> Kind:
    """Return the kind for one annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _marked(arguments[0], arguments[1:], place)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, place)
    if origin in (list, tuple, AbstractSequence):
        return _sequence(origin, arguments, place)
    if origin in (dict, AbstractMapping):
        if arguments[0] is not str:
            raise place.wrong("a dict's keys must be str, as in Avro")
        return Mapping(kind_of(arguments[1], place.below("{}")))
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choice(annotation, place)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _record(annotation, place)
    if annotation is Decimal:
        raise place.wrong("say how many digits: Annotated[Decimal, Precision(18, 2)]")
    raise place.wrong(f"no Avro type stands for {annotation!r}")


def _marked(base: Any, markers: tuple[Any, ...], place: _Place) -> Kind:
    for marker in markers:
        if isinstance(marker, Precision) and base is Decimal:
            if not 0 < marker.precision <= _PRECISION_MAX or not 0 <= marker.scale <= marker.precision:
                raise place.wrong(f"1 to {_PRECISION_MAX} digits, of which 0 to all stand after the point; not {marker}")
            return Number(marker.precision, marker.scale)
        if marker is Int32 and base is int:
            return Integer(32)
        if marker is Float32 and base is float:
            return Float("float")
        if marker in (Int32, Float32) or isinstance(marker, Precision):
            raise place.wrong(f"{marker!r} does not go with {base!r}")
    return kind_of(base, place)


def _sequence(origin: Any, arguments: tuple[Any, ...], place: _Place) -> Kind:
    if origin is tuple and (len(arguments) != 2 or arguments[1] is not ...):
        raise place.wrong("a tuple must be of any length: tuple[X, ...]")
    item = kind_of(arguments[0], place.below("[]"))
    if isinstance(item, Record) and not item.fields:
        raise place.wrong("a list of a class without fields: its items would take no bytes, which Evento refuses")
    return Sequence(list if origin is list else tuple, item)


def _union(arguments: tuple[Any, ...], place: _Place) -> Kind:
    branches: list[tuple[type, Kind | None]] = []
    for argument in sorted(arguments, key=lambda argument: argument is not type(None)):
        kind = None if argument is type(None) else kind_of(argument, place)
        cls = get_args(argument)[0] if get_origin(argument) is Annotated else argument
        cls = get_origin(cls) or cls
        branches.append((cls if isinstance(cls, type) else type(None), kind))
    names = [str(_branch_name(kind)) for _, kind in branches]
    if len(set(names)) != len(names):
        raise place.wrong(f"two of the branches are one and the same in Avro: {', '.join(names)}")
    return Union(branches)


def _branch_name(kind: Kind | None) -> Any:
    if kind is None:
        return "null"
    schema = kind.schema(Scope())
    if isinstance(schema, dict):
        return f"{schema.get('namespace')}.{schema['name']}" if "name" in schema else schema["type"]
    return schema


def _choice(cls: type[Enum], place: _Place) -> Kind:
    wrong = [member.name for member in cls if not _NAME.fullmatch(member.name)]
    if wrong or not len(cls):
        raise place.wrong(f"{cls.__name__}: an Avro enum needs members, with names of ASCII letters, digits and underscores")
    return Choice(cls, place.namespace, doc_of(cls))
