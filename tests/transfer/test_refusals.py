"""What is not an export, or not any more, is refused with a sentence, before anything is written."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evento.bootstrap import import_data
from evento.errors import EventoError, JournalBusy, TransferRefused
from evento.journal.base import Partition
from evento.journal.memory import MemoryJournal, MemoryPartition
from evento.model.command import Pending
from evento.settings import Settings
from evento.transfer.checking import check_export
from evento.transfer.container import BLOCK_BYTES_MAX
from evento.transfer.exporting import export_journal
from evento.transfer.importing import import_journal
from evento.transfer.kinds import PENDING, STATE, TURN
from evento.transfer.manifest import NAME
from evento.transfer.owning import owning_all
from tests.transfer import samples
from tests.transfer.forging import (
    container,
    edit_manifest,
    kind_of,
    long,
    plain_bytes,
    put_bytes,
    records_of,
    replace_entry,
    rewrite,
)
from tests.transfer.samples import everything, fill, key, owning

TURNS = "turns-00000-00001.avro"
FILES = ("catalogs.avro", "schemas.avro", "states.avro", "pending.avro", TURNS)
Forge = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export with everything in it."""

    async def make() -> Path:
        journal, folder = MemoryJournal(), tmp_path_factory.mktemp("sound") / "files"
        await fill(journal)
        await export_journal(journal, folder)
        return folder

    return asyncio.run(make())


@pytest.fixture
def files(sound: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return Path(shutil.copytree(sound, tmp_path / "files"))


async def refused(files: Path, data: Path) -> str:
    """Insist that the files are refused, and that there is nothing of them afterwards; return the sentence."""
    with pytest.raises(TransferRefused) as raised:
        await import_data(Settings(data=str(data)), files)
    assert data.name not in names_in(data.parent)
    return str(raised.value.message)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# ------------------------------------------------------------------ files
async def test_a_folder_without_manifest_is_no_export(files: Path, tmp_path: Path) -> None:
    (files / NAME).unlink()
    assert "it is not an export, or one that was interrupted" in await refused(files, tmp_path / "data")
    assert "it is not an export" in await refused(files / "nowhere", files / "data")


async def test_another_format_is_named(files: Path, tmp_path: Path) -> None:
    edit_manifest(files, lambda manifest: manifest.update(format=2, new_in_format_2=True))
    assert await refused(files, tmp_path / "data") == (
        "the export has format 2; this Evento knows format 1: use another version of it"
    )


@pytest.mark.parametrize("name", FILES)
async def test_a_missing_file_is_named(name: str, files: Path, tmp_path: Path) -> None:
    (files / name).unlink()
    assert f"lacks {name}" in await refused(files, tmp_path / "data")


async def test_a_foreign_file_is_named(files: Path, tmp_path: Path) -> None:
    (files / "notes.txt").write_text("mine")
    assert "holds 'notes.txt', which its manifest does not list" in await refused(files, tmp_path / "data")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 3, 200, -17, -1])
async def test_a_file_that_was_cut_off_is_named(name: str, kept: int, files: Path, tmp_path: Path) -> None:
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[:kept])
    assert await refused(files, tmp_path / "data") == (
        f"{name} has {len(content[:kept])} bytes, and the manifest says {len(content)}"
    )


@pytest.mark.parametrize("name", FILES)
async def test_any_damage_to_a_file_is_seen(name: str, files: Path, tmp_path: Path) -> None:
    content = (files / name).read_bytes()
    for place in {*range(0, len(content), 41), *range(len(content) - 20, len(content))}:
        (files / name).write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        assert (await refused(files, tmp_path / "data")).startswith(name), place


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_ends_early_is_seen_though_the_manifest_agrees(name: str, files: Path, tmp_path: Path) -> None:
    content = (files / name).read_bytes()
    for kept in range(0, len(content) - 1, 97):
        put_bytes(files, name, content[:kept], 1)
        assert (await refused(files, tmp_path / "data")).startswith(name)


async def test_another_kind_of_file_is_seen(files: Path, tmp_path: Path) -> None:
    put_bytes(files, "states.avro", b"PAR1" * 100, 1)
    assert await refused(files, tmp_path / "data") == "states.avro is not an Avro object container file"
    put_bytes(files, "states.avro", container(PENDING, []), 0)
    assert "its codec or its schema is not that of a state" in await refused(files, tmp_path / "data")
    put_bytes(files, "states.avro", container(STATE, [], codec="null"), 0)
    assert "its codec or its schema is not that of a state" in await refused(files, tmp_path / "data")


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["files"].append({**manifest["files"][0], "name": "../catalogs.avro"}),
        lambda manifest: manifest["files"].append(manifest["files"][0]),
        lambda manifest: manifest["files"].pop(),
        lambda manifest: manifest.update(partitions=0),
        lambda manifest: manifest.update(partitions=10**9),
        lambda manifest: manifest.update(surprise=1),
        lambda manifest: manifest["counts"].update(turns=10**6),
        lambda manifest: manifest["files"][0].update(records=7),
        lambda manifest: manifest["files"][4].update(name="turns-00000-00002.avro"),
        lambda manifest: manifest["files"][4].update(name="turns-00001-00001.avro"),
        lambda manifest: manifest["files"][4].update(bytes=-1),
        lambda manifest: manifest.pop("counts"),
        lambda manifest: manifest.update(format="1"),
    ],
)
async def test_a_manifest_that_contradicts_the_folder_or_itself_is_refused(change: Any, files: Path, tmp_path: Path) -> None:
    edit_manifest(files, change)
    await refused(files, tmp_path / "data")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"format": 1, "\xff": 1}', b"{" * 100_000, b" " * (17 * 1024 * 1024)]
)
async def test_a_manifest_that_is_none_is_refused(content: bytes, files: Path, tmp_path: Path) -> None:
    (files / NAME).write_bytes(content)
    assert "manifest.json" in await refused(files, tmp_path / "data")


