"""A Command is not looked for if its id was made for it just now, and only when it is accepted for the first time."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from evento.clock import SystemClock
from evento.engine.engine import Engine
from evento.engine.ticket import Answer, Ticket, Waiter
from evento.engine.worker import Worker
from evento.errors import NotReady
from evento.journal.memory import MemoryJournal
from evento.model.command import Command, NewCommand
from evento.model.keys import EntityKey
from evento.testing.virtual import run_virtual

KEY = EntityKey("bank", "Account", "a")
OLD, NEW = Command("1", KEY, "Deposit", 1, b"", 0), NewCommand("2", KEY._replace(id="b"), "Deposit", 1, b"", 0)


class Noting:
    """A worker that notes what it accepts, and whether it need not look for it."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, bool]] = []

    def accept(self, command: Command, waiter: Waiter, place: int = 0, *, eager: bool, new: bool = False) -> Ticket:
        self.accepted.append((command.id, new))
        waiter.tell(place, NotReady())
        return Ticket(command, 0, waiter, place, eager)


class Deaf:
    """Waits for nothing."""

    def tell(self, place: int, answer: Answer) -> None:
        pass


def accepted(commands: Sequence[Command], how: str) -> list[tuple[str, bool]]:
    worker = Noting()

    async def work() -> None:
        engine = Engine(MemoryJournal(), SystemClock(), lambda: 0.5)
        engine._workers[0] = (cast(Worker, worker), cast(Any, None))
        if how == "many":
            await engine.send_many(commands, wait_s=1)
        for command in commands if how == "submit" else ():
            engine.submit(command, Deaf(), wait_s=1)
        for command in commands if how == "again" else ():
            engine.take_in(cast(Worker, worker), command, Deaf(), wait_s=1)
        await asyncio.sleep(0)

    run_virtual(work())
    return worker.accepted


def test_only_a_new_command_is_not_looked_for() -> None:
    assert accepted([OLD, NEW], "submit") == accepted([OLD, NEW], "many") == [("1", False), ("2", True)]


def test_what_may_have_been_accepted_by_another_worker_before_is_looked_for() -> None:
    assert accepted([OLD, NEW], "again") == [("1", False), ("2", False)]


def test_a_new_command_is_stored_as_any_other() -> None:
    same = Command(*(getattr(NEW, name) for name in NEW.__struct_fields__))
    assert msgspec.msgpack.encode(NEW) == msgspec.msgpack.encode(same)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(NEW), type=Command) == same
