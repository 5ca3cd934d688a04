"""From what came over the wire to a Command: names, ids, sizes and payload checked, by the same code for one and for a stream.

Knows the catalog; asks for no time (it is given) and sends nothing.
"""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct

from evento.api.ids import CommandIds
from evento.api.json_in import parse_json
from evento.errors import InvalidRequest, TooLarge
from evento.model.command import Command, Context, NewCommand
from evento.model.keys import EntityKey, check_command_id, check_instance_id, check_namespace, check_type_name
from evento.model.limits import COMMAND_BYTES_MAX
from evento.registry.catalog import Catalog
from evento.schema import Schema

NOTHING = b"{}"


class Target(Struct, frozen=True):
    """A Command type as the catalog has it now."""

    namespace: str
    entity: str
    command: str
    schema_id: int
    schema: Schema


class Request(Struct):
    """A Command as its sender put it; the payload is JSON, or Avro if `avro` says so."""

    instance_id: str
    data: bytes | msgspec.Raw
    avro: bool = False
    command_id: str | None = None
    expected: int | None = None
    due_us: int | None = None
    context: Context | None = None


class Intake:
    """Checks requests and makes Commands of them. Keeps what it looked up until the catalog has another version."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._version = -1
        self._targets: dict[tuple[str, ...], Target] = {}
        self._ids = CommandIds()

    def target(self, namespace: str, entity: str, command: str) -> Target:
        """Return a Command type. Raises InvalidName, NotFound."""
        catalog = self._fresh()
        found = self._targets.get((namespace, entity, command))
        if found is None:
            check_namespace(namespace)
            check_type_name(entity, "entity")
            check_type_name(command, "command")
            spec = catalog.command(namespace, entity, command)
            found = Target(namespace, entity, command, spec.schema_id, catalog.schema(spec.schema_id))
            self._targets[namespace, entity, command] = found
        return found

    def targets(self) -> Mapping[tuple[str, ...], Target]:
        """Return the Command types found so far, by what was asked for; right until something is awaited."""
        self._fresh()
        return self._targets

    def target_at(self, path: str, command: str) -> Target:
        """Return a Command type; `path` is as in bank/Checking. Raises InvalidRequest, InvalidName, NotFound."""
        namespace, slash, entity = path.partition("/")
        if not slash:
            rule = "namespace and Entity, for example bank/Checking"
            raise InvalidRequest(f"entity {path[:80]!r}: must be {rule}", field="entity", rule=rule, value=path[:80])
        found = self._targets[path, command] = self.target(namespace, entity, command)
        return found

    def _fresh(self) -> Catalog:
        catalog = self._catalog()
        if catalog.version != self._version:
            self._targets.clear()
            self._version = catalog.version
        return catalog

    def command(self, target: Target, request: Request, now_us: int) -> Command:
        """Return the Command. Raises InvalidName, InvalidRequest, PayloadRefused, TooLarge; each names the field and the rule."""
        kind: type[Command]
        command_id = request.command_id
        if command_id is None:
            kind, command_id = NewCommand, self._ids.next(now_us)
        else:
            kind, command_id = Command, check_command_id(command_id)
        return kind(
            command_id,
            EntityKey(target.namespace, target.entity, check_instance_id(request.instance_id)),
            target.command,
            target.schema_id,
            _payload(target.schema, request),
            now_us,
            request.expected,
            request.due_us,
            request.context,
        )


def _payload(schema: Schema, request: Request) -> bytes:
    if request.avro:
        payload = schema.canonical(bytes(request.data))
    else:
        value = parse_json(bytes(request.data) or NOTHING)
        if type(value) is not dict:
            raise InvalidRequest("the data of a Command must be a JSON object", field="data", rule="a JSON object")
        payload = schema.from_json(value)
    if len(payload) > COMMAND_BYTES_MAX:
        raise too_large(len(payload))
    return payload


def too_large(size: int | None, limit: int = COMMAND_BYTES_MAX) -> TooLarge:
    """Return the refusal of a payload of `size` bytes (None: larger than the limit, nobody counted further)."""
    value = f"more than {limit}" if size is None else str(size)
    return TooLarge(f"{value} bytes are more than the limit of {limit}", field="body", rule=f"at most {limit} bytes", value=value)
