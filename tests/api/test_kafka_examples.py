"""The example programs for Kafka, as far as they go without a broker: what they write is a Command, what is written they read."""

import asyncio
import importlib
import re
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from scripted import Server, serving

from evento.journal.kafka.inputs import Place
from evento.journal.kafka.records import event_records, outcome_record, read_input
from evento.model.command import Command, Event, OutcomeKind, Turn
from evento.model.keys import EntityKey
from evento.registry.reading import read_deployment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "kafka"
TIME_US = 1_790_000_000_123_456
SOURCES = {path.name: path.read_text("utf-8") for path in FOLDER.rglob("*") if path.suffix in (".py", ".java")}
PAGES = [ROOT / "docs" / "how-to" / name for name in ("consume-events.md", "produce-commands.md")]
NOBODY = "127.0.0.1:1"


def example(name: str) -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def documents() -> Any:
    return read_deployment([str(ROOT / "examples" / "bank" / "bank.py")])


@pytest.fixture
async def bank(documents: Any) -> AsyncIterator[Server]:
    async with serving(documents) as running:
        yield running


async def test_what_the_python_example_sends_is_a_command(bank: Server) -> None:
    writing = await asyncio.to_thread(example("send_command").Writing, f"{bank.url}/registry")
    record = await asyncio.to_thread(writing.record, "ada", {"amount": Decimal("40.00")}, "order-17")
    place = {"place": Place("bank.Checking.commands", "bank", "Checking", 0, 1), "offset": 0, "timestamp_us": TIME_US}
    given = read_input(**place, **record)
    assert given.problem == ""
    command, catalog = given.command, bank.scripted.registry.catalog
    assert command is not None
    assert (command.id, command.key, command.type) == ("order-17", ("bank", "Checking", "ada"), "WithdrawCash")
    assert command.schema_id == catalog.command("bank", "Checking", "WithdrawCash").schema_id
    assert catalog.schema(command.schema_id).canonical(command.payload) == command.payload
    assert catalog.schema(command.schema_id).to_json(command.payload) == {"amount": "40.00"}


async def test_the_python_examples_read_events_and_outcomes(bank: Server) -> None:
    catalog = bank.scripted.registry.catalog
    spec = catalog.event("bank", "Checking", "CashWithdrawn")
    event = Event("CashWithdrawn", spec.schema_id, catalog.schema(spec.schema_id).from_json({"amount": "40.00"}))
    command = Command("order-17", EntityKey("bank", "Checking", "Zoë"), "WithdrawCash", 1, b"", TIME_US)
    turn = Turn(command, OutcomeKind.SUCCEEDED, 6, (event,), TIME_US, "r1")
    (record,), outcome = event_records("bank.Checking.events", turn), outcome_record("evento.outcomes", turn)
    reading = await asyncio.to_thread(example("read_events").Reading, f"{bank.url}/registry")
    assert await asyncio.to_thread(reading.event, record.topic, record.value, record.headers) == {
        "id": "bank/Checking/Zoë/7",
        "instance": "Zoë",
        "version": 7,
        "type": "bank.CashWithdrawn",
        "rejection": False,
        "data": {"amount": Decimal("40.00")},
    }
    assert example("send_command").is_about("order-17", outcome.headers)
    assert not example("send_command").is_about("order-18", outcome.headers)


def test_the_settings_of_the_python_examples_are_taken_by_the_client() -> None:
    example("read_events").consumer(NOBODY).close()
    assert example("send_command").producer(NOBODY).flush(0) == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_the_example_as_it_is(page: Path) -> None:
    shown = re.findall(r"^```(?:python|java)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert len(shown) >= 2
    for block in shown:
        assert any(flat(block) in flat(source) for source in SOURCES.values()), block


def flat(text: str) -> str:
    """Return a text without indentation and empty lines: a page shows methods without their class."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
