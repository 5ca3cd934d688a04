"""Fills a data folder with the bank's accounts and their deposits, straight into the journal: what is measured comes afterwards."""

from decimal import Decimal
from pathlib import Path

from evento.bootstrap import JOURNAL_FILE
from evento.journal.sqlite import open_sqlite
from evento.model.command import Command, Event, OutcomeKind, State, Turn
from evento.model.keys import EntityKey
from evento.model.transition import Appended, Run, Transition
from evento.registry.catalog import Catalog
from evento.registry.deployment import Registry
from evento.registry.reading import read_deployment
from evento.settings import Settings, read_settings

BANK = Path(__file__).resolve().parents[1] / "examples/bank/bank.py"
_RUNS_PER_COMMIT = 2000


def settings_of(data: Path) -> Settings:
    return read_settings({}, data=str(data), port=0)


async def fill(data: Path, *, instances: int, events_each: int) -> None:
    """Store `events_each` events of each of `instances` accounts, round after round, as traffic would have."""
    data.mkdir(parents=True, exist_ok=True)
    async with open_sqlite(data / JOURNAL_FILE) as journal:
        registry = Registry(journal)
        catalog = await registry.commit(registry.plan(read_deployment([str(BANK)])))
        maker = _Maker(catalog)
        async with journal.own(0) as partition:
            for number in range(events_each):
                for start in range(0, instances, _RUNS_PER_COMMIT):
                    keys = range(start, min(start + _RUNS_PER_COMMIT, instances))
                    result = await partition.append(Transition(runs=tuple(maker.run(key, number) for key in keys)))
                    if not isinstance(result, Appended):
                        raise SystemExit(f"the journal refused: {result}")


class _Maker:
    """Makes the turns: an opening, then deposits of 1.00."""

    def __init__(self, catalog: Catalog) -> None:
        entity = catalog.entity("bank", "Checking")
        self._entity = entity
        # The revision that serves later: nothing is stale, so nothing is folded again before it is measured.
        self._revision = catalog.function("bank", entity.apply).revision
        self._state_schema = catalog.schema(entity.schema_id)
        self._opening = catalog.schema(entity.commands["OpenChecking"].schema_id).from_json({"owner": "A", "overdraft_limit": "0"})
        self._opened = catalog.schema(entity.events["CheckingOpened"].schema_id).from_json({"owner": "A", "overdraft_limit": "0"})
        self._amount = {
            name: catalog.schema(schema_id).from_json({"amount": "1.00"})
            for name, schema_id in (
                ("ReceiveDeposit", entity.commands["ReceiveDeposit"].schema_id),
                ("MoneyReceived", entity.events["MoneyReceived"].schema_id),
            )
        }

    def run(self, account: int, number: int) -> Run:
        key = EntityKey("bank", "Checking", f"a{account}")
        name, payload, event, content = "OpenChecking", self._opening, "CheckingOpened", self._opened
        if number:
            name, payload = "ReceiveDeposit", self._amount["ReceiveDeposit"]
            event, content = "MoneyReceived", self._amount["MoneyReceived"]
        command = Command(f"{account}-{number}", key, name, self._entity.commands[name].schema_id, payload, 1_700_000_000_000_000)
        kept = Event(event, self._entity.events[event].schema_id, content)
        turn = Turn(command, OutcomeKind.SUCCEEDED, number, (kept,), 1_700_000_000_000_000, self._revision)
        return Run(key, number, (turn,), State(number + 1, self._state(number), self._entity.schema_id, self._revision))

    def _state(self, number: int) -> bytes:
        value = {"owner": "A", "balance": str(Decimal(number)), "overdraft_limit": "0", "status": "OPEN"}
        return self._state_schema.from_json(value)
