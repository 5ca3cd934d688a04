"""The Commands of one partition that are not finished, by instance and id, and how many of them are in memory alone. Bounded."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from evento.engine.ticket import TICKET_BYTES, Ticket
from evento.errors import NotFound
from evento.lifecycle.settle import pending_of
from evento.model.command import Pending
from evento.model.keys import EntityKey


class Limits(Struct, frozen=True):
    """What a worker holds at most, and how much it takes at a time."""

    inbox_commands: int = 20_000
    # Of those that came as records, which may wait on their topic as well. Many at hand make long runs and large commits.
    input_commands: int = 160_000
    inbox_bytes: int = 64 * 1024 * 1024
    pending_commands: int = 200_000
    batch_commands: int = 1000
    batch_bytes: int = 8 * 1024 * 1024  # of payloads and states
    input_batch_commands: int = 4000  # where Commands came as records, for whose answer nobody waits
    run_commands: int = 250  # of one instance in one batch
    batches: int = 2  # with one function at the same time
    commits: int = 4  # with the journal at the same time
    cached_instances: int = 50_000
    cached_bytes: int = 48 * 1024 * 1024

    @classmethod
    def of(cls, inbox_commands: int, batch_commands: int) -> Self:
        """Return the limits that go with so many Commands in memory, and in a call, for whose answers somebody waits."""
        inputs = {"input_commands": 16 * inbox_commands, "input_batch_commands": 8 * batch_commands}
        return cls(inbox_commands=inbox_commands, batch_commands=batch_commands, **inputs)


def shared(limits: Limits, partitions: int) -> Limits:
    """Return the limits of one of several workers in a process: twice an even share of what it holds, for no load is even.

    However many there are, half of an inbox holds a batch: with less, commits would be small, and cost as much as large ones. The
    bytes bound memory all the same.
    """
    names = (
        "inbox_commands",
        "input_commands",
        "inbox_bytes",
        "pending_commands",
        "batch_bytes",
        "cached_instances",
        "cached_bytes",
    )
    shares = {name: max(1, getattr(limits, name) * min(2, partitions) // partitions) for name in names}
    shares["inbox_commands"] = max(shares["inbox_commands"], min(limits.inbox_commands, 2 * limits.batch_commands))
    return replace(limits, **shares)


class Unfinished:
    """What was accepted and has not ended. The inbox is the part of it that is not among the journal's pending."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # By id alone, which is cheaper by half a microsecond; those of which another instance has a Command with the same id apart.
        self._tickets: dict[str, Ticket] = {}
        self._others: dict[tuple[EntityKey, str], Ticket] = {}
        self.inbox_commands = 0
        self._inbox_bytes = 0
        self._inputs = 0  # among those in the inbox
        self.room = asyncio.Event()  # set whenever there may be more room than before, or none any more

    def __len__(self) -> int:
        return len(self._tickets) + len(self._others)

    # ------------------------------------------------------------ in and out
    def add(self, ticket: Ticket) -> None:
        """Take a Command in that the journal does not have."""
        self.take_up(ticket)
        ticket.in_inbox = True
        self.inbox_commands += 1
        self._inbox_bytes += len(ticket.command.payload) + TICKET_BYTES
        self._inputs += ticket.is_input

    def take_up(self, ticket: Ticket) -> None:
        """Take a Command in that is among the pending."""
        command = ticket.command
        first = self._tickets.setdefault(command.id, ticket)
        if first is not ticket:
            self._others[command.key, command.id] = ticket

    def leave_inbox(self, ticket: Ticket) -> None:
        """Note that the journal has it now."""
        if ticket.in_inbox:
            ticket.in_inbox = False
            self._leave_inbox(1, len(ticket.command.payload), int(ticket.is_input))

    def remove(self, tickets: Sequence[Ticket]) -> None:
        """Forget Commands that have ended; some may have before."""
        known, others = self._tickets, self._others
        commands = size = inputs = 0
        for ticket in tickets:
            command = ticket.command
            if ticket.in_inbox:
                ticket.in_inbox = False
                commands += 1
                size += len(command.payload)
                inputs += ticket.is_input
            found = known.pop(command.id, None)
            if found is not ticket:
                if found is not None:
                    known[command.id] = found
                if others.get((command.key, command.id)) is ticket:
                    del others[command.key, command.id]
        self._leave_inbox(commands, size, inputs)

    def _leave_inbox(self, commands: int, size: int, inputs: int) -> None:
        """Make room: so many Commands with payloads of `size` bytes, so many of them records."""
        self.inbox_commands -= commands
        self._inbox_bytes -= size + commands * TICKET_BYTES
        self._inputs -= inputs
        self.room.set()

    def clear(self) -> Sequence[Ticket]:
        """Forget all, and return them."""
        tickets = list(self._all())
        self._tickets.clear()
        self._others.clear()
        self.room.set()
        return tickets

    # ------------------------------------------------------------ room
    def has_room(self) -> bool:
        """Tell whether another Command is taken in that cannot wait where it is."""
        limits = self._limits
        return (
            self.inbox_commands - self._inputs < limits.inbox_commands
            and self._inbox_bytes < limits.inbox_bytes
            and self._pending < limits.pending_commands
        )

    def has_room_for_inputs(self) -> bool:
        """Tell whether one is taken that can: a quarter of the bytes is left to those that cannot."""
        limits = self._limits
        return (
            self._inputs < limits.input_commands
            and 4 * self._inbox_bytes < 3 * limits.inbox_bytes
            and self._pending < limits.pending_commands
        )

    @property
    def _pending(self) -> int:
        return len(self._tickets) + len(self._others) - self.inbox_commands

    async def wait_change(self) -> None:
        """Wait until there may be more room than now, or none any more."""
        self.room.clear()
        await self.room.wait()

    # ------------------------------------------------------------ looking
    def find(self, key: EntityKey, command_id: str) -> Ticket | None:
        """Return an unfinished Command."""
        ticket = self._tickets.get(command_id)
        if ticket is not None and ticket.command.key == key:
            return ticket
        return self._others.get((key, command_id)) if self._others else None

    def find_or_raise(self, key: EntityKey, command_id: str) -> Ticket:
        """Return an unfinished Command. Raises NotFound."""
        ticket = self.find(key, command_id)
        if ticket is None:
            raise NotFound(f"no unfinished Command {command_id!r} of {key}", command_id=command_id)
        return ticket

    def holds(self, ticket: Ticket) -> bool:
        """Tell whether this very Command has not ended."""
        return self.find(ticket.command.key, ticket.command.id) is ticket

    def _all(self) -> Iterator[Ticket]:
        return chain(self._tickets.values(), self._others.values())

    def pending(self) -> Sequence[Pending]:
        """Return all durable unfinished Commands."""
        return [pending_of(ticket) for ticket in self._all() if ticket.durable]

    def count_pending(self) -> tuple[int, int]:
        """Return how many durable unfinished Commands there are, and how many of them are parked."""
        parked = [ticket.parked for ticket in self._all() if ticket.durable]
        return len(parked), sum(parked)
