"""The catalog as everybody else sees it: an immutable snapshot with quick lookups, and answers that help when a name is wrong.

Schemas are parsed when first asked for and kept; every one that was ever deployed stays readable under its id.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from evento.errors import NotFound
from evento.model.resources import CommandSpec, EntitySpec, EventSpec, FunctionSpec
from evento.registry.contents import Contents
from evento.registry.hints import hint, perhaps_meant
from evento.schema import Schema, parse_schema, resolver

Resolve = Callable[[bytes], bytes]
_KNOWN_MAX = 20  # names told to somebody who asked for an unknown one
_ASKED_CHARACTERS_MAX = 80


def _same(payload: bytes) -> bytes:
    return payload


class Catalog:
    """One version of everything that is deployed."""

    def __init__(self, version: int, contents: Contents, *, before: "Catalog | None" = None) -> None:
        """Take `contents` over: nobody may change them any more. What `before` has parsed is used again."""
        self.version = version
        self.contents = contents
        self.functions: Mapping[tuple[str, str], FunctionSpec] = MappingProxyType(contents.functions)
        self.entities: Mapping[tuple[str, str], EntitySpec] = MappingProxyType(_entities(contents))
        # Ids are never used again, so that what one snapshot parsed is right in all later ones.
        self._parsed: dict[int, Schema] = before._parsed if before else {}
        self._resolvers: dict[tuple[int, int], Resolve] = before._resolvers if before else {}

    def entity(self, namespace: str, name: str) -> EntitySpec:
        """Return an Entity. Raises NotFound, with the known names and the one that was perhaps meant."""
        found = self.entities.get((namespace, name))
        if found is not None:
            return found
        names = [known for space, known in self.entities if space == namespace]
        if not names:
            raise _not_found("namespace", namespace, {space for space, _ in self.entities}, "")
        raise _not_found("Entity", name, names, f" in namespace {namespace}")

    def command(self, namespace: str, entity: str, name: str) -> CommandSpec:
        """Return a Command of an Entity. Raises NotFound, as `entity` does."""
        commands = self.entity(namespace, entity).commands
        found = commands.get(name)
        if found is None:
            raise _not_found("Command", name, commands, f" of {namespace}/{entity}")
        return found

    def event(self, namespace: str, entity: str, name: str) -> EventSpec:
        """Return an Event of an Entity. Raises NotFound, as `entity` does."""
        events = self.entity(namespace, entity).events
        found = events.get(name)
        if found is None:
            raise _not_found("Event", name, events, f" of {namespace}/{entity}")
        return found

    def function(self, namespace: str, name: str) -> FunctionSpec:
        """Return a Function. Raises NotFound, as `entity` does."""
        found = self.functions.get((namespace, name))
        if found is None:
            names = [known for space, known in self.functions if space == namespace]
            raise _not_found("Function", name, names, f" in namespace {namespace}")
        return found

    @property
    def schema_ids(self) -> range:
        """Return the ids of all schemas that were ever deployed."""
        return range(1, len(self.contents.texts) + 1)

    def schema(self, schema_id: int) -> Schema:
        """Return the schema with this id, of whatever version. Raises NotFound."""
        parsed = self._parsed.get(schema_id)
        if parsed is None:
            if schema_id not in self.schema_ids:
                raise NotFound(f"there is no schema {schema_id}; ids go from 1 to {len(self.contents.texts)}", schema_id=schema_id)
            parsed = self._parsed[schema_id] = parse_schema(self.contents.texts[schema_id - 1])
        return parsed

    def schema_id(self, schema: Schema) -> int | None:
        """Return the id of a schema with exactly this text, or None if it was never deployed."""
        return self.contents.ids.get(schema.text)

    def event_schema_ids(self, namespace: str, name: str) -> tuple[int, ...]:
        """Return the ids of the schemas that an Event ever had, in order of deployment; none if it was never deployed."""
        return self.contents.event_history.get((namespace, name), ())

    def command_schema_ids(self, namespace: str, entity: str, name: str) -> tuple[int, ...]:
        """Return the ids of the schemas that a Command ever had, also a removed one."""
        return self.contents.command_history.get((namespace, entity, name), ())

    def resolver(self, from_id: int, to_id: int) -> Resolve:
        """Return the function from payloads of one schema to those of another; the same bytes if it is one. Raises NotFound."""
        if from_id == to_id:
            return _same
        known = self._resolvers.get((from_id, to_id))
        if known is None:
            known = self._resolvers[from_id, to_id] = resolver(self.schema(from_id), self.schema(to_id))
        return known


def _entities(contents: Contents) -> dict[tuple[str, str], EntitySpec]:
    events: dict[tuple[str, str], dict[str, EventSpec]] = {name: {} for name in contents.entities}
    commands: dict[tuple[str, str], dict[str, CommandSpec]] = {name: {} for name in contents.entities}
    for event in contents.events.values():
        events[event.namespace, event.entity][event.name] = EventSpec(event.name, event.schema_id)
    for command in contents.commands.values():
        commands[command.namespace, command.entity][command.name] = CommandSpec(
            name=command.name,
            schema_id=command.schema_id,
            events=frozenset(command.events),
            rejections=frozenset(command.rejections),
            handle=command.handle,
            retry=command.retry,
        )
    return {
        name: EntitySpec(
            namespace=entity.namespace,
            name=entity.name,
            schema_id=entity.schema_id,
            apply=entity.apply,
            commands=commands[name],
            events=events[name],
            partitions=entity.partitions,
        )
        for name, entity in contents.entities.items()
    }


def _not_found(kind: str, asked: str, known: Iterable[str], where: str) -> NotFound:
    names = sorted(known)
    meant = perhaps_meant(asked, names)
    shown = asked[:_ASKED_CHARACTERS_MAX]
    message = f"there is no {kind} {shown!r}{where}" + hint(asked, names)
    return NotFound(message, kind=kind, name=shown, known=names[:_KNOWN_MAX], hint=meant)
