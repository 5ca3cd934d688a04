"""What a file of an export can hold, by the schemas in this package; and how the schema of a file is compared with them."""

import json
from importlib.resources import files
from typing import Any

import fastavro
from fastavro.types import Schema


class Kind:
    """What a file holds, by the name of its schema in this package."""

    def __init__(self, name: str) -> None:
        self.name = name
        definition = json.loads(files(__package__).joinpath(f"{name}.avsc").read_text("utf-8"))
        self.schema: Schema = fastavro.parse_schema(definition)
        # Times are read as the numbers they are: not every one of them is a date that Python knows.
        self.plain: Schema = fastavro.parse_schema(_without(definition, {"logicalType"}))
        self.shape = shape(definition)


def shape(definition: Any) -> Any:
    """Return what counts of a schema when two are compared: not how it is commented, nor how its names are written."""
    bare = _without(definition, {"doc", "namespace"})
    return _with_short_names(bare)


def _without(definition: Any, names: set[str]) -> Any:
    if isinstance(definition, dict):
        return {name: _without(value, names) for name, value in definition.items() if name not in names}
    if isinstance(definition, list):
        return [_without(value, names) for value in definition]
    return definition


def _with_short_names(definition: Any) -> Any:
    if isinstance(definition, dict):
        return {name: _with_short_names(value) for name, value in definition.items()}
    if isinstance(definition, list):
        return [_with_short_names(value) for value in definition]
    return definition.rpartition(".")[2] if isinstance(definition, str) else definition


CATALOG, SCHEMA, TURN, STATE, PENDING = (Kind(name) for name in ("catalog", "schema", "turn", "state", "pending"))
