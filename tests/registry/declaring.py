"""Manifest documents for tests, and the smallest catalog log that keeps the port's promises."""

from collections.abc import Sequence
from typing import Any

from evento.registry.deployment import Plan, Registry
from evento.registry.documents import Documents, documents_of

Manifest = dict[str, Any]


class ListLog:
    """A catalog log in a list."""

    def __init__(self) -> None:
        self.versions: list[bytes] = []

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        return list(enumerate(self.versions, 1))[after:]

    async def append_catalog(self, version: int, content: bytes) -> bool:
        if version != len(self.versions) + 1:
            return False
        self.versions.append(content)
        return True


def record(name: str, **fields: object) -> dict[str, object]:
    """A record schema; a field given as a tuple is (type, default)."""
    members = [
        {"name": field, "type": type_[0], "default": type_[1]} if isinstance(type_, tuple) else {"name": field, "type": type_}
        for field, type_ in fields.items()
    ]
    return {"type": "record", "name": name, "fields": members}


def manifest(kind: str, name: str, spec: Manifest, namespace: str = "bank") -> Manifest:
    return {"apiVersion": "evento.dev/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def entity(name: str = "Checking", **spec: object) -> Manifest:
    return manifest("Entity", name, {"apply": "teller", "schema": record(name, balance="long"), **spec})


def event(name: str = "CashWithdrawn", **spec: object) -> Manifest:
    return manifest("Event", name, {"entity": "Checking", "schema": record(name, amount="long"), **spec})


def command(name: str = "WithdrawCash", **spec: object) -> Manifest:
    return manifest(
        "Command",
        name,
        {
            "entity": "Checking",
            "schema": record(name, amount="long"),
            "events": ["CashWithdrawn"],
            "rejections": ["WithdrawalRejected"],
            "handle": "teller",
            **spec,
        },
    )


def function(name: str = "teller", **spec: object) -> Manifest:
    return manifest("Function", name, spec or {"url": "http://localhost:9000"})


def bank(*others: Manifest) -> list[Manifest]:
    """A whole small bank; documents in `others` take the place of those with the same kind and name, or are added."""
    whole = [entity(), event(), event("WithdrawalRejected"), command(), function()]
    taken = {(other["kind"], other["metadata"]["name"]) for other in others}
    return [each for each in whole if (each["kind"], each["metadata"]["name"]) not in taken] + list(others)


def documents(*manifests: Manifest) -> Documents:
    return documents_of(list(manifests))


def plan(registry: Registry, *manifests: Manifest, prune: bool = False) -> Plan:
    return registry.plan(documents(*manifests), prune=prune)


async def deployed(*deployments: Sequence[Manifest]) -> Registry:
    """A registry after these deployments, one after the other."""
    registry = Registry(ListLog())
    for manifests in deployments:
        await registry.commit(plan(registry, *manifests))
    return registry


def told(plan: Plan) -> list[tuple[str, str, str]]:
    """The problems of a plan as (resource, path, message)."""
    return [(problem.resource, problem.path, problem.message) for problem in plan.problems]
