"""The module API: a Namespace, and the decorators that declare its Entities, Commands, Events and their functions."""

import re
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from evento.sdk import schemas, signatures
from evento.sdk.declared import Command, Entity, Event, Retry
from evento.sdk.errors import DeclarationError
from evento.sdk.schemas import SchemaSource

_NAMESPACE = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TYPE = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


_NAMESPACES: WeakKeyDictionary[type, "Namespace"] = WeakKeyDictionary()


def namespace_of(entity: type) -> "Namespace":
    """Return the Namespace that declares an Entity. Raises DeclarationError."""
    if entity not in _NAMESPACES:
        raise DeclarationError(f"{entity.__name__} is declared as Entity by no namespace")
    return _NAMESPACES[entity]


class Namespace:
    """What one module declares of a namespace; served as one function.

    Each decorator returns what it decorates, unchanged, and raises DeclarationError at once when it contradicts the rules.
    """

    def __init__(self, name: str) -> None:
        if not _NAMESPACE.fullmatch(name):
            raise DeclarationError(f"namespace {name!r}: lower-case letters, digits and dashes, 1 to 63, starting with a letter")
        self.name = name
        self.entities: dict[str, Entity] = {}
        self._entity_of: dict[type, Entity] = {}
        self._owner_of: dict[type, tuple[Entity, Event | Command]] = {}
        self.modules: set[str] = set()

    # ------------------------------------------------------------- types
    def entity(self, cls: C | None = None, /, *, name: str = "", schema: SchemaSource | None = None, partitions: int = 0) -> Any:
        """Declare an Entity: `@bank.entity`, or `@bank.entity(name=…, schema=…, partitions=…)`.

        `partitions`: over how many of the journal's partitions its instances are spread, for ever; 0: over all.
        """

        def declare(cls: C) -> C:
            own = self._name(cls, name)
            if own in self.entities:
                raise DeclarationError(f"{own}: this namespace has an Entity of that name already")
            parts = schemas.declared(cls, own, (self.name, ""), schema)
            entity = Entity(own, cls, *parts, partitions=partitions)
            self.entities[own] = self._entity_of[cls] = entity
            _NAMESPACES[cls] = self
            return cls

        return declare if cls is None else declare(cls)

    def event(self, entity: type, *, name: str = "", schema: SchemaSource | None = None) -> Callable[[C], C]:
        """Declare an event type of `entity`."""
        return self._event(entity, name, schema, rejection=False)

    def rejection(self, entity: type, *, name: str = "", schema: SchemaSource | None = None) -> Callable[[C], C]:
        """Declare an event type of `entity` that says no: an event like any other, and the caller is told it was rejected."""
        return self._event(entity, name, schema, rejection=True)

    def _event(self, entity: type, name: str, schema: SchemaSource | None, *, rejection: bool) -> Callable[[C], C]:
        owner = self._entity(entity)

        def declare(cls: C) -> C:
            own = self._name(cls, name)
            if any(own in entity.events for entity in self.entities.values()):
                raise DeclarationError(
                    f"{own}: an event type of this namespace has that name; an event belongs to exactly one Entity"
                )
            if any(event.apply for event in owner.events.values()):
                raise DeclarationError(f"{own}: declare the events of {owner.name} before its apply, which must cover them all")
            parts = schemas.declared(cls, own, (self.name, owner.name), schema)
            event = Event(own, cls, *parts, rejection=rejection, index=len(owner.events))
            owner.events[own] = event
            self._owner_of[cls] = owner, event
            return cls

        return declare

    def command(
        self, entity: type, *, name: str = "", schema: SchemaSource | None = None, retry: Retry | None = None
    ) -> Callable[[C], C]:
        """Declare a Command type of `entity`. The events it may end in are those that its handle returns."""
        owner = self._entity(entity)

        def declare(cls: C) -> C:
            own = self._name(cls, name)
            if own in owner.commands:
                raise DeclarationError(f"{own}: a Command of {owner.name} has that name already")
            command = Command(own, cls, *schemas.declared(cls, own, (self.name, owner.name), schema), retry=retry)
            owner.commands[own] = command
            self._owner_of[cls] = owner, command
            return cls

        return declare

    # --------------------------------------------------------- functions
    def handle(self, function: F) -> F:
        """Declare the handle of a Command: `(Command, Entity | None)`, or with a Context as third, to one event or several."""
        name, signature = function.__qualname__, signatures.read(function, context_allowed=True)
        owner, command = self._owner_of.get(signature.subject[0], (None, None))
        if len(signature.subject) != 1 or owner is None or not isinstance(command, Command):
            raise DeclarationError(f"{name}: its first parameter must be one Command declared in namespace {self.name!r}")
        if command.handle is not None:
            raise DeclarationError(f"{name}: {command.name} has a handle already, {command.handle.__qualname__}")
        self._check_state(name, signature, owner)
        command.outcomes = {cls: self._event_of(cls, owner, name) for cls in signatures.event_classes(signature.returns, name)}
        if all(event.rejection for event in command.outcomes.values()):
            raise DeclarationError(f"{name}: returns nothing but rejections; a Command must be able to succeed")
        command.handle, command.is_async, command.wants_context = function, signature.is_async, signature.wants_context
        self.modules.add(function.__module__)
        return function

    def apply(self, function: F) -> F:
        """Declare how an Entity evolves: `(Event, Entity | None)` to Entity.

        One for all its events (annotate their union), or one for each. Declare all events first.
        """
        name, signature = function.__qualname__, signatures.read(function, context_allowed=False)
        owner = self._owner_of.get(signature.subject[0], (None, None))[0]
        if owner is None:
            raise DeclarationError(f"{name}: its first parameter must be events declared in namespace {self.name!r}")
        events = [self._event_of(cls, owner, name) for cls in signature.subject]
        for event in events:
            if event.apply is not None:
                raise DeclarationError(f"{name}: {event.name} has an apply already, {event.apply.__qualname__}")
        self._check_state(name, signature, owner)
        if signature.returns != [owner.cls]:
            raise DeclarationError(f"{name}: must return {owner.cls.__name__} and nothing else: an apply is total")
        if signature.is_async:
            raise DeclarationError(f"{name}: an apply is pure and must not wait: make it a plain def")
        missing = [event.name for event in owner.events.values() if event not in events]
        if missing and len(events) > 1:
            raise DeclarationError(f"{name}: an apply is total, and this one misses {', '.join(missing)} of {owner.name}")
        for event in events:
            event.apply = function
        self.modules.add(function.__module__)
        return function

    def check(self) -> None:
        """Raise DeclarationError for what only the finished module shows: an Entity whose apply misses some of its events."""
        for entity in self.entities.values():
            missing = [event.name for event in entity.events.values() if event.apply is None]
            if missing and len(missing) < len(entity.events):
                raise DeclarationError(f"{entity.name}: an apply is total, and nothing applies {', '.join(missing)}")
        if not any(entity.applies or any(c.handle for c in entity.commands.values()) for entity in self.entities.values()):
            raise DeclarationError(f"namespace {self.name!r}: has neither a handle nor an apply")

    # ------------------------------------------------------------ lookups
    def entity_of(self, cls: type) -> Entity:
        """Return the Entity declared by `cls`. Raises DeclarationError."""
        return self._entity(cls)

    def command_of(self, cls: type) -> tuple[Entity, Command]:
        """Return the Command declared by `cls`, with its Entity. Raises DeclarationError."""
        owner, command = self._owner_of.get(cls, (None, None))
        if owner is None or not isinstance(command, Command):
            raise DeclarationError(f"{cls.__name__} is no Command of namespace {self.name!r}")
        return owner, command

    def _entity(self, cls: type) -> Entity:
        if cls not in self._entity_of:
            raise DeclarationError(f"{getattr(cls, '__name__', cls)} is no Entity of namespace {self.name!r}")
        return self._entity_of[cls]

    def _event_of(self, cls: Any, owner: Entity, function: str) -> Event:
        entity, event = self._owner_of.get(cls, (None, None)) if isinstance(cls, type) else (None, None)
        if entity is not owner or not isinstance(event, Event):
            raise DeclarationError(f"{function}: {getattr(cls, '__name__', cls)} is no event of {owner.name}")
        return event

    def _check_state(self, name: str, signature: signatures.Signature, owner: Entity) -> None:
        if len(signature.state) != 2 or set(signature.state) != {owner.cls, None}:
            own = owner.cls.__name__
            raise DeclarationError(f"{name}: its second parameter must be {own} | None: before its first event there is no {own}")

    def _name(self, cls: type, name: str) -> str:
        own = name or cls.__name__
        if not _TYPE.fullmatch(own):
            raise DeclarationError(f"{own!r}: a type's name is a capital letter, then letters and digits, at most 63")
        if cls in self._entity_of or cls in self._owner_of:
            raise DeclarationError(f"{cls.__name__} is declared already")
        if not is_dataclass(cls) and not issubclass(cls, dict):
            raise DeclarationError(f"{cls.__name__} must be @dataclass(frozen=True), or a dict with schema=…")
        self.modules.add(cls.__module__)
        return own
