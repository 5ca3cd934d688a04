"""What a function serves against what the catalog expects."""

import pytest

from evento.errors import FunctionUnavailable, InvalidFunctionResult
from evento.functions.base import Expected, ExpectedEntity
from evento.functions.discovery import check_discovery, read_discovery
from evento.protocol.envelope import DISCOVERY, encode

SCHEMA = '{"type": "record", "name": "Open", "fields": [{"name": "a", "type": "int"}]}'
REORDERED = '{ "name":"Open", "type":"record","fields":[{"type":"int","name":"a"}] }'
OTHER = '{"type": "record", "name": "Open", "fields": [{"name": "a", "type": "long"}]}'


def body(**entity: object) -> bytes:
    served = {
        "namespace": "bank",
        "name": "Checking",
        "schema": SCHEMA,
        "applies": True,
        "commands": [{"name": "Open", "schema": SCHEMA, "events": ["Opened"], "rejections": []}],
        "events": [{"name": "Opened", "schema": SCHEMA}],
    }
    return encode(DISCOVERY, {"protocol": 1, "sdk": "x", "revision": "r", "entities": [served | entity], "single": False})


def expected(**fields: object) -> Expected:
    wanted = {"applies": True, "schema": SCHEMA, "commands": {"Open": SCHEMA}, "events": {"Opened": SCHEMA}}
    return Expected([ExpectedEntity("bank", "Checking", **(wanted | fields))])  # type: ignore[arg-type]


def problems(served: bytes, wanted: Expected) -> list[str]:
    try:
        check_discovery(read_discovery(served), wanted)
    except FunctionUnavailable as error:
        assert all(problem in error.message for problem in error.details["problems"])
        return list(error.details["problems"])
    return []


def test_what_is_expected_and_more_is_welcome() -> None:
    assert problems(body(), expected()) == []
    assert problems(body(), expected(applies=False, commands={}, events={})) == []
    assert problems(body(), Expected()) == []


def test_schemas_are_compared_as_json_and_only_if_given() -> None:
    assert problems(body(schema=REORDERED), expected()) == []
    assert (
        problems(body(schema="", commands=[{"name": "Open", "schema": "", "events": [], "rejections": []}], events=[]), expected())
        == []
    )
    assert problems(body(), expected(schema="", commands={"Open": ""}, events={"Opened": ""})) == []


@pytest.mark.parametrize("schema", [OTHER, "not json", "[" * 100_000])
def test_another_schema_is_a_mismatch(schema: str) -> None:
    assert problems(body(schema=schema), expected()) == ["Entity bank/Checking has another schema"]


def test_all_mismatches_are_listed() -> None:
    served = body(applies=False, schema=OTHER, events=[{"name": "Opened", "schema": OTHER}])
    wanted = expected(commands={"Open": OTHER, "Close": SCHEMA})
    assert problems(served, Expected([*wanted.entities, ExpectedEntity("bank", "Savings")])) == [
        "Entity bank/Checking has no apply",
        "Entity bank/Checking has another schema",
        "Command bank/Checking/Open has another schema",
        "Command bank/Checking/Close is not handled",
        "Event bank/Checking/Opened has another schema",
        "Entity bank/Savings is not served",
    ]


@pytest.mark.parametrize("served", [b"", b"{}", body()[:-2], body() + b"x"])
def test_bytes_that_are_no_discovery_are_refused(served: bytes) -> None:
    with pytest.raises(InvalidFunctionResult):
        read_discovery(served)


def test_a_discovery_says_whether_single_items_are_wanted_and_an_older_one_says_no() -> None:
    assert not read_discovery(body()).single
    assert read_discovery(body()[:-1] + b"\1").single
    assert read_discovery(body()[:-1]) == read_discovery(body())
