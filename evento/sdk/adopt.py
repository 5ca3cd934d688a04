"""Checks a dataclass against a given Avro schema: the same fields and types, in the schema's order."""

from typing import Any

from evento.sdk.compound import Mapping, Record, Sequence, Union
from evento.sdk.errors import DeclarationError
from evento.sdk.kinds import Choice, Kind, Scope


def adopt(record: Record, schema: Any) -> None:
    """Put the record's fields and branches in the schema's order. Raises DeclarationError with the path of what differs."""
    _adopt(record, schema, record.label, {})


def _adopt(kind: Kind | None, schema: Any, path: str, named: dict[str, Any]) -> None:
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if isinstance(schema, dict) and "name" in schema:
        named[schema["name"]] = named[f"{schema.get('namespace', '')}.{schema['name']}"] = schema
    if isinstance(kind, Record):
        _adopt_record(kind, schema, path, named)
    elif isinstance(kind, Union):
        _adopt_union(kind, schema, path, named)
    elif isinstance(kind, Sequence) and _type_of(schema) == "array":
        _adopt(kind.item, schema["items"], f"{path}[]", named)
    elif isinstance(kind, Mapping) and _type_of(schema) == "map":
        _adopt(kind.value, schema["values"], f"{path}{{}}", named)
    elif isinstance(kind, Choice) and _type_of(schema) == "enum":
        if list(schema["symbols"]) != kind.schema(Scope())["symbols"]:
            raise DeclarationError(f"{path}: the schema's symbols are {schema['symbols']}")
    elif _essence(kind.schema(Scope()) if kind else "null") != _essence(schema):
        raise DeclarationError(f"{path}: the schema has {schema!r}, the class {kind.label if kind else None}")


def _adopt_record(record: Record, schema: Any, path: str, named: dict[str, Any]) -> None:
    if _type_of(schema) != "record":
        raise DeclarationError(f"{path}: the schema has {schema!r}, the class a record")
    mine = {field.name: field for field in record.fields}
    theirs = [field["name"] for field in schema["fields"]]
    if set(mine) != set(theirs):
        ours, its = sorted(mine.keys() - set(theirs)), sorted(set(theirs) - mine.keys())
        raise DeclarationError(f"{path}: fields only in the class: {ours}, only in the schema: {its}")
    record.fields = [mine[name] for name in theirs]
    for field in schema["fields"]:
        _adopt(mine[field["name"]].kind, field["type"], f"{path}.{field['name']}", named)


def _adopt_union(union: Union, schema: Any, path: str, named: dict[str, Any]) -> None:
    if not isinstance(schema, list) or len(schema) != len(union.branches):
        raise DeclarationError(f"{path}: the schema has {schema!r}, the class {union.label}")
    rest, ordered = list(union.branches), []
    for branch in schema:
        match = next((candidate for candidate in rest if _fits(candidate[1], branch, path, named)), None)
        if match is None:
            raise DeclarationError(f"{path}: the class has nothing for the schema's branch {branch!r}")
        rest.remove(match)
        ordered.append(match)
    union.branches = ordered


def _fits(kind: Kind | None, schema: Any, path: str, named: dict[str, Any]) -> bool:
    try:
        _adopt(kind, schema, path, named)
    except DeclarationError:
        return False
    return True


def _type_of(schema: Any) -> Any:
    return schema.get("type") if isinstance(schema, dict) else schema


def _essence(schema: Any) -> Any:
    """Return what decides about bytes and meaning: type, logical type, and a decimal's digits."""
    if not isinstance(schema, dict):
        return schema
    if "logicalType" not in schema:
        return schema["type"]
    return schema["type"], schema["logicalType"], schema.get("precision"), schema.get("scale", 0)
