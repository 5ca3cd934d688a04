"""Which files are opened, where, with which SQLite, and how their layout grows."""

import json
import logging
import random
import re
from pathlib import Path

import apsw
import pytest

from evento.errors import JournalBusy, JournalCorrupt, JournalError
from evento.journal.sqlite import connection, files, open_sqlite
from evento.journal.sqlite.connection import ChunkedInsert, check_build, connect_reader, load_queries, migrations
from evento.journal.sqlite.filters import CommandFilter
from evento.journal.sqlite.hashing import MODULUS_BITS, command_hash, is_prime, make_modulus
from evento.journal.sqlite.layout import (
    StoredRun,
    chained,
    content_checksum,
    decode_pending,
    decode_run,
    decode_runs,
    decode_state,
    encode,
    encode_run,
)
from evento.model.command import Command, Context, Event, Failure, OutcomeKind, Pending, State, Turn
from evento.model.keys import EntityKey

KEY = EntityKey("bank", "Account", "acc-1")
MODULUS = 1152921504606846883
MOUNTS = """22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:27 / /mnt rw - tmpfs tmpfs rw
40 31 0:44 / /mnt/my\\040share rw - nfs4 server:/x rw
41 31 0:45 / /mnt/my\\040share/local rw - xfs /dev/b rw
"""


def shape(database: apsw.Connection) -> str:
    tables = {}
    for _, name, kind, _, without_rowid, strict in database.execute("PRAGMA table_list"):
        columns = list(database.execute(f"PRAGMA table_xinfo({name})"))
        indexes = [
            (unique, origin, list(database.execute(f"PRAGMA index_xinfo({index})")))
            for _, index, unique, origin, _ in database.execute(f"PRAGMA index_list({name})")
        ]
        tables[name] = (kind, without_rowid, strict, columns, indexes)
    return json.dumps(tables, sort_keys=True, default=str)


async def test_the_schema_is_the_sum_of_the_migrations(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "evento.db"):
        pass
    migrated = apsw.Connection(str(tmp_path / "evento.db"))
    described = apsw.Connection(":memory:")
    described.execute((Path(connection.__file__).parent / "schema.sql").read_text())
    assert shape(migrated) == shape(described)
    assert connection.one(migrated, "PRAGMA user_version") == len(migrations())
    migrated.close()


async def test_a_later_migration_is_applied_to_an_older_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_sqlite(tmp_path / "evento.db") as journal:
        await journal.append_catalog(1, b"kept")
    more = [*migrations(), "CREATE TABLE later (a INTEGER) STRICT;"]
    monkeypatch.setattr(connection, "migrations", lambda: more)
    for _ in range(2):
        async with open_sqlite(tmp_path / "evento.db") as journal:
            assert list(await journal.read_catalogs()) == [(1, b"kept")]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_sqlite(tmp_path / "evento.db") as journal:
        await journal.append_catalog(1, b"kept")
    with monkeypatch.context() as patch:
        broken = [*migrations(), "CREATE TABLE later (a INTEGER); SELECT broken"]
        patch.setattr(connection, "migrations", lambda: broken)
        with pytest.raises(JournalError):
            async with open_sqlite(tmp_path / "evento.db"):
                pass
    async with open_sqlite(tmp_path / "evento.db") as journal:
        assert list(await journal.read_catalogs()) == [(1, b"kept")]
        assert list(await journal.check()) == []


async def test_a_file_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "evento.db"):
        pass
    newer = apsw.Connection(str(tmp_path / "evento.db"))
    newer.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    newer.close()
    with pytest.raises(JournalError, match="knows layouts up to"):
        async with open_sqlite(tmp_path / "evento.db"):
            pass


async def test_somebody_elses_sqlite_file_is_refused_and_stays(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "evento.db"))
    other.execute("CREATE TABLE mine (a)")
    other.close()
    before = (tmp_path / "evento.db").read_bytes()
    with pytest.raises(JournalError, match="not a journal of Evento"):
        async with open_sqlite(tmp_path / "evento.db"):
            pass
    assert (tmp_path / "evento.db").read_bytes() == before


