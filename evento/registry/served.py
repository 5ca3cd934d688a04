"""What a function has to serve, said in the function protocol: the discovery for programs that answer it from a file. Pure."""

from collections.abc import Iterator
from typing import Any

from evento.errors import NotFound
from evento.model.resources import EntitySpec
from evento.protocol.envelope import DISCOVERY, PROTOCOL_VERSION, encode
from evento.registry.catalog import Catalog


def discovery_bytes(catalog: Catalog, namespace: str, function: str, *, single: bool) -> bytes:
    """Return the answer to `GET /evento` of a function: always the same bytes for the same catalog.

    Raises NotFound if there is no such function, or if no Command and no Entity names it.
    """
    catalog.function(namespace, function)
    entities = list(_entities(catalog, namespace, function))
    if not entities:
        name = f"{namespace}/{function}"
        raise NotFound(
            f"Function {name} has nothing to serve: no Command names it as `handle`, and no Entity as `apply`", name=name
        )
    described = {"protocol": PROTOCOL_VERSION, "sdk": "", "revision": "", "entities": entities, "single": single}
    return encode(DISCOVERY, described)


def _entities(catalog: Catalog, namespace: str, function: str) -> Iterator[dict[str, Any]]:
    for (space, _), entity in sorted(catalog.entities.items()):
        applies = entity.apply == function
        if space == namespace and (applies or any(command.handle == function for command in entity.commands.values())):
            yield _entity(catalog, entity, function, applies=applies)


def _entity(catalog: Catalog, entity: EntitySpec, function: str, *, applies: bool) -> dict[str, Any]:
    handled = [command for _, command in sorted(entity.commands.items()) if command.handle == function]
    ends_in = {name for command in handled for name in command.events | command.rejections}
    return {
        "namespace": entity.namespace,
        "name": entity.name,
        "schema": catalog.schema(entity.schema_id).text,
        "applies": applies,
        "commands": [
            {
                "name": command.name,
                "schema": catalog.schema(command.schema_id).text,
                "events": sorted(command.events),
                "rejections": sorted(command.rejections),
            }
            for command in handled
        ],
        "events": [
            {"name": name, "schema": catalog.schema(event.schema_id).text}
            for name, event in sorted(entity.events.items())
            if applies or name in ends_in
        ],
    }
