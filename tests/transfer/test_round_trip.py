"""What goes through files comes back as it was: through every kind of journal, from one partition to several and back."""

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from io import BytesIO
from itertools import count
from pathlib import Path

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evento.journal.base import Journal
from evento.journal.memory import MemoryJournal
from evento.journal.sqlite import open_sqlite
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.transition import Run
from evento.transfer.checking import check_export
from evento.transfer.exporting import export_journal
from evento.transfer.importing import import_journal
from evento.transfer.kinds import CATALOG, PENDING, SCHEMA, STATE, TURN
from tests.transfer import samples
from tests.transfer.samples import ManyPartitions, apart, everything, fill, key, owning

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "export-format.md"
Opened = AbstractAsyncContextManager[Journal]


@asynccontextmanager
async def memory(partitions: int = 1) -> AsyncIterator[Journal]:
    yield MemoryJournal() if partitions == 1 else ManyPartitions(partitions)


async def moved(journal: Journal, folder: Path, target: Journal, **limits: int) -> None:
    await export_journal(journal, folder, **limits)
    await import_journal(target, await check_export(folder), nullcontext())


def fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


KINDS: dict[str, Callable[[Path], Opened]] = {
    "memory": lambda path: memory(),
    "sqlite": lambda path: open_sqlite(path / "evento.db"),
    "three": lambda path: memory(3),
}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
async def test_everything_comes_back_through_any_two_journals(source: str, target: str, tmp_path: Path) -> None:
    async with KINDS[source](tmp_path / "a") as first, KINDS[target](tmp_path / "b") as second:
        await fill(first)
        await moved(first, tmp_path / "files", second)
        before, after = await everything(first), await everything(second)
        assert apart(after) == apart(before)
        assert list(await second.check()) == []
        if first.partitions == second.partitions:
            assert after == before
            await export_journal(second, tmp_path / "again")
            assert fingerprint(tmp_path / "again") == fingerprint(tmp_path / "files")


async def test_a_feed_keeps_its_order_when_partitions_are_put_together(tmp_path: Path) -> None:
    many, one = ManyPartitions(4), MemoryJournal()
    await fill(many)
    await moved(many, tmp_path / "files", one)
    before, after = await everything(many), await everything(one)
    assert [turn for turns in before["feeds"] for turn in turns] == after["feeds"][0]


async def test_what_is_pending_keeps_its_order_and_gets_other_numbers_only_where_they_meet(tmp_path: Path) -> None:
    many, one, back = ManyPartitions(4), MemoryJournal(), ManyPartitions(4)
    numbers = [count(1) for _ in range(4)]  # each partition counts for itself
    async with owning(many) as put:
        for place in range(36):
            of = key(f"acc-{place % 12}")
            await put(pending=[Pending(next(numbers[many.partition_of(of)]), samples.command(of, f"p{place}"))])
    assert await many.append_catalog(1, samples.catalogs()[0])

    await moved(many, tmp_path / "together", one)
    before, after = await everything(many), await everything(one)
    assert apart(after) == apart(before)
    [entries] = after["pending"]
    assert len({entry.number for entry in entries}) == 36
    assert entries[0].number == 1

    await moved(one, tmp_path / "apart", back)
    found = [entry for part in (await everything(back))["pending"] for entry in part]
    assert sorted(found, key=lambda entry: entry.number) == entries


async def test_turns_are_cut_into_parts(tmp_path: Path) -> None:
    journal, other = MemoryJournal(), MemoryJournal()
    async with owning(journal) as put:
        for instance in range(5):
            of = key(f"acc-{instance}")
            turns = [one_event(samples.command(of, f"c{number}"), number) for number in range(1_000)]
            await put(*(Run(of, turn.before, (turn,), samples.state(of, turn.version)) for turn in turns))
    assert await journal.append_catalog(1, samples.catalogs()[0])
    await moved(journal, tmp_path / "files", other, part_bytes=1)
    parts = sorted(path.name for path in (tmp_path / "files").glob("turns-*"))
    assert parts == [f"turns-00000-{part:05d}.avro" for part in range(1, 6)]
    assert await everything(other) == await everything(journal)


def one_event(command: Command, before: int) -> Turn:
    return Turn(command, OutcomeKind.SUCCEEDED, before, (samples.deposited(command.key, before),), samples.TIME_US, "r1")