async def test_a_file_that_is_no_sqlite_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "evento.db").write_bytes(b"not a database, " * 1000)
    with pytest.raises(JournalCorrupt):
        async with open_sqlite(tmp_path / "evento.db"):
            pass
    assert (tmp_path / "evento.db").read_bytes() == b"not a database, " * 1000


def test_the_bundled_sqlite_is_new_enough_and_an_older_one_is_refused() -> None:
    check_build(apsw.sqlite_lib_version())
    check_build("3.51.3")
    for version in ("3.51.2", "3.40.1", "3.7.0"):
        with pytest.raises(JournalError, match=r"3\.51\.3 or later"):
            check_build(version)


async def test_every_commit_is_synced_fully_and_readers_cannot_write(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "evento.db") as journal:
        await journal.append_catalog(1, b"x")
        reader = connect_reader(tmp_path / "evento.db")
        settings = {
            name: connection.one(reader, f"PRAGMA {name}")
            for name in ("journal_mode", "synchronous", "mmap_size", "query_only", "wal_autocheckpoint", "trusted_schema")
        }
        assert settings == {
            "journal_mode": "wal",
            "synchronous": 2,
            "mmap_size": 0,
            "query_only": 1,
            "wal_autocheckpoint": 0,
            "trusted_schema": 0,
        }
        with pytest.raises(apsw.ReadOnlyError):
            reader.execute("DELETE FROM catalog")
        reader.close()


