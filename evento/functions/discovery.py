"""What a function says that it serves, compared with what the catalog expects. Pure.

Schemas are compared as what they mean, not as text: the same schema may be spelled in several ways.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from evento.errors import FunctionUnavailable, InvalidFunctionResult, SchemaRefused
from evento.functions.base import Expected, ExpectedEntity
from evento.protocol.envelope import PROTOCOL_VERSION, EnvelopeError, decode_discovery
from evento.schema import parse_schema

DISCOVERY_BYTES_MAX = 4 * 1024 * 1024
_PROBLEMS_SHOWN_MAX = 50


class ServedEntity(Struct, frozen=True):
    """What a function serves of one Entity: schema texts by name, "" for as deployed."""

    schema: str
    applies: bool
    commands: Mapping[str, str]
    events: Mapping[str, str]


class Discovery(Struct, frozen=True):
    """What a function serves, by namespace and name of the Entity. `single`: it takes one item per call."""

    revision: str
    sdk: str
    entities: Mapping[tuple[str, str], ServedEntity]
    single: bool = False


def read_discovery(body: bytes) -> Discovery:
    """Return the discovery in `body`. Raises InvalidFunctionResult if it is none, or of another version of the protocol."""
    try:
        columns = decode_discovery(body)
    except EnvelopeError as error:
        raise InvalidFunctionResult(f"the function's discovery is not valid: {error}") from error
    if columns["protocol"] != PROTOCOL_VERSION:
        raise InvalidFunctionResult(f"the function speaks version {columns['protocol']} of the protocol, not {PROTOCOL_VERSION}")
    entities = {(entity["namespace"], entity["name"]): _served(entity) for entity in columns["entities"]}
    return Discovery(columns["revision"], columns["sdk"], entities, columns["single"])


def check_discovery(discovery: Discovery, expected: Expected) -> None:
    """Raise FunctionUnavailable, listing each mismatch in `problems`, unless the function serves all that is expected."""
    problems = [problem for entity in expected.entities for problem in _problems(discovery, entity)]
    if not problems:
        return
    shown = problems[:_PROBLEMS_SHOWN_MAX]
    more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
    raise FunctionUnavailable(f"the function does not serve what is deployed: {'; '.join(shown)}{more}", problems=problems)


def _served(entity: dict[str, Any]) -> ServedEntity:
    return ServedEntity(
        schema=entity["schema"],
        applies=entity["applies"],
        commands={command["name"]: command["schema"] for command in entity["commands"]},
        events={event["name"]: event["schema"] for event in entity["events"]},
    )


def _problems(discovery: Discovery, expected: ExpectedEntity) -> Iterator[str]:
    name = f"{expected.namespace}/{expected.name}"
    served = discovery.entities.get((expected.namespace, expected.name))
    if served is None:
        yield f"Entity {name} is not served"
        return
    if expected.applies and not served.applies:
        yield f"Entity {name} has no apply"
    if _differ(served.schema, expected.schema):
        yield f"Entity {name} has another schema"
    for command, schema in expected.commands.items():
        if command not in served.commands:
            yield f"Command {name}/{command} is not handled"
        elif _differ(served.commands[command], schema):
            yield f"Command {name}/{command} has another schema"
    for event, schema in expected.events.items():
        if _differ(served.events.get(event, ""), schema):
            yield f"Event {name}/{event} has another schema"


def _differ(served: str, expected: str) -> bool:
    """Tell whether two schema texts mean different schemas; the same one may be spelled in several ways."""
    if not served or not expected or served == expected:
        return False
    try:
        return parse_schema(served) != parse_schema(expected)
    except SchemaRefused:
        return True
