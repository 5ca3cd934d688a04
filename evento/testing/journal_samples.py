"""What the journal's contract is tried with: Commands, turns, runs and states as a journal is given them."""
# ruff: noqa: S101  for tests

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from evento.journal.base import Journal, Partition, TurnEntry
from evento.model.command import Command, Event, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Run, Transition

OpenJournal = Callable[[], AbstractAsyncContextManager[Journal]]
PARTITION = 0
TIME_US = 1_790_000_000_000_000
WAIT_S = 120.0
HOSTILE_IDS = (
    "Ünïcødé",
    "🏦👩‍🚀",
    'it\'s "quoted"; --',
    "a b",
    "%s{}\\",
    "null",
    "1",
    "01",
    "1.0",
    "true",
    "[1]",
    "עברית",
    "x" * 255,
)


def command(key: EntityKey, command_id: str, *, payload: bytes = b"\x02\x00amount") -> Command:
    """Make a Command."""
    return Command(id=command_id, key=key, type="Deposit", schema_id=3, payload=payload, accepted_us=TIME_US)


def turn(key: EntityKey, command_id: str, before: int, events: int = 1) -> Turn:
    """Make a finished turn."""
    made = tuple(Event(type="Deposited", schema_id=4, payload=b"%d" % (before + number)) for number in range(1, events + 1))
    kind = OutcomeKind.SUCCEEDED if events else OutcomeKind.CONFLICT
    return Turn(command=command(key, command_id), kind=kind, before=before, events=made, time_us=TIME_US + before, revision="r1")


def state(version: int, payload: bytes = b"state", revision: str = "r1") -> State:
    """Make a state."""
    return State(version=version, payload=payload + b"%d" % version, schema_id=5, revision=revision)


def run(key: EntityKey, before: int, *command_ids: str) -> Run:
    """Make a run of turns with one event each, and the state after them."""
    turns = tuple(turn(key, command_id, before + number) for number, command_id in enumerate(command_ids))
    return Run(key=key, before=before, turns=turns, state=state(before + len(turns)))


def keys(journal: Journal, count: int, entity: str = "Account") -> list[EntityKey]:
    """Return instances of the partition under test."""
    found: list[EntityKey] = []
    number = 0
    while len(found) < count:
        key = EntityKey("bank", entity, f"acc-{number:06d}")
        if journal.partition_of(key) == PARTITION:
            found.append(key)
        number += 1
    return found


def belonging(journal: Journal, ids: Sequence[str]) -> list[EntityKey]:
    """Return those of the ids that make an instance of the partition under test."""
    made = [EntityKey("bank", "Account", instance) for instance in ids]
    return [key for key in made if journal.partition_of(key) == PARTITION]


async def appended(partition: Partition, *runs: Run) -> int:
    """Append runs as one transition that must succeed; return the position."""
    result = await partition.append(Transition(runs=runs))
    assert isinstance(result, Appended), result
    return result.position


async def whole_feed(journal: Journal, limit: int = 1000) -> list[TurnEntry]:
    """Read the feed from its beginning to its end, page by page."""
    entries: list[TurnEntry] = []
    while page := await journal.history.read_feed(PARTITION, after=entries[-1].position if entries else 0, limit=limit):
        entries += page
    return entries


class OpenedStore:
    """What every part of the contract needs: a store that can be opened again and again."""

    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        """Return how to open one and the same store, again and again."""
        raise NotImplementedError

    @asynccontextmanager
    async def owned(self, open_journal: OpenJournal) -> AsyncIterator[tuple[Journal, Partition]]:
        """Open the store and own the partition under test."""
        async with asyncio.timeout(WAIT_S), open_journal() as journal, journal.own(PARTITION) as partition:
            yield journal, partition
