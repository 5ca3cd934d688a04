"""What the decorators leave behind: the declared types of a namespace and their functions. Plain data; checks nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evento.sdk.codec import Codec


@dataclass(frozen=True)
class Retry:
    """When a failed turn of a Command type is tried again; None leaves the platform's default. Times as text: "100ms", "30s"."""

    first: str | None = None
    factor: float | None = None
    cap: str | None = None
    max_attempts: int | None = None

    def manifest(self) -> dict[str, Any]:
        """Return what was set, as it stands in a manifest."""
        values = {"first": self.first, "factor": self.factor, "cap": self.cap, "maxAttempts": self.max_attempts}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(eq=False)
class Declared:
    """One declared type: its name, its class, its Avro schema (complete in itself) and its codec."""

    name: str
    cls: type
    schema: Any
    codec: Codec


@dataclass(eq=False)
class Event(Declared):
    """An event type; `index` is its place among its Entity's events."""

    rejection: bool = False
    index: int = 0
    apply: Callable[[Any, Any], Any] | None = None


@dataclass(eq=False)
class Command(Declared):
    """A Command type, and its handle if this module has it. `outcomes` are the classes of the events it may end in."""

    retry: Retry | None = None
    handle: Callable[..., Any] | None = None
    is_async: bool = False
    wants_context: bool = False
    outcomes: dict[type, Event] = field(default_factory=dict)

    def events(self, *, rejections: bool) -> list[str]:
        """Return the names of its events that are, or are not, rejections."""
        return [event.name for event in self.outcomes.values() if event.rejection is rejections]


@dataclass(eq=False)
class Entity(Declared):
    """An Entity with everything that belongs to it."""

    commands: dict[str, Command] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    partitions: int = 0

    @property
    def applies(self) -> bool:
        """Tell whether its apply is in this module."""
        return bool(self.events) and all(event.apply for event in self.events.values())