async def test_anybodys_avro_tool_reads_the_files(tmp_path: Path) -> None:
    """The container as fastavro's own reader sees it, and each payload with the schema that its id stands for."""
    journal = MemoryJournal()
    await fill(journal)
    await export_journal(journal, tmp_path / "files")
    files = {path.name: list(fastavro.reader(path.open("rb"))) for path in (tmp_path / "files").glob("*.avro")}
    texts = {record["id"]: fastavro.parse_schema(json.loads(record["text"])) for record in files["schemas.avro"]}
    assert [record["version"] for record in files["catalogs.avro"]] == [1, 2, 3]
    turns = files["turns-00000-00001.avro"]
    assert len(turns) == len(samples.IDS) * 2 * 5 + 1
    first = turns[0]
    assert (first["command"]["instance"], first["outcome"]) == ("ada", "succeeded")
    assert first["time"].isoformat() == "2026-09-21T14:13:20+00:00"
    event = first["events"][1]
    assert event["version"] == 2
    assert fastavro.schemaless_reader(BytesIO(event["payload"]), texts[event["schema_id"]], None) == {"amount": -2}


async def test_the_example_on_the_page_about_the_format_runs(tmp_path: Path) -> None:
    journal = MemoryJournal()
    await fill(journal)
    await export_journal(journal, tmp_path / "moving")
    [example] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    program = await asyncio.create_subprocess_exec(sys.executable, "-c", example, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
    printed, _ = await program.communicate()
    assert program.returncode == 0
    assert printed.decode().splitlines()[:2] == ["ada 1 Deposited {'amount': 1}", "ada 2 Deposited {'amount': -2}"]


def test_the_page_about_the_format_names_every_field() -> None:
    page = PAGE.read_text()
    for kind in (CATALOG, SCHEMA, TURN, STATE, PENDING):
        names = set(re.findall(r'"name": "(\w+)"', json.dumps(kind.shape)))
        assert len(names) > 2
        assert not [
            name for name in names if f"`{name}`" not in page and name not in ("Command", "Event", "Context", "Failure", "Outcome")
        ]


# ------------------------------------------------------------------ any journal at all
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
longs = st.integers(-(2**63), 2**63 - 1)
times = st.integers(0, 2**52)
contexts = st.none() | st.builds(Context, *[st.none() | texts] * 6)
failures = st.none() | st.builds(Failure, texts, texts, st.none() | texts)


@st.composite
def turns(draw: st.DrawFn, number: int, version: int) -> Turn:
    of = key(f"acc-{draw(st.integers(0, 3))}")
    made = draw(commands(f"c{number}"))
    kind = draw(st.sampled_from([OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED, OutcomeKind.CONFLICT, OutcomeKind.DISCARDED]))
    events: tuple[Event, ...] = ()
    if kind is OutcomeKind.SUCCEEDED:
        events = tuple(samples.deposited(of, draw(longs), later=draw(st.booleans())) for _ in range(draw(st.integers(1, 4))))
    elif kind is OutcomeKind.REJECTED:
        events = (samples.refused(),)
    return Turn(made, kind, version, events, draw(times), draw(texts), draw(st.integers(0, 9)), draw(failures))


@st.composite
def commands(draw: st.DrawFn, command_id: str) -> Command:
    of = key(f"acc-{draw(st.integers(0, 3))}")
    payload = samples.DEPOSIT.from_json({"amount": draw(longs), "note": draw(texts)})
    expected, due = draw(st.none() | times), draw(st.none() | times)
    return Command(command_id, of, "Deposit", 2, payload, draw(times), expected, due, draw(contexts))


@st.composite
def journals(draw: st.DrawFn) -> tuple[list[Run], list[Pending]]:
    """Draw runs, each with a state or without one, and what is pending."""
    versions: dict[object, int] = {}
    runs = []
    for number in range(draw(st.integers(0, 12))):
        turn = draw(turns(number, 0))
        of = turn.command.key
        before = versions.get(of, 0)
        turn = Turn(turn.command, turn.kind, before, turn.events, turn.time_us, turn.revision, turn.attempts, turn.failure)
        versions[of] = turn.version
        folded: State | None = samples.state(of, turn.version, draw(texts)) if turn.events and draw(st.booleans()) else None
        runs.append(Run(of, before, (turn,), folded))
    numbers = draw(st.lists(st.integers(0, 2**62), unique=True, max_size=5))
    pending = [
        Pending(number, draw(commands(f"p{number}")), draw(st.integers(0, 99)), draw(st.none() | times), draw(st.booleans()))
        for number in numbers
    ]
    return runs, pending


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(made=journals(), partitions=st.integers(1, 4))
def test_any_journal_comes_back(
    made: tuple[list[Run], list[Pending]], partitions: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def there_and_back() -> None:
        folder = tmp_path_factory.mktemp("any")
        runs, pending = made
        first, second, third = MemoryJournal(), ManyPartitions(partitions), MemoryJournal()
        async with owning(first) as put:
            await put(*runs, pending=pending)
        for version, content in enumerate(samples.catalogs(), 1):
            await first.append_catalog(version, content)
        await moved(first, folder / "a", second)
        await moved(second, folder / "b", third)
        before = await everything(first)
        assert apart(await everything(second)) == apart(before)
        assert apart(await everything(third)) == apart(before)

    asyncio.run(there_and_back())
