"""What a handle may know besides its Command and the Entity."""

from datetime import datetime
from typing import Any

from evento.sdk.binary import read_datetime


class Context:
    """The third, optional parameter of a handle.

    `id` is the instance's; `version` says how many events it has before this Command. The others come with the Command.
    """

    __slots__ = ("_more", "_time_us", "command_id", "id", "version")

    def __init__(self, instance_id: str, version: int, command_id: str, time_us: int, more: dict[str, Any] | None = None) -> None:
        self.id = instance_id
        self.version = version
        self.command_id = command_id
        self._time_us = time_us
        self._more = more or {}

    @property
    def time(self) -> datetime:
        """Return when the Command was accepted, in UTC. The same at every attempt: use it instead of the machine's clock."""
        return read_datetime(self._time_us)

    @property
    def correlation_id(self) -> str | None:
        """Return the id of the conversation this Command belongs to, if its sender named one."""
        return self._more.get("correlation_id")

    @property
    def causation_id(self) -> str | None:
        """Return the id of what caused this Command, if its sender named one."""
        return self._more.get("causation_id")

    @property
    def actor(self) -> str | None:
        """Return on whose behalf the Command was sent, if known."""
        return self._more.get("actor")

    @property
    def traceparent(self) -> str | None:
        """Return the W3C trace context, if there is one."""
        return self._more.get("traceparent")