def test_the_lock_lets_one_in(tmp_path: Path) -> None:
    lock = files.acquire(tmp_path / "new" / "data")
    with pytest.raises(JournalBusy):
        files.acquire(tmp_path / "new" / "data")
    files.release(lock)
    files.release(files.acquire(tmp_path / "new" / "data"))


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        files.acquire(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib", "ext4"), ("/mnt/x", "tmpfs"), ("/mnt/my share/x", "nfs4"), ("/mnt/my share/local/x", "xfs"), ("/mnt2", "ext4")],
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert files.filesystem_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize("kind", sorted(files.REFUSED_FILESYSTEMS))
def test_a_network_file_system_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - {kind} x rw\n")
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    with pytest.raises(JournalError, match="use a local disk"):
        files.check_filesystem(tmp_path)


@pytest.mark.parametrize("kind", ["overlay", "fuse.something"])
def test_a_doubtful_file_system_is_warned_of(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - {kind} x rw\n")
    monkeypatch.setattr(files, "_MOUNTS", mounts)
    with caplog.at_level(logging.WARNING):
        files.check_filesystem(tmp_path)
    assert kind in caplog.text


def test_every_query_has_a_sentence_and_fits_the_schema() -> None:
    text = (Path(connection.__file__).parent / "queries.sql").read_text()
    database = apsw.Connection(":memory:")
    database.execute((Path(connection.__file__).parent / "schema.sql").read_text())
    queries = load_queries()
    for part in text.split("-- name: ")[1:]:
        name, comment = part.splitlines()[:2]
        assert comment.startswith("-- "), name
        numbered = [int(number) for number in re.findall(r"\?(\d+)", queries[name])]
        values = [None] * (max(numbered) if numbered else queries[name].count("?"))
        database.execute(f"EXPLAIN {queries[name]}", values)


def test_rows_are_inserted_whatever_their_number() -> None:
    database = apsw.Connection(":memory:")
    database.execute("CREATE TABLE t (a, b)")
    insert = ChunkedInsert("INSERT INTO t (a, b)\nVALUES (?, ?) ON CONFLICT DO NOTHING")
    for count in (0, 1, 7, 8, 9, 40, 511, 512, 513, 1700):
        database.execute("DELETE FROM t")
        insert(database, [value for number in range(count) for value in (number, -number)])
        assert list(database.execute("SELECT a, b FROM t ORDER BY a")) == [(number, -number) for number in range(count)]


def test_the_filter_grows_and_forgets_nothing() -> None:
    known = CommandFilter(first=1000)
    hashes = [command_hash(MODULUS, KEY, f"c{number}") for number in range(5500)]
    for start in range(0, len(hashes), 700):
        known.add(hashes[start : start + 700])
    assert len(known) == 3  # for 1,000, 4,000 and 16,000
    assert all(known.might_contain(number) for number in hashes)
    wrong = sum(known.might_contain(command_hash(MODULUS, KEY, f"d{number}")) for number in range(5000))
    assert wrong < 5000 * 0.03


# ---------------------------------------------------------------- stable for ever
def test_turns_are_stored_as_they_always_were() -> None:
    context = Context(correlation_id="k", actor="me")
    command = Command("c1", KEY, "Deposit", 3, b"\x01", 10, 4, None, context)
    made = Turn(command, OutcomeKind.REJECTED, 4, (Event("No", 8, b"\x02", True),), 20, "r", 2, Failure("f", "m", None))
    made_state = State(5, b"s", 6, "r")
    content, inline, checksum = encode_run(7, 2, 4, (made,), made_state)
    assert (
        content.hex() == "95070204ce1dfcd6d2919899a2633193a462616e6ba74163636f756e74a56163632d31a74465706f73697403c401010a04c0"
        "96a16bc0a26d65c0c0c0a872656a6563746564049194a24e6f08c40102c314a1720293a166a16dc0"
    )
    assert inline is not None
    assert inline.hex() == "9405c4017306a172"
    assert checksum == 503109330
    assert encode_run(7, 2, 4, (made,), None)[1:] == (None, 0)
    assert decode_state(inline) == made_state
    assert decode_run(content) == StoredRun(7, 2, 4, checksum, (made,))
    assert decode_runs(content * 3, 3) == [StoredRun(7, 2, 4, checksum, (made,))] * 3


def test_pending_entries_are_stored_as_they_always_were() -> None:
    entry = Pending(7, Command("c1", KEY, "Deposit", 3, b"\x01", 10), 1, 30, True, Failure("f", "m", "fn"))
    stored = "960799a2633193a462616e6ba74163636f756e74a56163632d31a74465706f73697403c401010ac0c0c0011ec393a166a16da2666e"
    assert encode(entry).hex() == stored
    assert decode_pending(7, bytes.fromhex(stored)) == entry


def test_hashes_and_checksums_are_what_they_always_were() -> None:
    assert command_hash(MODULUS, KEY, "c1") == 832233646217718671
    assert content_checksum(3, b"state") == 3828590635
    assert chained(b"turns", 7) == 1102505789
    assert chained(b"more", chained(b"turns", 7)) == chained(b"turnsmore", 7)


def test_the_modulus_is_a_prime_of_its_own() -> None:
    below_200 = [number for number in range(200) if is_prime(number)]
    assert below_200 == [number for number in range(2, 200) if all(number % smaller for smaller in range(2, number))]
    assert is_prime(MODULUS)
    assert is_prime((1 << 61) - 1)
    assert not any(is_prime(number) for number in (561, 3215031751, 3825123056546413051, 1000003 * 1000033))
    chance = random.Random(3)
    made = {make_modulus(lambda: chance.getrandbits(64) - (1 << 63)) for _ in range(10)}
    assert len(made) == 10
    assert all(number.bit_length() == MODULUS_BITS and is_prime(number) for number in made)


async def test_every_file_has_a_modulus_of_its_own_for_ever(tmp_path: Path) -> None:
    seen = []
    for name in ("a", "b", "a"):
        async with open_sqlite(tmp_path / name / "evento.db"):
            pass
        reader = connect_reader(tmp_path / name / "evento.db")
        seen.append(connection.one(reader, load_queries()["hash_modulus"]))
        reader.close()
    assert all(is_prime(number) for number in seen)
    assert seen[0] == seen[2] != seen[1]
