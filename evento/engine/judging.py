"""Judging Commands that came from outside as bytes: are they for here, is there such a Command, does the payload fit?

Their form was checked where they came in. What a sender with the newest catalog may say is not refused by an older one.
"""

from collections.abc import Awaitable, Callable

import msgspec

from evento.errors import EventoError, InvalidRequest, NotFound
from evento.model.command import Command
from evento.model.keys import EntityKey, check_command_id, check_instance_id
from evento.model.transition import Input
from evento.registry.catalog import Catalog


class Judging:
    """Judges against the catalog that `catalog` returns; `refresh` looks whether there is a newer one."""

    def __init__(
        self, catalog: Callable[[], Catalog], refresh: Callable[[], Awaitable[None]], partition_of: Callable[[EntityKey], int]
    ) -> None:
        self._catalog = catalog
        self.refresh = refresh
        self._partition_of = partition_of

    async def judge_input(self, given: Input, partition: int) -> Command | EventoError:
        """Return the Command of an input that was found in a partition, or why it is refused."""
        if given.command is None:
            return InvalidRequest(given.problem)
        belongs = self._partition_of(given.key)
        if belongs != partition:
            return InvalidRequest(
                f"the key {given.key.id!r} belongs to partition {belongs}, but the record is in {partition}: "
                "use the partitioner murmur2 of the key's bytes, as Java's clients do"
            )
        try:
            return self._judged(given.command)  # nearly always all there is to do
        except EventoError:
            return await self.judge(given.command)

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
        catalog, key = self._catalog(), command.key
        check_instance_id(key.id)
        check_command_id(command.id)
        catalog.command(key.namespace, key.entity, command.type)
        known = catalog.command_schema_ids(key.namespace, key.entity, command.type)
        if command.schema_id not in known:
            ids = ", ".join(map(str, known))
            raise NotFound(f"{command.type} has no schema {command.schema_id}; it has {ids}", schema_id=command.schema_id)
        payload = catalog.schema(command.schema_id).canonical(command.payload)
        return command if payload == command.payload else msgspec.structs.replace(command, payload=payload)
