"""Journals to move: one with everything that can stand in a journal, and any that a strategy makes up; and how two are compared."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from zlib import crc32

from evento.journal.base import CommandRef, EntityPlace, EventsEntry, InstanceEntry, Journal, Partition, TurnEntry
from evento.journal.memory import MemoryJournal
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey
from evento.model.resources import FunctionSpec, RetryPolicy
from evento.model.transition import Appended, Run, Transition
from evento.registry.records import (
    CatalogChange,
    CommandRecord,
    EntityRecord,
    EventRecord,
    SchemaRecord,
    encode_change,
)
from evento.registry.records import (
    CommandRef as RemovedCommand,
)
from evento.schema import Schema, parse_schema

TIME_US = 1_790_000_000_000_000
PAGE = 7
ENTITIES = ("Account", "Safe")
IDS = ("ada", "Ünïcødé", 'it\'s "quoted"; --', "🏦🚀", "1", "01", "x" * 255)


def _record(name: str, *fields: tuple[str, object]) -> Schema:
    listed = [{"name": field, "type": kind} for field, kind in fields]
    return parse_schema({"type": "record", "name": name, "namespace": "bank", "fields": listed})


ACCOUNT = _record("Account", ("balance", "long"))
DEPOSIT = _record("Deposit", ("amount", "long"), ("note", "string"))
DEPOSITED = _record("Deposited", ("amount", "long"))
REFUSED = _record("DepositRefused", ("reason", "string"))
DEPOSITED_2 = parse_schema(
    {
        "type": "record",
        "name": "Deposited",
        "namespace": "bank",
        "fields": [{"name": "amount", "type": "long"}, {"name": "note", "type": "string", "default": ""}],
    }
)
SAFE = _record("Safe", ("content", "bytes"))
SCHEMAS = (ACCOUNT, DEPOSIT, DEPOSITED, REFUSED, DEPOSITED_2, SAFE)


def catalogs() -> list[bytes]:
    """Return three versions: an Entity; a schema that went on and a second Entity; a Command that was removed."""
    texts = [SchemaRecord(number, schema.text) for number, schema in enumerate(SCHEMAS, 1)]
    retry = RetryPolicy(0.5, 3.0, 60.0, 7)
    function = FunctionSpec(
        "bank", "bank-functions", command=("python", "-m", "bank"), directory="/srv", env={"A": "b"}, revision="r1"
    )
    first = CatalogChange(
        schemas=texts[:4],
        entities=[EntityRecord("bank", "Account", 1, "bank-functions")],
        events=[EventRecord("bank", "Deposited", "Account", 3), EventRecord("bank", "DepositRefused", "Account", 4)],
        commands=[_command("Account", "Deposit", retry), _command("Account", "Give", RetryPolicy())],
        functions=[function],
    )
    second = CatalogChange(
        schemas=texts[4:],
        entities=[EntityRecord("bank", "Safe", 6, "bank-functions")],
        events=[EventRecord("bank", "Deposited", "Account", 5), EventRecord("bank", "Put", "Safe", 3)],
        commands=[CommandRecord("bank", "Safe", "Deposit", 2, ("Put",), (), "bank-functions", RetryPolicy())],
    )
    third = CatalogChange(removed_commands=[RemovedCommand("bank", "Account", "Give")])
    return [encode_change(change) for change in (first, second, third)]


def _command(entity: str, name: str, retry: RetryPolicy) -> CommandRecord:
    return CommandRecord("bank", entity, name, 2, ("Deposited",), ("DepositRefused",), "bank-functions", retry)


def key(instance: str, entity: str = "Account") -> EntityKey:
    """Return an instance."""
    return EntityKey("bank", entity, instance)


def command(of: EntityKey, command_id: str, amount: int = 1, **more: Any) -> Command:
    """Return a Command with a payload of its schema."""
    payload = DEPOSIT.from_json({"amount": amount, "note": command_id})
    return Command(command_id, of, more.pop("type", "Deposit"), 2, payload, TIME_US + amount % 1000, **more)


def deposited(of: EntityKey, amount: int, *, later: bool = False) -> Event:
    """Return an event, of the first or of the later schema."""
    if of.entity == "Safe":
        return Event("Put", 3, DEPOSITED.from_json({"amount": amount}))
    if later:
        return Event("Deposited", 5, DEPOSITED_2.from_json({"amount": amount, "note": "n"}))
    return Event("Deposited", 3, DEPOSITED.from_json({"amount": amount}))


def refused() -> Event:
    """Return a rejection."""
    return Event("DepositRefused", 4, REFUSED.from_json({"reason": "no\n“reason”"}), rejection=True)


def state(of: EntityKey, version: int, revision: str = "r1") -> State:
    """Return a state."""
    if of.entity == "Safe":
        return State(version, SAFE.from_json({"content": "/w=="}), 6, revision)
    return State(version, ACCOUNT.from_json({"balance": version}), 1, revision)


FULL = Context("k", "c", "é", "00-1", "t", "e")
FAILURE = Failure("handler-failed", "no\nreason", "bank-functions")


async def fill(journal: Journal) -> None:
    """Put everything that can stand in a journal into one."""
    async with owning(journal) as put:
        for instance in IDS:
            for entity in ENTITIES:
                await put(*_life(key(instance, entity)))
        ada, new = key("ada"), key("never-born")
        discarded = Turn(command(new, "given-up"), OutcomeKind.DISCARDED, 0, (), TIME_US, "", 4, FAILURE)
        await put(Run(new, 0, (discarded,), None))
        await put(states=((ada, state(ada, 8, "r2")),))
        await put_pending(put, ada, key("ada", "Safe"), new)
    for version, content in enumerate(catalogs(), 1):
        assert await journal.append_catalog(version, content)


def _life(of: EntityKey) -> list[Run]:
    """Return runs that lead to version 8: several events in a turn, a rejection, a conflict, turns without a state."""
    many = tuple(deposited(of, amount) for amount in (1, -2, 2**62))
    later = (deposited(of, 4, later=True),)
    last = refused() if of.entity == "Account" else deposited(of, 1)
    kind = OutcomeKind.REJECTED if of.entity == "Account" else OutcomeKind.SUCCEEDED
    given = command(of, "b", type="Give" if of.entity == "Account" else "Deposit")
    turns = (
        Turn(command(of, "a", expected=0, due_us=TIME_US + 5, context=FULL), OutcomeKind.SUCCEEDED, 0, many, TIME_US, "sha256:ab"),
        Turn(given, kind, 3, (last,), TIME_US + 1, "r1", 3, FAILURE),
        Turn(command(of, "c", expected=9, context=Context()), OutcomeKind.CONFLICT, 4, (), TIME_US + 2),
        Turn(command(of, "d" * 128, -(2**63)), OutcomeKind.SUCCEEDED, 4, later * 3, TIME_US + 3, "r1", 1),
        Turn(command(of, "e", 2**40), OutcomeKind.SUCCEEDED, 7, later, TIME_US + 4, "r1", 2, Failure("timeout", "", None)),
    )
    return [Run(of, 0, turns[:3], state(of, 4)), Run(of, 4, turns[3:4], None), Run(of, 7, turns[4:], state(of, 8))]


async def put_pending(put: "Put", first: EntityKey, second: EntityKey, third: EntityKey) -> None:
    """Put entries that wait, that are scheduled, and that are parked, with numbers far from each other."""
    entries = (
        Pending(9, command(first, "waiting")),
        Pending(3, command(second, "retrying", context=FULL), 2, TIME_US + 7, False, FAILURE),
        Pending(2**40, command(first, "scheduled", due_us=TIME_US + 9), 0, TIME_US + 9),
        Pending(17, command(third, "parked", expected=5), 7, None, True, FAILURE),
    )
    await put(pending=entries)


# ------------------------------------------------------------------ putting and comparing
class Put:
    """Appends to whichever partition an instance belongs to."""

    def __init__(self, journal: Journal, owned: Sequence[Partition]) -> None:
        self._journal = journal
        self._owned = owned

    async def __call__(self, *runs: Run, pending: Sequence[Pending] = (), states: Sequence[tuple[EntityKey, State]] = ()) -> None:
        for run in runs:
            await self._append(run.key, Transition(runs=(run,)))
        for entry in pending:
            await self._append(entry.command.key, Transition(pending=(entry,)))
        for named, rebuilt in states:
            await self._append(named, Transition(states=((named, rebuilt),)))

    async def _append(self, of: EntityKey, transition: Transition) -> None:
        result = await self._owned[self._journal.partition_of(of)].append(transition)
        assert isinstance(result, Appended), result


@asynccontextmanager
async def owning(journal: Journal) -> AsyncIterator[Put]:
    """Own all partitions."""
    async with AsyncExitStack() as stack:
        owned = [await stack.enter_async_context(journal.own(number)) for number in range(journal.partitions)]
        yield Put(journal, owned)


async def everything(journal: Journal) -> dict[str, Any]:
    """Return all that can be read of a journal through its port, but for positions."""
    feeds = [[entry.turn for entry in await feed(journal, number)] for number in range(journal.partitions)]
    named = {turn.command.key for turns in feeds for turn in turns}
    refs = [CommandRef(turn.command.key, turn.command.id) for turns in feeds for turn in turns]
    pending, states, turns_owned = [], {}, {}
    for number in range(journal.partitions):
        async with journal.own(number) as partition:
            pending.append(list(await partition.read_pending()))
            mine = sorted(of for of in named if journal.partition_of(of) == number)
            states.update(await partition.read_states(mine))
            turns_owned.update(await partition.read_turns([ref for ref in refs if journal.partition_of(ref.key) == number]))
    return {
        "feeds": feeds,
        "streams": {of: list(await journal.history.read_stream(of, limit=100_000)) for of in named},
        "turns": {ref: await journal.history.read_turn(ref) for ref in refs},
        "instances": await instances(journal),
        "catalogs": list(await journal.read_catalogs()),
        "pending": pending,
        "states": states,
        "turns of the owner": turns_owned,
    }


async def feed(journal: Journal, number: int) -> list[TurnEntry]:
    """Return the whole feed of one partition."""
    entries: list[TurnEntry] = []
    while page := await journal.history.read_feed(number, after=entries[-1].position if entries else 0):
        entries += page
    return entries


async def instances(journal: Journal) -> list[InstanceEntry]:
    """Return all instances."""
    found: list[InstanceEntry] = []
    for entity in ENTITIES:
        after = ""
        while page := await journal.history.read_instances("bank", entity, after=after, limit=PAGE):
            found += page
            after = page[-1].key.id
    return found


def apart(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what does not depend on how a journal is cut into partitions; of what is pending only its order per instance."""
    waiting: dict[EntityKey, list[object]] = {}
    for entry in sorted((entry for entries in whole["pending"] for entry in entries), key=lambda entry: entry.number):
        place = waiting.setdefault(entry.command.key, [])
        place.append((entry.command, entry.attempts, entry.due_us, entry.parked, entry.failure))
    return {**{name: value for name, value in whole.items() if name not in ("feeds", "pending")}, "waiting": waiting}


