"""A deployment that has everything which is rendered: images with and without scale, a url, and the bank of the examples."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from evento.kubernetes import Options, render, with_images, yaml_text
from evento.registry.deployment import plan_afresh
from evento.registry.documents import Documents, documents_of
from evento.registry.reading import read_deployment

ROOT = Path(__file__).parents[2]
KEY = "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
OPTIONS = Options(namespace="evento", image="registry.example.com/evento:0.1", storage="10Gi", public_key=KEY)
DIGEST = "sha256:" + "a" * 64


def manifest(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "evento.dev/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop", **metadata}, "spec": spec}


def record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


# An enum whose symbols YAML 1.1 takes for booleans, a default with a NUL in it, and a schema as text.
ANSWER = {"name": "answer", "type": {"type": "enum", "name": "Answer", "symbols": ["NO", "YES", "on", "null"]}, "default": "NO"}
NUL = {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}, "default": "\0"}
SHOP = [
    manifest("Function", "till", {"image": f"till@{DIGEST}", "scale": {"min": 2, "max": 9, "idle": "5m"}, "env": {"MODE": "no"}}),
    manifest(
        "Function",
        "shelf",
        {
            "image": "shelf:1.4",
            "pull": "always",
            "timeout": "60s",
            "start": "10m",
            "scale": {"min": 3, "max": 3},
            "resources": {"memory": "2Gi", "cpus": 0.05},
        },
    ),
    manifest("Function", "rates", {"url": "https://rates.example.com/v1"}),
    manifest("Function", "other-rates", {"url": "http://rates.example.com:8081"}),
    manifest("Entity", "ABTest", {"schema": json.dumps(record("ABTest", ANSWER, NUL)), "apply": "till"}, labels={"team": "x"}),
    manifest("Event", "TestBegun", {"entity": "ABTest", "schema": record("TestBegun", ANSWER)}),
    manifest(
        "Command",
        "BeginTest",
        {"entity": "ABTest", "schema": record("BeginTest"), "events": ["TestBegun"], "handle": "shelf", "retry": {"cap": "1.5m"}},
        annotations={"note": "first: 1\nsecond: yes"},
    ),
    manifest("Entity", "Shelf", {"schema": record("Shelf", NUL), "apply": "rates"}),
    manifest("Event", "ShelfFilled", {"entity": "Shelf", "schema": record("ShelfFilled")}),
    manifest(
        "Command",
        "FillShelf",
        {"entity": "Shelf", "schema": record("FillShelf"), "events": ["ShelfFilled"], "handle": "other-rates"},
    ),
]


def rendered_of(documents: Documents, options: Options = OPTIONS) -> dict[str, list[dict[str, Any]]]:
    plan = plan_afresh(documents)
    assert not plan.problems, plan.problems
    return render(documents, plan.declared, options)


@cache
def files() -> dict[str, list[dict[str, Any]]]:
    """Return everything by file. Not to be changed."""
    bank = with_images(read_deployment([str(ROOT / "examples/bank/bank.py")]), {"bank/bank-functions": "bank:1"})
    shop = documents_of(SHOP)
    return rendered_of(Documents((*bank.documents, *shop.documents), (*bank.problems, *shop.problems)))


@cache
def everything() -> list[dict[str, Any]]:
    return [each for objects in files().values() for each in objects]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in everything() if each["kind"] == kind]


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in of_kind(kind) if each["metadata"]["name"] == name)
    return found


def text() -> str:
    return yaml_text(everything())
