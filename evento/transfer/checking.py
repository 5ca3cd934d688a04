"""Everything that can be known about an export before anything is written: read it through once, and believe nothing.

Streams, and remembers counts alone. Whether each turn follows on the one before it is left to the journal, which knows the
versions; their sums are compared here.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from evento.errors import EventoError, TransferRefused
from evento.registry.catalog import Catalog
from evento.registry.contents import Contents
from evento.registry.records import decode_change
from evento.transfer.container import FileEntry, read_container
from evento.transfer.kinds import CATALOG, PENDING, SCHEMA, STATE, TURN, Kind
from evento.transfer.manifest import CATALOGS, SCHEMAS, STATES, Counts, Manifest, read_manifest
from evento.transfer.manifest import PENDING as PENDINGS
from evento.transfer.records import Record, pending_of, state_of, turn_of
from evento.transfer.rules import Misfit, Rules, check_increasing
from evento.transfer.stepping import Progress, silent, stepped


class Export(Struct, frozen=True):
    """A folder that was checked."""

    folder: Path
    manifest: Manifest
    catalog: Catalog


async def check_export(folder: Path, *, progress: Progress = silent) -> Export:
    """Check a whole export. Raises TransferRefused with the first thing that is wrong."""
    manifest = await asyncio.to_thread(read_manifest, folder)
    check, done = _Check(folder, manifest), 0
    async for records in stepped(check.steps()):
        done += records
        progress("checking", done, manifest.records)
    return Export(folder, manifest, check.catalog)


class _Check:
    """One pass through a folder. Blocking, in steps."""

    catalog: Catalog

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._catalogs = self._schemas = self._turns = self._events = self._instances = 0
        self._states = self._versions = self._pending = 0

    def steps(self) -> Iterator[int]:
        """Check everything, and yield after each block how many records that were."""
        contents = Contents()
        yield from self._each(self._manifest.file(CATALOGS), CATALOG, lambda record: self._catalog(record, contents))
        yield from self._each(self._manifest.file(SCHEMAS), SCHEMA, lambda record: self._schema(record, contents))
        self.catalog = self._whole(contents)
        rules = Rules(self.catalog)
        for entry in self._manifest.turns():
            yield from self._each(entry, TURN, lambda record: self._turn(record, rules), rules)
        yield from self._states_in_order(rules)
        yield from self._pending_in_order(rules)
        self._compare_counts()

    def _each(self, entry: FileEntry, kind: Kind, check: Callable[[Record], None], rules: Rules | None = None) -> Iterator[int]:
        """Check the records of a file one by one, and the payloads of a block at once."""
        number = 0
        for block in read_container(self._folder, entry, kind):
            try:
                for record in block:
                    number += 1
                    check(record)
                if rules is not None:
                    rules.check_payloads()
            except Misfit as error:
                raise TransferRefused(f"{entry.name}, record {number}: {error}", file=entry.name, record=number) from error
            yield len(block)

    def _catalog(self, record: Record, contents: Contents) -> None:
        self._catalogs += 1
        if record["version"] != self._catalogs:
            raise Misfit(f"catalog version {record['version']} stands where version {self._catalogs} should")
        try:
            contents.absorb(record["version"], decode_change(record["version"], record["content"]))
        except EventoError as error:
            raise Misfit(error.message) from error

    def _schema(self, record: Record, contents: Contents) -> None:
        self._schemas += 1
        if record["id"] != self._schemas or contents.texts[self._schemas - 1 : self._schemas] != [record["text"]]:
            raise Misfit("it is not the schema that the catalog has")

    def _whole(self, contents: Contents) -> Catalog:
        if not self._catalogs or self._schemas != len(contents.texts):
            raise TransferRefused(f"{SCHEMAS} lacks schemas that the catalog has, or {CATALOGS} is empty", file=SCHEMAS)
        catalog = Catalog(self._catalogs, contents)
        for schema_id in catalog.schema_ids:
            try:
                catalog.schema(schema_id)
            except EventoError as error:
                raise TransferRefused(f"{SCHEMAS}, schema {schema_id}: {error.message}", file=SCHEMAS) from error
        return catalog

    def _turn(self, record: Record, rules: Rules) -> None:
        turn = turn_of(record)
        rules.check_versions(record["events"], turn.before)
        rules.check_turn(turn)
        self._turns += 1
        self._events += len(turn.events)
        self._instances += turn.before == 0 and bool(turn.events)

    def _states_in_order(self, rules: Rules) -> Iterator[int]:
        last: tuple[object, ...] = ()

        def check(record: Record) -> None:
            nonlocal last
            key, state = state_of(record)
            check_increasing(last, key)
            rules.check_state(key, state)
            last = key
            self._states += 1
            self._versions += state.version

        return self._each(self._manifest.file(STATES), STATE, check, rules)

    def _pending_in_order(self, rules: Rules) -> Iterator[int]:
        last: tuple[object, ...] = ()
        seen: set[tuple[object, ...]] = set()

        def check(record: Record) -> None:
            nonlocal last
            entry, partition = pending_of(record), record["partition"]
            check_increasing(last, (entry.number, partition))
            rules.check_pending(entry)
            last = (entry.number, partition)
            name = (*entry.command.key, entry.command.id)
            if name in seen or not 0 <= partition < self._manifest.partitions:
                raise Misfit("it stands there twice, or is of a partition that does not exist")
            seen.add(name)
            self._pending += 1

        return self._each(self._manifest.file(PENDINGS), PENDING, check, rules)

    def _compare_counts(self) -> None:
        counts = Counts(self._catalogs, self._schemas, self._turns, self._events, self._states, self._pending)
        for name, said in asdict(self._manifest.counts).items():
            if said != (found := getattr(counts, name)):
                raise TransferRefused(f"the manifest says that there are {said} {name}, and the files hold {found}")
        if self._states != self._instances or self._versions != self._events:
            raise TransferRefused(f"{STATES} and the turns contradict each other: instances or versions are missing", file=STATES)
