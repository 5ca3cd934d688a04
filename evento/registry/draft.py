"""The catalog as it would be after a deployment: declared resources laid over the deployed ones.

Additive: what a deployment does not mention stays. Pruning removes what it does not mention of Commands and Functions in the
namespaces that it names; Entities and Events stay always, because stored events need them.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from evento.registry.catalog import Catalog
from evento.registry.declared import Declared
from evento.registry.models import EntityManifest, EventManifest, FunctionManifest
from evento.registry.records import (
    CatalogChange,
    CommandRecord,
    CommandRef,
    EntityRecord,
    EventRecord,
    FunctionRef,
    Record,
    SchemaRecord,
)
from evento.schema import Schema

Key: TypeAlias = tuple[str, str, str, str]  # kind, namespace, entity (of a Command, else ""), name


def key_of(declared: Declared) -> Key:
    """Return the identity of a resource: a Command's includes its Entity, so that two Entities may each have a `Close`."""
    return (declared.kind, declared.namespace, declared.entity if declared.kind == "Command" else "", declared.name)


class Draft:
    """What changes from `base` to the declared resources; those that are not sound are left out."""

    def __init__(self, base: Catalog, declared: Sequence[Declared], *, prune: bool) -> None:
        self.base = base
        self.schemas: list[SchemaRecord] = []
        self._ids: dict[str, int] = {}
        self.records: dict[Key, Record] = {}
        for each in declared:
            record = self._record(each)
            if record is not None:
                self.records.setdefault(key_of(each), record)
        self.removed_commands: tuple[CommandRef, ...] = ()
        self.removed_functions: tuple[FunctionRef, ...] = ()
        if prune:
            namespaces = {each.namespace for each in declared}
            mentioned = {key_of(each) for each in declared}
            self.removed_commands = tuple(self._unmentioned_commands(namespaces, mentioned))
            self.removed_functions = tuple(self._unneeded_functions(namespaces, mentioned))

    def deployed(self, key: Key) -> Record | None:
        """Return the record that is in force now."""
        kind, namespace, entity, name = key
        contents = self.base.contents
        match kind:
            case "Command":
                return contents.commands.get((namespace, entity, name))
            case "Entity":
                return contents.entities.get((namespace, name))
            case "Event":
                return contents.events.get((namespace, name))
            case _:
                return contents.functions.get((namespace, name))

    def text(self, schema_id: int) -> str:
        """Return the text of a schema, deployed or new."""
        texts = self.base.contents.texts
        return texts[schema_id - 1] if schema_id <= len(texts) else self.schemas[schema_id - len(texts) - 1].text

    def change(self) -> CatalogChange:
        """Return what is to be stored: only what differs from what is deployed."""
        new = [record for key, record in self.records.items() if record != self.deployed(key)]
        return CatalogChange(
            schemas=tuple(self.schemas),
            entities=tuple(record for record in new if isinstance(record, EntityRecord)),
            events=tuple(record for record in new if isinstance(record, EventRecord)),
            commands=tuple(record for record in new if isinstance(record, CommandRecord)),
            functions=tuple(record for record in new if not isinstance(record, EntityRecord | EventRecord | CommandRecord)),
            removed_commands=self.removed_commands,
            removed_functions=self.removed_functions,
        )

    def _record(self, declared: Declared) -> Record | None:
        """Return what is to be stored of a resource; None if its own fields are not right."""
        manifest, schema = declared.manifest, declared.schema
        if manifest is None or schema is None or isinstance(manifest, FunctionManifest):
            return declared.function
        namespace, name, schema_id = declared.namespace, declared.name, self._schema_id(schema)
        if isinstance(manifest, EntityManifest):
            return EntityRecord(namespace, name, schema_id, manifest.spec.apply, manifest.spec.partitions)
        if isinstance(manifest, EventManifest):
            return EventRecord(namespace, name, manifest.spec.entity, schema_id)
        return CommandRecord(
            namespace=namespace,
            entity=manifest.spec.entity,
            name=name,
            schema_id=schema_id,
            events=tuple(sorted(manifest.spec.events)),
            rejections=tuple(sorted(manifest.spec.rejections)),
            handle=manifest.spec.handle,
            retry=manifest.spec.retry.policy(),
        )

    def _schema_id(self, schema: Schema) -> int:
        """The same text has the same id, whoever uses it."""
        known = self.base.schema_id(schema) or self._ids.get(schema.text)
        if known is not None:
            return known
        schema_id = len(self.base.contents.texts) + len(self.schemas) + 1
        self.schemas.append(SchemaRecord(schema_id, schema.text))
        self._ids[schema.text] = schema_id
        return schema_id

    def _unmentioned_commands(self, namespaces: set[str], mentioned: set[Key]) -> Iterable[CommandRef]:
        for namespace, entity, name in self.base.contents.commands:
            if namespace in namespaces and ("Command", namespace, entity, name) not in mentioned:
                yield CommandRef(namespace, entity, name)

    def _unneeded_functions(self, namespaces: set[str], mentioned: set[Key]) -> Iterable[FunctionRef]:
        needed = {(record.namespace, _function_of(record)) for record in self._after()}
        for namespace, name in self.base.contents.functions:
            if namespace in namespaces and ("Function", namespace, "", name) not in mentioned and (namespace, name) not in needed:
                yield FunctionRef(namespace, name)

    def _after(self) -> Iterable[EntityRecord | CommandRecord]:
        """Every resource that will refer to a function."""
        gone = {("Command", ref.namespace, ref.entity, ref.name) for ref in self.removed_commands}
        yield from (record for record in self.records.values() if isinstance(record, EntityRecord | CommandRecord))
        for entity in self.base.contents.entities.values():
            if ("Entity", entity.namespace, "", entity.name) not in self.records:
                yield entity
        for command in self.base.contents.commands.values():
            key = ("Command", command.namespace, command.entity, command.name)
            if key not in gone and key not in self.records:
                yield command


def _function_of(record: EntityRecord | CommandRecord) -> str:
    return record.apply if isinstance(record, EntityRecord) else record.handle
