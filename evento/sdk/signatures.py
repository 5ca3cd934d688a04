"""Reads what a handle's or an apply's annotations say: parameters, and the events that a handle may return."""

import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args, get_origin

from evento.sdk.context import Context
from evento.sdk.errors import DeclarationError
from evento.sdk.types import hints_of


class Signature(NamedTuple):
    """The types of a function's parameters and of what it returns, each as the list of its alternatives."""

    subject: list[Any]
    state: list[Any]
    returns: list[Any]
    wants_context: bool
    is_async: bool


def read(function: Callable[..., Any], *, context_allowed: bool) -> Signature:
    """Return the signature of a handle or apply. Raises DeclarationError if it is not one."""
    name = function.__qualname__
    hints = hints_of(function, name)
    parameters = list(inspect.signature(function).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    counts = (2, 3) if context_allowed else (2,)
    if len(parameters) not in counts or any(parameter.kind not in kinds for parameter in parameters):
        third = ", and if wanted the context" if context_allowed else "; what else an apply needs belongs into the event"
        raise DeclarationError(f"{name}: takes {len(parameters)} parameters; it must take two{third}")
    for parameter in [*(parameter.name for parameter in parameters), "return"]:
        if parameter not in hints:
            raise DeclarationError(f"{name}: {parameter!r} has no annotation; annotations are the declaration")
    types_of = [hints[parameter.name] for parameter in parameters]
    if len(types_of) == 3 and types_of[2] is not Context:
        raise DeclarationError(f"{name}: the third parameter must be a Context, not {types_of[2]!r}")
    return Signature(
        alternatives(types_of[0]),
        alternatives(types_of[1]),
        alternatives(hints["return"]),
        len(types_of) == 3,
        inspect.iscoroutinefunction(function),
    )


def alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union; the annotation itself if it is none. None stands for the type of None."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [None if member is type(None) else member for member in get_args(annotation)]
    return [None if annotation is type(None) else annotation]


def event_classes(returns: list[Any], name: str) -> list[Any]:
    """Return the classes a handle may return, alone or in a list or tuple. Raises DeclarationError for None."""
    found: list[Any] = []
    for member in returns:
        if member is None:
            raise DeclarationError(f"{name}: returns None; every Command ends in at least one event, a refusal too")
        inner = [member]
        if get_origin(member) in (list, tuple, Sequence):
            inner = [one for part in get_args(member) if part is not ... for one in alternatives(part)]
        found += [one for one in inner if one not in found]
    return found
