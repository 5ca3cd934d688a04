"""Judging Commands that came from outside as bytes: is there such a Command, does the payload fit?

Their form was checked where they came in, and that they are for here. What a sender with the newest catalog may say is not refused
by an older one.
"""

from collections.abc import Awaitable, Callable

import msgspec

from evento.errors import EventoError, InvalidRequest, NotFound
from evento.model.command import Command
from evento.model.keys import check_command_id, check_instance_id
from evento.model.transition import Input
from evento.registry.catalog import Catalog

Canonical = Callable[[bytes], bytes]
Judged = Command | EventoError | Awaitable[Command | EventoError]


class Judging:
    """Judges against the catalog that `catalog` returns; `refresh` looks whether there is a newer one."""

    def __init__(self, catalog: Callable[[], Catalog], refresh: Callable[[], Awaitable[None]]) -> None:
        self._catalog = catalog
        self.refresh = refresh
        self._used: Catalog | None = None
        self._canonical: dict[tuple[str, str, str, int], Canonical] = {}  # of that catalog, for what was asked for

    def judge_input(self, given: Input) -> Judged:
        """Return the Command of an input, or why it is refused. If the catalog in use does not know the Command, that must be
        waited for."""
        command = given.command
        if command is None:
            return InvalidRequest(given.problem)
        try:
            return self._fitting(self._catalog(), command)  # ids were checked with the record's form
        except EventoError:
            return self.judge(command)

    async def judge(self, command: Command) -> Command | EventoError:
        """Return a Command as it may be executed, its payload canonical, or why it is refused."""
        try:
            return self._judged(command)
        except NotFound:
            await self.refresh()
        except EventoError as error:
            return error
        try:
            return self._judged(command)
        except EventoError as error:
            return error

    def _judged(self, command: Command) -> Command:
        check_instance_id(command.key.id)
        check_command_id(command.id)
        return self._fitting(self._catalog(), command)

    def _fitting(self, catalog: Catalog, command: Command) -> Command:
        """Return a Command as this catalog has it. Raises NotFound, PayloadRefused."""
        if catalog is not self._used:
            self._used, self._canonical = catalog, {}
        namespace, entity, _ = command.key
        place = (namespace, entity, command.type, command.schema_id)
        canonical = self._canonical.get(place)
        if canonical is None:
            canonical = self._canonical[place] = _canonical(catalog, *place)
        payload = canonical(command.payload)
        return command if payload == command.payload else msgspec.structs.replace(command, payload=payload)


def _canonical(catalog: Catalog, namespace: str, entity: str, kind: str, schema_id: int) -> Canonical:
    catalog.command(namespace, entity, kind)
    known = catalog.command_schema_ids(namespace, entity, kind)
    if schema_id not in known:
        ids = ", ".join(map(str, known))
        raise NotFound(f"{kind} has no schema {schema_id}; it has {ids}", schema_id=schema_id)
    return catalog.schema(schema_id).canonical
