"""What must hold between resources, and against what was deployed before (design §3.8, §4). Pure.

- A name refers to something that exists, in the same namespace. An Event belongs to exactly one Entity, for ever.
- The schema of an Event must read everything that any earlier schema of it wrote, because events are final; that of a Command
  too, because Commands are kept, wait and are replayed. Every pair is checked: that v3 reads v2, and v2 v1, says nothing of v3, v1.
- The schema of an Entity may change in any way: states are folded again from the events, never patched.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from evento.registry.catalog import Catalog
from evento.registry.declared import Declared
from evento.registry.documents import Origin, Problem, ValuePath
from evento.registry.draft import Draft, Key, key_of
from evento.registry.hints import hint
from evento.registry.models import CommandManifest, EntityManifest
from evento.schema import incompatibilities


def problems_between(declared: Sequence[Declared], draft: Draft) -> Iterator[Problem]:
    """Give every problem that resources have with each other or with what is deployed."""
    yield from _declared_twice(declared)
    names = _Names(declared, draft)
    for each in declared:
        if each.kind == "Event":
            yield from _moved(each, draft.base)
        yield from names.unknown(each)
        if each.kind in ("Event", "Command"):
            yield from _unreadable(each, draft.base)


def _place(origin: Origin, path: ValuePath = ()) -> str:
    line = origin.line(path)
    if origin.file:
        return f"{origin.file}:{line}" if line else f"{origin.file}, document {origin.document}"
    return f"document {origin.document}"


def _declared_twice(declared: Iterable[Declared]) -> Iterator[Problem]:
    first: dict[Key, Declared] = {}
    for each in declared:
        other = first.setdefault(key_of(each), each)
        if other is each:
            continue
        if each.kind == "Event" and each.entity != other.entity:
            message = f"an Event belongs to exactly one Entity; at {_place(other.origin)} it is declared for {other.entity}"
            yield each.origin.problem(message, ("spec", "entity"), resource=each.title, value=each.entity)
        else:
            message = f"is declared twice, at {_place(other.origin)} already"
            yield each.origin.problem(message, ("metadata", "name"), resource=each.title, value=each.name)


def _moved(event: Declared, base: Catalog) -> Iterator[Problem]:
    deployed = base.contents.events.get((event.namespace, event.name))
    if deployed is not None and event.entity and deployed.entity != event.entity:
        message = f"an Event belongs to one Entity for ever, this one to {deployed.entity}"
        yield event.origin.problem(message, ("spec", "entity"), resource=event.title, value=event.entity)


class _Names:
    """The names that may be referred to: deployed and not removed, or declared, be it with problems of their own."""

    def __init__(self, declared: Iterable[Declared], draft: Draft) -> None:
        contents = draft.base.contents
        gone = {(ref.namespace, ref.name) for ref in draft.removed_functions}
        self._names: dict[str, set[tuple[str, str]]] = {
            "Entity": set(contents.entities),
            "Event": set(contents.events),
            "Function": set(contents.functions) - gone,
        }
        self._owners: dict[tuple[str, str], str] = {name: event.entity for name, event in contents.events.items()}
        for each in declared:
            if each.kind in self._names:
                self._names[each.kind].add((each.namespace, each.name))
            if each.kind == "Event":
                self._owners.setdefault((each.namespace, each.name), each.entity)

    def unknown(self, declared: Declared) -> Iterator[Problem]:
        manifest = declared.manifest
        if isinstance(manifest, EntityManifest):
            yield from self._reference(declared, "Function", manifest.spec.apply, ("spec", "apply"))
        elif declared.kind in ("Event", "Command") and manifest is not None:
            yield from self._reference(declared, "Entity", declared.entity, ("spec", "entity"))
        if isinstance(manifest, CommandManifest):
            yield from self._reference(declared, "Function", manifest.spec.handle, ("spec", "handle"))
            yield from self._events(declared, manifest)

    def _reference(self, declared: Declared, kind: str, name: str, path: ValuePath) -> Iterator[Problem]:
        names = self._names[kind]
        if (declared.namespace, name) in names:
            return
        known = [other for space, other in names if space == declared.namespace]
        message = f"there is no {kind} of this name in namespace {declared.namespace}{hint(name, known)}"
        yield declared.origin.problem(message, path, resource=declared.title, value=name)

    def _events(self, command: Declared, manifest: CommandManifest) -> Iterator[Problem]:
        known_entity = (command.namespace, command.entity) in self._names["Entity"]
        lists: Mapping[str, list[str]] = {"events": manifest.spec.events, "rejections": manifest.spec.rejections}
        for field, names in lists.items():
            for place, name in enumerate(names):
                path = ("spec", field, place)
                yield from self._reference(command, "Event", name, path)
                owner = self._owners.get((command.namespace, name))
                if owner and owner != command.entity and known_entity:
                    message = f"this Event belongs to {owner}; a Command of {command.entity} cannot end in it"
                    yield command.origin.problem(message, path, resource=command.title, value=name)
                if field == "rejections" and name in manifest.spec.events:
                    message = "stands under events too; an Event is either a success or a rejection of a Command"
                    yield command.origin.problem(message, path, resource=command.title, value=name)


def _unreadable(declared: Declared, base: Catalog) -> Iterator[Problem]:
    schema = declared.schema
    if schema is None:
        return
    if declared.kind == "Event":
        history = base.event_schema_ids(declared.namespace, declared.name)
    else:
        history = base.command_schema_ids(declared.namespace, declared.entity, declared.name)
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for schema_id in history:
        writer = base.schema(schema_id)
        if writer.text != schema.text:
            for each in incompatibilities(reader=schema, writer=writer):
                found[each.path, each.message].append(schema_id)
    stored = "events" if declared.kind == "Event" else "Commands"
    for (within, message), ids in found.items():
        which = f"schema {ids[0]}" if len(ids) == 1 else f"schemas {', '.join(map(str, ids))}"
        problem = f"cannot read {stored} stored with {which}: {message}"
        yield declared.origin.problem(problem, ("spec", "schema"), resource=declared.title, within=within)
