"""From declarations to what a deployment reads: the documents that YAML manifests would hold, and the protocol's discovery."""

import json
from typing import Any

from evento.protocol.envelope import PROTOCOL_VERSION
from evento.sdk.declared import Command, Entity
from evento.sdk.namespace import Namespace
from evento.sdk.revision import revision_of

API_VERSION = "evento.dev/v1"
SDK = "evento-python/1"


def manifests(namespace: Namespace, *, function: str = "", target: str = "") -> list[dict[str, Any]]:
    """Return the documents of all Entities, events and Commands.

    `function` is named as handle and apply of what is served here (by default `bank-functions` for namespace `bank`). With
    `target`, such as `bank:app`, the Function itself is among them, as a local process. A Command without a handle here, or an
    Entity without an apply, names none: another document has to.
    """
    namespace.check()
    function = function or f"{namespace.name}-functions"
    documents = []
    for entity in namespace.entities.values():
        spec: dict[str, Any] = {"schema": entity.schema}
        spec |= {"apply": function} if entity.applies else {}
        spec |= {"partitions": entity.partitions} if entity.partitions else {}
        documents.append(_document(namespace, "Entity", entity.name, spec))
        for event in entity.events.values():
            documents.append(_document(namespace, "Event", event.name, {"entity": entity.name, "schema": event.schema}))
        documents += [_command(namespace, entity, command, function) for command in entity.commands.values()]
    if target:
        # `python` is whatever runs the platform's own Python: the same document goes for every machine.
        documents.append(_document(namespace, "Function", function, {"command": ["python", "-m", "evento.sdk", target]}))
    return documents


def _command(namespace: Namespace, entity: Entity, command: Command, function: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"entity": entity.name, "schema": command.schema}
    if command.handle:
        spec |= {"events": command.events(rejections=False), "rejections": command.events(rejections=True), "handle": function}
    if command.retry:
        spec["retry"] = command.retry.manifest()
    return _document(namespace, "Command", command.name, spec)


def _document(namespace: Namespace, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": namespace.name}, "spec": spec}


def discovery(namespace: Namespace) -> dict[str, Any]:
    """Return the answer to `GET /evento`: what this process serves."""
    namespace.check()
    return {
        "protocol": PROTOCOL_VERSION,
        "sdk": SDK,
        "revision": revision_of(namespace),
        "entities": [_served(namespace, entity) for entity in namespace.entities.values()],
        "single": False,
    }


def _served(namespace: Namespace, entity: Entity) -> dict[str, Any]:
    commands = [
        {
            "name": command.name,
            "schema": json.dumps(command.schema),
            "events": command.events(rejections=False),
            "rejections": command.events(rejections=True),
        }
        for command in entity.commands.values()
        if command.handle
    ]
    return {
        "namespace": namespace.name,
        "name": entity.name,
        "schema": json.dumps(entity.schema),
        "applies": entity.applies,
        "commands": commands,
        "events": [{"name": event.name, "schema": json.dumps(event.schema)} for event in entity.events.values()],
    }
