"""The definitions: structural, as a cluster demands, and of the same opinion as what checks manifests at deployment."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from rendered import OPTIONS, ROOT, SHOP, everything, of_kind, rendered_of

from evento.kubernetes.definitions import definitions
from evento.kubernetes.resources import object_name
from evento.registry.documents import documents_of
from evento.registry.models import MANIFESTS
from evento.registry.reading import read_deployment

JUNCTORS = ("allOf", "anyOf", "oneOf", "not")
FORBIDDEN = {
    "$ref",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "xml",
    "$defs",
}
NOT_IN_JUNCTORS = {"type", "description", "default", "additionalProperties", "nullable", "title"}


def schema_of(kind: str) -> dict[str, Any]:
    (found,) = (each for each in definitions() if each["spec"]["names"]["kind"] == kind)
    (version,) = found["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def complaints(content: dict[str, Any]) -> list[str]:
    """Return what a cluster says to a custom resource: by the schema, and to fields that it would drop, as kubectl asks it to."""
    schema = schema_of(content["kind"])
    errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(content)]
    return errors + list(unknown(schema["properties"]["spec"], content["spec"], "spec"))


def unknown(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if known is None:
                yield f"{path}.{name} is unknown"
            else:
                yield from unknown(known, inner, f"{path}.{name}")
    if isinstance(value, list):
        for inner in value:
            yield from unknown(schema.get("items", {}), inner, f"{path}[]")


def structural_faults(schema: dict[str, Any], path: str = "$", *, in_junctor: bool = False) -> Iterator[str]:
    """The rules of structural schemas, as Kubernetes' documentation has them."""
    if not isinstance(schema, dict):
        yield f"{path}: no schema"
        return
    if FORBIDDEN & set(schema):
        yield f"{path}: {FORBIDDEN & set(schema)}"
    if "properties" in schema and "additionalProperties" in schema:
        yield f"{path}: properties and additionalProperties exclude each other"
    if not in_junctor and "type" not in schema:
        yield f"{path}: no type"
    if in_junctor and NOT_IN_JUNCTORS & set(schema):
        yield f"{path}: {NOT_IN_JUNCTORS & set(schema)} within a junctor"
    for junctor in JUNCTORS:
        inner = schema.get(junctor, [])
        for each in inner if isinstance(inner, list) else [inner]:
            yield from structural_faults(each, f"{path}.{junctor}", in_junctor=True)
    for name, each in schema.get("properties", {}).items():
        yield from structural_faults(each, f"{path}.{name}", in_junctor=in_junctor)
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from structural_faults(schema[word], f"{path}.{word}", in_junctor=in_junctor)


@pytest.mark.parametrize("kind", sorted(MANIFESTS))
def test_the_schema_is_structural(kind: str) -> None:
    assert list(structural_faults(schema_of(kind))) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "object", "oneOf": [{"type": "string"}]},
        {"type": "array", "items": {"$ref": "#/$defs/x", "type": "string"}},
    ],
)
def test_a_schema_that_is_not_structural_is_seen(schema: dict[str, Any]) -> None:
    assert list(structural_faults(schema))


def test_every_rendered_resource_is_taken_by_its_definition() -> None:
    ours = [each for each in everything() if each["apiVersion"] == "evento.dev/v1"]
    assert {each["kind"] for each in ours} == set(MANIFESTS) and len(ours) > 30
    assert [(each["metadata"]["name"], complaints(each)) for each in ours if complaints(each)] == []


@pytest.mark.parametrize("source", ["examples/bank/manifests.yaml", "examples/bank-go/manifests.yaml", "examples/bank/bank.py"])
def test_the_manifests_of_the_examples_are_taken_by_the_definitions(source: str) -> None:
    documents = read_deployment([str(ROOT / source)])
    assert documents.contents and not documents.problems
    assert [complaints(dict(each)) for each in documents.contents if complaints(dict(each))] == []


def changed(place: int, **spec: Any) -> dict[str, Any]:
    return {**SHOP[place], "spec": {**SHOP[place]["spec"], **spec}}


def without(place: int, name: str) -> dict[str, Any]:
    return {**SHOP[place], "spec": {key: value for key, value in SHOP[place]["spec"].items() if key != name}}


WRONG = {
    "two of three": changed(0, url="http://x"),
    "none of three": without(2, "url"),
    "scale with a url": changed(2, scale={"max": 2}),
    "env with a url": changed(2, env={"A": "b"}),
    "files with an image": changed(0, files=["a"]),
    "a duration that is none": changed(2, timeout="soon"),
    "a duration as a number": changed(2, timeout=5),
    "a url with a user": changed(2, url="http://a@b"),
    "an unknown field": changed(2, colour="red"),
    "an unknown field deep inside": changed(6, retry={"often": True}),
    "a scale of nothing": changed(0, scale={"max": 0}),
    "env that is no text": changed(0, env={"A": 1}),
    "no apply": without(4, "apply"),
    "no schema": without(5, "schema"),
    "no events": changed(6, events=[]),
    "an Entity's name in lower case": changed(5, entity="abtest"),
    "a function's name in upper case": changed(4, apply="Till"),
    "a retry that shrinks": changed(6, retry={"factor": 0.5}),
    "no spec": {name: value for name, value in SHOP[0].items() if name != "spec"} | {"spec": None},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_deployment_refuses_the_definition_refuses_too(what: str) -> None:
    from evento.registry.deployment import plan_afresh

    content = WRONG[what]
    others = [each for each in SHOP if each["metadata"]["name"] != content["metadata"]["name"]]
    assert plan_afresh(documents_of([content, *others])).problems
    assert complaints(content)


NAMES = {"Checking": "checking", "WithdrawCash": "withdraw-cash", "ABTest": "a-b-test", "X": "x", "A1b2C3": "a1b2-c3"}


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_names_become_names_of_kubernetes(name: str, expected: str) -> None:
    assert object_name(name) == expected


def test_no_two_names_become_one() -> None:
    names = ["ABTest", "AbTest", "Abtest", "ABtest", "AB", "Ab"]
    assert len({object_name(name) for name in names}) == len(names)


def test_commands_of_two_entities_may_have_one_name() -> None:
    """As they may in the catalog."""
    shelf = [
        {**each, "metadata": {"name": "BeginTest", "namespace": "shop"}} if each["metadata"]["name"] == "FillShelf" else each
        for each in SHOP
    ]
    commands = [each for each in rendered_of(documents_of(shelf), OPTIONS)["2-shop.yaml"] if each["kind"] == "Command"]
    assert [each["metadata"]["name"] for each in commands] == ["a-b-test.begin-test", "shelf.begin-test"]
    assert {each["metadata"]["annotations"]["evento.dev/name"] for each in commands} == {"BeginTest"}


def test_labels_and_annotations_of_a_manifest_are_kept() -> None:
    (entity,) = (each for each in of_kind("Entity") if each["metadata"]["name"] == "a-b-test")
    assert entity["metadata"]["labels"] == {"team": "x"}
    (command,) = (each for each in of_kind("Command") if each["metadata"]["name"] == "a-b-test.begin-test")
    assert command["metadata"]["annotations"]["note"] == "first: 1\nsecond: yes"
