"""All records of the catalog and every schema that any version of it had: the fold of all changes.

Working material of `Catalog` and of plans; mutable, so that reading a long history copies nothing.
"""

from typing import TypeAlias

from evento.errors import JournalCorrupt
from evento.model.resources import FunctionSpec
from evento.registry.records import CatalogChange, CommandRecord, EntityRecord, EventRecord

Name: TypeAlias = tuple[str, str]  # namespace, name
CommandName: TypeAlias = tuple[str, str, str]  # namespace, entity, name
Topic: TypeAlias = tuple[str, str, str]  # namespace, entity, and what stands there: "commands", "events" or "state"


class Contents:
    """Records by name. The ids of the schemas that an Event, Command or topic ever had are kept, in order of deployment."""

    def __init__(self) -> None:
        self.entities: dict[Name, EntityRecord] = {}
        self.events: dict[Name, EventRecord] = {}
        self.commands: dict[CommandName, CommandRecord] = {}
        self.functions: dict[Name, FunctionSpec] = {}
        self.texts: list[str] = []  # of the schema with id 1, 2, 3 …
        self.ids: dict[str, int] = {}
        self.event_history: dict[Name, tuple[int, ...]] = {}
        self.command_history: dict[CommandName, tuple[int, ...]] = {}
        self.topics: dict[Topic, tuple[int, ...]] = {}

    def copy(self) -> "Contents":
        """Return contents that can be changed apart from these."""
        other = Contents()
        other.entities, other.events = dict(self.entities), dict(self.events)
        other.commands, other.functions = dict(self.commands), dict(self.functions)
        other.texts, other.ids = list(self.texts), dict(self.ids)
        other.event_history, other.command_history = dict(self.event_history), dict(self.command_history)
        other.topics = dict(self.topics)
        return other

    def absorb(self, version: int, change: CatalogChange) -> None:
        """Apply one version's change. Raises JournalCorrupt if it does not follow on what is here."""
        for schema in change.schemas:
            if schema.id != len(self.texts) + 1 or schema.text in self.ids:
                raise JournalCorrupt(f"catalog version {version} gives schema id {schema.id} out of order", version=version)
            self.texts.append(schema.text)
            self.ids[schema.text] = schema.id
        for entity in change.entities:
            self.entities[entity.namespace, entity.name] = entity
            self._stands((entity.namespace, entity.name, "state"), entity.schema_id)
        owned_ones: list[EventRecord | CommandRecord] = [*change.events, *change.commands]
        for owned in owned_ones:
            if (owned.namespace, owned.entity) not in self.entities:
                raise JournalCorrupt(
                    f"catalog version {version} has {owned.name} of an Entity that does not exist", version=version
                )
        for event in change.events:
            name = (event.namespace, event.name)
            self.events[name] = event
            self.event_history[name] = _with(self.event_history.get(name, ()), event.schema_id)
            self._stands((event.namespace, event.entity, "events"), event.schema_id)
        for command in change.commands:
            full = (command.namespace, command.entity, command.name)
            self.commands[full] = command
            self.command_history[full] = _with(self.command_history.get(full, ()), command.schema_id)
            self._stands((command.namespace, command.entity, "commands"), command.schema_id)
        for function in change.functions:
            self.functions[function.namespace, function.name] = function
        for gone in change.removed_commands:
            self.commands.pop((gone.namespace, gone.entity, gone.name), None)
        for left in change.removed_functions:
            self.functions.pop((left.namespace, left.name), None)

    def _stands(self, topic: Topic, schema_id: int) -> None:
        self.topics[topic] = _with(self.topics.get(topic, ()), schema_id)


def _with(ids: tuple[int, ...], schema_id: int) -> tuple[int, ...]:
    return ids if schema_id in ids else (*ids, schema_id)