# ------------------------------------------------------------------ a journal of several partitions
class ManyPartitions:
    """A journal of several partitions, put together from journals of one each: what the port says, and nothing else."""

    def __init__(self, count: int) -> None:
        self._parts = [MemoryJournal() for _ in range(count)]
        self.history = _ManyHistory(self, self._parts)

    @property
    def partitions(self) -> int:
        return len(self._parts)

    def partition_of(self, of: EntityKey) -> int:
        return crc32("/".join(of).encode()) % len(self._parts)

    @asynccontextmanager
    async def own(self, number: int) -> AsyncIterator[Partition]:
        async with self._parts[number].own(0) as partition:
            yield _Numbered(partition, number)

    async def check(self) -> Sequence[str]:
        return []

    async def provide(self, entities: Sequence[EntityPlace]) -> None:
        for part in self._parts:
            await part.provide(entities)

    async def read_owners(self) -> Mapping[int, str]:
        return {}

    async def read_catalogs(self, *, after: int = 0) -> Sequence[tuple[int, bytes]]:
        return await self._parts[0].read_catalogs(after=after)

    async def append_catalog(self, version: int, content: bytes) -> bool:
        return await self._parts[0].append_catalog(version, content)


class _Numbered:
    def __init__(self, partition: Partition, number: int) -> None:
        self.number = number
        self.read_states = partition.read_states
        self.read_turns = partition.read_turns
        self.read_pending = partition.read_pending
        self.append = partition.append
        self.inputs = partition.inputs
        self.wait_revoked = partition.wait_revoked


class _ManyHistory:
    def __init__(self, journal: ManyPartitions, parts: Sequence[MemoryJournal]) -> None:
        self._journal = journal
        self._parts = parts

    def _part(self, of: EntityKey) -> MemoryJournal:
        return self._parts[self._journal.partition_of(of)]

    async def read_stream(self, of: EntityKey, *, after: int = 0, limit: int = 1000) -> Sequence[Turn]:
        return await self._part(of).history.read_stream(of, after=after, limit=limit)

    async def read_turn(self, ref: CommandRef) -> Turn | None:
        return await self._part(ref.key).history.read_turn(ref)

    async def read_feed(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[TurnEntry]:
        return await self._parts[partition].history.read_feed(0, after=after, limit=limit)

    async def read_events(self, partition: int, *, after: int = 0, limit: int = 1000) -> Sequence[EventsEntry]:
        return await self._parts[partition].history.read_events(0, after=after, limit=limit)

    async def read_instances(self, namespace: str, entity: str, *, after: str = "", limit: int = 1000) -> Sequence[InstanceEntry]:
        found = [await part.history.read_instances(namespace, entity, after=after, limit=limit) for part in self._parts]
        return sorted((entry for entries in found for entry in entries), key=lambda entry: entry.key)[:limit]
