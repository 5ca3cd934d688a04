"""What differs between a deployed resource and the one that is to replace it, in words for the person who decides. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import asdict

from evento.registry.records import Record

_UNSHOWN = {"env"}  # may hold secrets: only names are told
_LABELS = {
    "revision": "content",
    "digests": "digest in the registry",
    "pull_always": "always pulled",
    "least": "min",
    "most": "max",
    "memory_bytes": "memory",
    "attempts_max": "maxAttempts",
}
_MIB = 1024 * 1024


def differences(old: Record, new: Record, text: Callable[[int], str]) -> tuple[str, ...]:
    """Return one phrase per difference; `text` gives the text of a schema by its id."""
    return tuple(_between(asdict(old), asdict(new), text))


def _between(old: Mapping[str, object], new: Mapping[str, object], text: Callable[[int], str]) -> Iterator[str]:
    for field, after in new.items():
        before = old[field]
        if before == after:
            continue
        if field == "schema_id" and isinstance(before, int) and isinstance(after, int):
            yield from _schema(text(before), text(after))
        elif isinstance(before, tuple) and isinstance(after, tuple) and field in ("events", "rejections"):
            yield from (f"{field}: {name} added" for name in after if name not in before)
            yield from (f"{field}: {name} removed" for name in before if name not in after)
        elif field in _UNSHOWN and isinstance(before, dict) and isinstance(after, dict):
            yield from _names(field, before, after)
        else:
            yield f"{_label(field)}: {_said(field, before)} → {_said(field, after)}"


def _schema(old: str, new: str) -> Iterator[str]:
    before, after = _fields(old), _fields(new)
    phrases = list(_names("schema", before, after))
    yield from phrases or ["schema: changed"]


def _fields(text: str) -> dict[str, object]:
    definition = json.loads(text)
    return {f"field {field['name']}": field for field in definition["fields"]}


def _names(label: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    yield from (f"{label}: {name} added" for name in after if name not in before)
    yield from (f"{label}: {name} removed" for name in before if name not in after)
    yield from (f"{label}: {name} changed" for name in after if name in before and before[name] != after[name])


def _label(field: str) -> str:
    return _LABELS.get(field, field.removesuffix("_s"))


def _said(field: str, value: object) -> str:
    """Return a value as a manifest would have it."""
    if isinstance(value, Struct):
        return ", ".join(f"{_label(name)} {_said(name, each)}" for name, each in asdict(value).items())
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if field == "memory_bytes" and isinstance(value, int):
        return f"{value // _MIB}Mi"
    if isinstance(value, float):
        return f"{value:g}s" if field.endswith("_s") else f"{value:g}"
    return "none" if value is None or value == "" else str(value)