# ------------------------------------------------------------------ bytes that mean harm
async def test_a_block_that_grows_without_end_is_refused_before_it_is_unpacked(files: Path, tmp_path: Path) -> None:
    put_bytes(files, TURNS, container(TURN, [(1, bytes(4 * BLOCK_BYTES_MAX))]), 1)
    assert f"has a block of more than {BLOCK_BYTES_MAX} bytes" in await refused(files, tmp_path / "data")


@pytest.mark.parametrize(("records", "size"), [(2**40, 10), (-1, 10), (0, 0), (1, 2**40), (1, -1), (1, 2**62)])
async def test_sizes_that_no_block_has_are_refused(records: int, size: int, files: Path, tmp_path: Path) -> None:
    put_bytes(files, TURNS, container(TURN, []) + long(records) + long(size) + bytes(1_000), 1)
    assert await refused(files, tmp_path / "data")


async def test_a_record_is_refused_that_is_not_written_as_evento_writes_it(files: Path, tmp_path: Path) -> None:
    """Longer numbers than needed, arrays in several blocks: Avro allows some of it, and two readers may differ about it."""
    record = records_of(files, "states.avro")[0]
    data = plain_bytes(STATE, [record])
    assert data[0] == 8  # twice the length of "bank"
    put_bytes(files, "states.avro", container(STATE, [(1, b"\x88\x00" + data[1:])]), 1)
    assert "is written in another way than it should be" in await refused(files, tmp_path / "data")
    put_bytes(files, "states.avro", container(STATE, [(1, data + b"\x00")]), 1)
    assert "more bytes stand in a block than its records have" in await refused(files, tmp_path / "data")
    put_bytes(files, "states.avro", container(STATE, [(1, data)], pack=False), 1)
    assert "cannot be unpacked" in await refused(files, tmp_path / "data")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_done_to_a_file_it_is_taken_or_refused_and_nothing_else(
    data: st.DataObject, sound: Path, tmp_path: Path
) -> None:
    """Bytes are changed inside of the packed blocks: there no checksum and no packing gives them away."""
    files = tmp_path / "any"
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(sound, files)
    name = data.draw(st.sampled_from(FILES))
    records = records_of(files, name)
    content = bytearray(plain_bytes(kind_of(name), records))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    put_bytes(files, name, container(kind_of(name), [(len(records), bytes(content))]), len(records))
    try:
        export = asyncio.run(check_export(files))
        asyncio.run(import_journal(MemoryJournal(), export, nullcontext()))
    except EventoError as error:
        assert isinstance(error, TransferRefused)
        assert error.message


