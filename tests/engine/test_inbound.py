"""Records on their way: each stays under way until it is finished, among the pending, or refused by a commit."""

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
