"""YAML text to plain values with their lines: YAML 1.2's JSON-like core and nothing beyond it.

`NO`, `yes` and `2024-01-01` are text. Refused, because they surprise or explode: duplicate keys, keys that are not text, anchors,
aliases, tags, and more depth or values than the limits. Knows nothing of manifests.
"""

import math
import re
from collections.abc import Iterator

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from evento.registry.documents import ValuePath
from evento.registry.limits import DEPTH_MAX, DOCUMENTS_MAX, NODES_MAX

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_CHARACTERS_MAX = 40


class YamlDocument(Struct, frozen=True):
    """One document of a stream: its value, and the line (from 1) of every value in it by path."""

    value: object
    lines: dict[ValuePath, int]


class YamlRefused(Exception):
    """The text is not YAML, or more than is allowed of it; `line` from 1, 0 if unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class _Builder:
    """Builds the values of one document from events, without recursion."""

    def __init__(self) -> None:
        self.lines: dict[ValuePath, int] = {}
        self.value: object = None
        self._open: list[tuple[ValuePath, dict[str, object] | list[object]]] = []
        self._key: list[str | None] = []

    def take(self, event: Event) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._open.pop()
            self._key.pop()
            return
        _refuse_surprises(event, line)
        if isinstance(event, ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, MappingStartEvent):
            self._container({}, line)
        elif isinstance(event, SequenceStartEvent):
            self._container([], line)

    def _scalar(self, event: ScalarEvent, line: int) -> None:
        if self._open and isinstance(self._open[-1][1], dict) and self._key[-1] is None:
            key = _scalar_value(event, line)
            if not isinstance(key, str):
                raise YamlRefused(f"the key {event.value[:80]!r} must be text: quote it", line)
            if key in self._open[-1][1]:
                raise YamlRefused(f"the key {key[:80]!r} stands here twice", line)
            self._key[-1] = key
        else:
            self._place(_scalar_value(event, line), line)

    def _container(self, value: dict[str, object] | list[object], line: int) -> None:
        path = self._place(value, line)
        if len(self._open) >= DEPTH_MAX:
            raise YamlRefused(f"nested more than {DEPTH_MAX} deep", line)
        self._open.append((path, value))
        self._key.append(None)

    def _place(self, value: object, line: int) -> ValuePath:
        path: ValuePath = ()
        if not self._open:
            self.value = value
        else:
            base, parent = self._open[-1]
            if isinstance(parent, list):
                path = (*base, len(parent))
                parent.append(value)
            else:
                key = self._key[-1]
                if key is None:
                    raise YamlRefused("a key must be text", line)
                path = (*base, key)
                parent[key] = value
                self._key[-1] = None
        self.lines[path] = line
        return path


def read_yaml(text: str) -> list[YamlDocument]:
    """Return the documents of a YAML text, without the empty ones. Raises YamlRefused."""
    try:
        return list(_read(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise YamlRefused(f"is not YAML: {what}", mark.line + 1 if mark else 0) from error
    except (YAMLError, ValueError, AttributeError, RecursionError) as error:
        raise YamlRefused(f"is not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error


def _read(text: str) -> Iterator[YamlDocument]:
    builder = _Builder()
    nodes = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, DocumentStartEvent):
            builder = _Builder()
            documents += 1
            if documents > DOCUMENTS_MAX:
                raise YamlRefused(f"more than {DOCUMENTS_MAX} documents", event.start_mark.line + 1)
        elif isinstance(event, DocumentEndEvent):
            if builder.value is not None:
                yield YamlDocument(builder.value, builder.lines)
        elif isinstance(event, NodeEvent | MappingEndEvent | SequenceEndEvent):
            nodes += 1
            if nodes > 2 * NODES_MAX:
                raise YamlRefused(f"more than {NODES_MAX} values", event.start_mark.line + 1)
            builder.take(event)


def _refuse_surprises(event: Event, line: int) -> None:
    if isinstance(event, AliasEvent):
        raise YamlRefused(f"aliases are not allowed: write out what *{event.anchor} stands for", line)
    if not isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
        return
    if event.anchor is not None:
        raise YamlRefused(f"anchors are not allowed: &{event.anchor}", line)
    implicit = event.implicit if isinstance(event.implicit, tuple) else (event.implicit,)
    if not any(implicit):
        raise YamlRefused(f"tags are not allowed: {event.tag}", line)


def _scalar_value(event: ScalarEvent, line: int) -> object:
    text: str = event.value
    if event.style or not event.implicit[0]:
        return text  # quoted, or a block: text whatever it looks like
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    based = _BASED.fullmatch(text) is not None
    if based or _FLOAT.fullmatch(text):
        return _number(text, based, line)
    return text


def _number(text: str, based: bool, line: int) -> int | float:
    if len(text) <= _NUMBER_CHARACTERS_MAX:
        if based:
            return int(text, 0)
        number = int(text) if _INTEGER.fullmatch(text) else float(text)
        if math.isfinite(number):
            return number
    raise YamlRefused(f"the number {text[:80]} is out of range", line)
