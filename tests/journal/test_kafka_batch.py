"""What one commit puts on the topics."""

from collections import Counter
from collections.abc import Callable

from evento.journal.kafka.address import parse_address
from evento.journal.kafka.batch import Batch
from evento.journal.kafka.names import Names
from evento.journal.kafka.records import Done
from evento.model.command import Command, Event, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Run, Transition

NAMES = Names(parse_address("kafka://localhost:9092?partitions=4"))
KEY = EntityKey("bank", "Account", "a1")
EVENTS, STATES, OUTCOMES, PENDING = "bank.Account.events", "bank.Account.state", "evento.outcomes", "evento.pending"
VERSION: Callable[[EntityKey], int] = {KEY: 2}.__getitem__


def run(before: int) -> Run:
    command = Command(f"c{before}", KEY, "Open", 1, b"\x02", 1_000)
    turn = Turn(command, OutcomeKind.SUCCEEDED, before, (Event("Opened", 2, b"\x04"),), 2_000, "r1")
    return Run(KEY, before, (turn,), State(before + 1, b"\x06", 3, "r1"))


def test_each_turn_has_its_records_and_each_state_stands_once_as_it_is_after_all() -> None:
    batch = Batch(NAMES, {}, {})
    batch.add(Transition(runs=(run(0),)), VERSION)
    batch.add(Transition(runs=(run(1),)), VERSION)
    made = list(batch)
    assert Counter(record.topic for record in made) == {EVENTS: 2, OUTCOMES: 2, STATES: 1}
    assert [dict(record.headers)["ce_sequence"][-1:] for record in made if record.topic == EVENTS] == [b"1", b"2"]
    assert [dict(record.headers)["evento-version"] for record in made if record.topic == STATES] == [b"2"]


def test_the_records_of_a_commit_that_is_made_again_are_the_same() -> None:
    batch = Batch(NAMES, {"source": Done(3)}, {})
    batch.add(Transition(runs=(run(0),), resolved=(7,), inputs=(("source", 4),)), VERSION)
    first = list(batch)
    assert first == list(batch)
    assert [record.topic for record in first][-2:] == [PENDING, PENDING]


def test_where_nothing_changes_there_is_nothing_to_commit() -> None:
    batch = Batch(NAMES, {"source": Done(3)}, {})
    assert not batch
    batch.add(Transition(inputs=(("source", 3),)), VERSION)
    assert not batch
    assert not list(batch)
    batch.add(Transition(inputs=(("source", 4),)), VERSION)
    assert batch
