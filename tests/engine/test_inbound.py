"""Records on their way: each stays under way until it is finished, among the pending, or refused by a commit."""

import asyncio
import gc
from contextlib import suppress

from evento.engine.inbound import Inbound, Source
from evento.engine.ticket import Entry, Ticket
from evento.errors import IdReused
from evento.model.command import Command
from evento.model.keys import EntityKey
from evento.model.transition import Input, Transition
from evento.testing.journal_samples import TIME_US

KEY = EntityKey("bank", "Account", "a")


class NoInputs:
    async def read(self, limit: int) -> list[Input]:
        return []


def inbound() -> Inbound:
    return Inbound(NoInputs(), lambda given: IdReused(given.problem), lambda: TIME_US)


def ticket() -> Ticket:
    return Ticket(Command("c1", KEY, "Deposit", 1, b"other", 0), 1)


def brought_again(first: Ticket, source: Source, place: int) -> Entry:
    entry = Entry(place, KEY, "c1")
    first.join(source, place, eager=False)
    first.add_origin(entry)
    source.under_way.append(entry)
    return entry


def test_a_record_that_brings_again_what_is_about_to_be_refused_waits_until_it_is_told() -> None:
    refusing = inbound()
    source, first = Source(refusing, "commands"), ticket()
    first.settled = True  # it was found to be known with other content, and nobody is told yet
    entry = brought_again(first, source, 7)
    assert source.reached() is None, "a commit in between must not pass it over"
    first.tell(IdReused("known"))
    [refusal] = refusing.completed(Transition()).refusals
    assert (refusal.source, refusal.offset, refusal.key, refusal.command_id, refusal.code) == (
        "commands",
        7,
        KEY,
        "c1",
        "id-reused",
    )
    assert entry.done
    assert source.reached() == 8


def test_a_record_that_brings_again_what_is_kept_need_not_wait() -> None:
    source, first = Source(inbound(), "commands"), ticket()
    before = brought_again(first, source, 7)
    assert not before.done
    first.mark_kept()
    assert before.done
    assert brought_again(first, source, 8).done
    assert source.reached() == 9
    assert source.reached() is None


def test_a_source_is_done_up_to_the_first_that_is_not() -> None:
    source = Source(inbound(), "commands")
    first, second, third = (Ticket(Command(f"c{place}", KEY, "Deposit", 1, b"", 0), place, source, place) for place in range(3))
    source.under_way.extend((first, second, third))
    third.mark_kept()
    assert source.reached() is None
    first.mark_kept()
    assert source.reached() == 1
    second.mark_kept()
    assert source.reached() == 3


class TenThousand:
    """Inputs, and what takes them in."""

    def __init__(self) -> None:
        self.given = False
        self.taken = asyncio.Event()

    async def read(self, limit: int) -> list[Input]:
        if self.given:
            self.taken.set()
            await asyncio.get_running_loop().create_future()
        self.given = True
        commands = [Command(f"c{place}", KEY, "Deposit", 1, b"", 0) for place in range(10_000)]
        return [Input("commands", place, KEY, command.id, command) for place, command in enumerate(commands)]

    def accept_input(self, command: Command, source: Source, place: int) -> Ticket:
        return Ticket(command, place, source, place)

    def has_input_room(self) -> bool:
        return True

    async def wait_input_room(self) -> None:
        """There is always some."""

    def tell_refusals(self) -> None:
        raise AssertionError("there are none")


async def test_what_was_under_way_when_a_partition_goes_leaves_the_memory_with_it() -> None:
    """A node has many partitions, and very many records at hand of each. Nobody may have to look for cycles to be rid of them."""
    source = TenThousand()
    taking = Inbound(source, lambda given: given.command, lambda: TIME_US)
    gc.collect()
    others = tickets()  # of whatever else this process has run
    gc.disable()
    try:
        running = asyncio.create_task(taking.run(source))
        await source.taken.wait()
        assert tickets() == others + 10_000
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        del running
        for ticket in [each for each in gc.get_objects() if isinstance(each, Ticket)]:
            ticket.waiter = None  # as a worker that ends tells everybody
        del ticket
        assert tickets() == others
    finally:
        gc.enable()


def tickets() -> int:
    return sum(isinstance(each, Ticket) for each in gc.get_objects())