# ------------------------------------------------------------------ records that no journal would have
def first(**changes: Any) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """Change fields of the first record; `command__id` is the field `id` of its `command`, `events__0__type` that of an Event."""

    def change(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for path, value in changes.items():
            *steps, last = path.split("__")
            place: Any = records[0]
            for step in steps:
                place = place[int(step)] if step.isdigit() else place[step]
            place[last] = value
        return records

    return change


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (TURNS, first(command__namespace="No!"), "namespace 'No!'"),
        (TURNS, first(command__entity="Nobody"), "there never was a Command 'Deposit'"),
        (TURNS, first(command__instance="a/b"), "must not contain '/'"),
        (TURNS, first(command__id="no blanks"), "command id 'no blanks'"),
        (TURNS, first(command__type="Nothing"), "there never was a Command 'Nothing' with schema 2"),
        (TURNS, first(command__schema_id=3), "there never was a Command 'Deposit' with schema 3"),
        (TURNS, first(command__payload=b"\x80\x00\x00"), "is not canonical Avro of schema 2"),
        (TURNS, first(command__payload=bytes(300_000)), "has 300000 bytes, more than 262144"),
        (TURNS, first(command__expected=-1), "a number is below 0"),
        (TURNS, first(attempts=-1), "a number is below 0"),
        (TURNS, first(outcome="rejected"), "its outcome is rejected, and its Events say otherwise"),
        (TURNS, first(outcome="conflict"), "its outcome is conflict, and its Events say otherwise"),
        (TURNS, first(events=[]), "its outcome is succeeded, and its Events say otherwise"),
        (TURNS, first(before=1), "the versions of its Events do not follow on 1"),
        (TURNS, first(events__1__version=7), "the versions of its Events do not follow on 0"),
        (TURNS, first(events__0__type="Put"), "there never was an Event 'Put' with schema 3"),
        (TURNS, first(events__0__schema_id=999), "there never was an Event 'Deposited' with schema 999"),
        (TURNS, first(events__0__payload=b""), "the payload of an Event of bank/Account/ada is not canonical Avro"),
        (TURNS, lambda records: records[:-1], "the manifest says"),
        ("states.avro", first(version=0), "its version is not above 0"),
        ("states.avro", first(version=9), "contradict each other"),
        ("states.avro", first(entity="Nobody"), "the catalog has no such Entity"),
        ("states.avro", first(schema_id=0), "there is no such schema"),
        ("states.avro", first(payload=b"\xff"), "is not canonical Avro"),
        ("states.avro", lambda records: [records[1], records[0], *records[2:]], "out of order"),
        ("states.avro", lambda records: [records[0], *records], "stands there twice"),
        ("pending.avro", first(partition=1), "a partition that does not exist"),
        ("pending.avro", first(number=-1), "a number is below 0"),
        ("pending.avro", first(number=10), "out of order"),
        ("pending.avro", lambda records: [records[0], {**records[0], "number": 4}, *records[2:]], "stands there twice"),
        ("pending.avro", first(command__id=""), "command id ''"),
        ("catalogs.avro", first(version=2), "catalog version 2 stands where version 1 should"),
        ("catalogs.avro", first(content=b"{}"), "catalog version 1 cannot be read"),
        ("catalogs.avro", first(content=b'{"format": 1, "change": {"x\xff": 1}}'), "catalog version 1 cannot be read"),
        ("catalogs.avro", first(content=b'{"format": 9, "change": {}}'), "catalog version 1 has format 9"),
        ("catalogs.avro", lambda records: records[1:], "catalog version 2 stands where version 1 should"),
        ("schemas.avro", first(text='"long"'), "it is not the schema that the catalog has"),
        ("schemas.avro", lambda records: records[:-1], "lacks schemas that the catalog has"),
        ("schemas.avro", lambda records: [*records, {"id": 7, "text": '"long"'}], "it is not the schema that the catalog has"),
    ],
)
async def test_a_record_that_no_journal_would_have_is_refused(
    name: str, change: Any, sentence: str, files: Path, tmp_path: Path
) -> None:
    rewrite(files, name, change)
    assert sentence in await refused(files, tmp_path / "data")


async def test_an_export_without_a_catalog_is_refused(files: Path, tmp_path: Path) -> None:
    rewrite(files, "catalogs.avro", lambda records: [])
    rewrite(files, "schemas.avro", lambda records: [])
    assert "is empty" in await refused(files, tmp_path / "data")


# ------------------------------------------------------------------ targets and sources
@pytest.mark.parametrize("holds", ["turns", "pending", "a catalog"])
async def test_a_journal_that_is_not_empty_stays_as_it_is(holds: str, files: Path) -> None:
    journal = MemoryJournal()
    if holds == "turns":
        await fill(journal)
        journal.catalogs.clear()
    elif holds == "pending":
        async with owning(journal) as put:
            await put(pending=[Pending(1, samples.command(key("ada"), "c"))])
    else:
        assert await journal.append_catalog(1, samples.catalogs()[0])
    before = await everything(journal)
    with pytest.raises(TransferRefused, match="the journal is not empty"):
        await import_journal(journal, await check_export(files), nullcontext())
    assert await everything(journal) == before


async def test_a_folder_that_is_not_empty_is_not_written_to(tmp_path: Path) -> None:
    journal = MemoryJournal()
    await fill(journal)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TransferRefused, match="is not empty"):
        await export_journal(journal, tmp_path)
    with pytest.raises(TransferRefused, match="cannot be used"):
        await export_journal(journal, tmp_path / "mine.txt")
    assert names_in(tmp_path) == ["mine.txt"]


async def test_a_journal_to_which_nothing_was_ever_deployed_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(TransferRefused, match="nothing was ever deployed here"):
        await export_journal(MemoryJournal(), tmp_path / "files")


async def test_a_journal_that_somebody_else_owns_is_not_waited_for_for_ever() -> None:
    class Kept(MemoryJournal):
        @asynccontextmanager
        async def own(self, number: int) -> AsyncIterator[Partition]:
            await asyncio.Event().wait()
            yield MemoryPartition(self)

    with pytest.raises(JournalBusy, match="partition 0 could not be owned within 0 s: stop all nodes"):
        async with owning_all(Kept(), within_s=0.01):
            raise AssertionError("owned")


async def test_a_file_that_changes_after_it_was_checked_is_refused_while_it_is_written(files: Path) -> None:
    export = await check_export(files)
    entry = next(entry for entry in export.manifest.files if entry.name == TURNS)
    rewrite(files, TURNS, first(attempts=7))
    replace_entry(files, entry)  # the manifest as it was
    with pytest.raises(TransferRefused, match=TURNS):
        await import_journal(MemoryJournal(), export, nullcontext())
