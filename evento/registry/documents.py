"""Manifest documents as they were read, where each of their lines stood, and what is wrong with them.

A document is plain JSON values; which fields a resource has is `evento.registry.models`' matter.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from evento.registry.limits import DEPTH_MAX, DOCUMENTS_MAX, NODES_MAX, VALUE_CHARACTERS_MAX

ValuePath = tuple[str | int, ...]
_SURROGATE = re.compile("[\ud800-\udfff]")


class Problem(Struct, frozen=True, omit_defaults=True):
    """One reason why a deployment is refused: the rule as a sentence, and where it is broken.

    `path` is the field (`spec.retry.cap`), `value` what stands there, `resource` its name (`Command bank/WithdrawCash`),
    `document` its place in the file and `line` the line there, both from 1; 0 where there is none.
    """

    message: str
    path: str = ""
    value: str = ""
    resource: str = ""
    file: str = ""
    document: int = 0
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        if not place and self.document:
            place = f"document {self.document}"
        subject = ", ".join(part for part in (self.resource, self.path) if part)
        got = f" (got {self.value})" if self.value else ""
        return ": ".join(part for part in (place, subject, self.message + got) if part)


class Origin(Struct, frozen=True):
    """Where a document stands. `lines` has the line of each value, by path; empty when it did not come from a file of lines."""

    file: str = ""
    document: int = 0
    lines: Mapping[ValuePath, int] = {}

    def line(self, path: ValuePath) -> int:
        """Return the line of the value at `path`, or of the nearest value around it that has one; 0 if none has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, message: str, path: ValuePath = (), *, resource: str = "", within: str = "", value: object = None) -> Problem:
        """Return a problem of this document; `within` is the path inside a schema that stands at `path`."""
        return Problem(
            message=message,
            path=path_text(path) + (f" {within}" if within and path else within),
            value="" if value is None else shown(value),
            resource=resource,
            file=self.file,
            document=self.document,
            line=self.line(path),
        )


class Document(Struct, frozen=True):
    """One manifest document. `schema_refused`: its schema's file could not be read, and that is among the problems already."""

    content: Mapping[str, object]
    origin: Origin = Origin()
    schema_refused: bool = False


class Documents(Struct, frozen=True):
    """What was read, and what could not be. Self-contained: schemas stand inside, directories are absolute."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def contents(self) -> list[Mapping[str, object]]:
        """Return the documents as JSON values: what is sent to a platform elsewhere, and read there by `documents_of`."""
        return [document.content for document in self.documents]


def function_name(document: Document) -> str:
    """Return `namespace/name` of a document that declares a Function, "" for any other."""
    metadata = document.content.get("metadata")
    if document.content.get("kind") != "Function" or not isinstance(metadata, dict):
        return ""
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def documents_of(contents: object, *, file: str = "") -> Documents:
    """Return the documents in a list of JSON values from outside (an API request, a module's description)."""
    if not isinstance(contents, Sequence) or isinstance(contents, str | bytes):
        return Documents(problems=(Problem("must be a list of manifest documents", file=file, value=shown(contents)),))
    if len(contents) > DOCUMENTS_MAX:
        return Documents(problems=(Problem(f"more than {DOCUMENTS_MAX} documents; deploy them in parts", file=file),))
    documents: list[Document] = []
    problems: list[Problem] = []
    for number, content in enumerate(contents, 1):
        origin = Origin(file=file, document=number)
        rule = broken_rule(content)
        if rule:
            problems.append(origin.problem(rule))
        else:
            documents.append(Document(content, origin))
    return Documents(tuple(documents), tuple(problems))


def broken_rule(content: object) -> str | None:
    """Return the rule that `content` breaks as a document, or None: a mapping of JSON values, bounded in depth and size."""
    if not isinstance(content, dict):
        return "a document must be a mapping with apiVersion, kind, metadata and spec"
    nodes = 0
    level: list[object] = [content]
    for _ in range(DEPTH_MAX):
        nodes += len(level)
        if nodes > NODES_MAX:
            return f"a document may have at most {NODES_MAX} values"
        if not all(_is_unicode(value) for value in level):
            return "a document's text must be valid Unicode"
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return None
    return f"a document may be nested at most {DEPTH_MAX} deep"


def path_text(path: ValuePath) -> str:
    """Return a path as a person writes it: `spec.files[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def shown(value: object) -> str:
    """Return a value as a problem shows it, shortened."""
    text = f"a mapping of {len(value)}" if isinstance(value, dict) else repr(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"


def _is_unicode(value: object) -> bool:
    """JSON can write half a surrogate pair, which no UTF-8 can hold."""
    texts = value if isinstance(value, dict) else (value,)
    return not any(isinstance(text, str) and not text.isascii() and _SURROGATE.search(text) for text in texts)


def _children(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()
