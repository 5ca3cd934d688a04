"""Connections as reliability §5 wants them: the SQLite build, the settings, the migrations, the queries. Knows no journal."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from evento.errors import JournalCorrupt, JournalError

SQLITE_VERSION_MIN = (3, 51, 3)  # older ones may corrupt a WAL when it is reset
APPLICATION_ID = 0x45564E54  # "EVNT": this file is ours
BUSY_TIMEOUT_MS = 5000
WRITER_CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 8 * 1024
CHECKPOINT_PAGES = 2000  # of the WAL; 8 MiB
QUICK_CHECK_BYTES_MAX = 64 * 1024 * 1024  # a bigger file is checked by `evento verify` only
SqlValue = int | float | str | bytes | None
Connection = apsw.Connection
CHUNK_ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640)
CACHED_SQL_BYTES_MAX = 16384  # a longer statement would be prepared anew each time


class Tuning(Struct, frozen=True):
    """How a store is kept. `synchronous` is SQLite's: FULL where the file is the truth, NORMAL for a cache that may lose its end.

    `shares`: so many stores share the memory that a single one would take.
    """

    synchronous: str = "FULL"
    shares: int = 1


JOURNAL = Tuning()
_SETTINGS = (
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA mmap_size = 0",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into ours. Nothing is tried again: after a failed write or sync only reopening tells what is there."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalCorrupt(f"the journal's file is damaged: {error}") from error
    except (apsw.Error, OSError) as error:
        raise JournalError(f"SQLite failed: {type(error).__name__}: {error}") from error


def is_of_the_system(error: JournalError) -> bool:
    """Return whether SQLite or the system failed (a full disk, a missing right), and not what a file holds."""
    return isinstance(error.__cause__, apsw.Error | OSError) and not isinstance(error, JournalCorrupt)


def connect_writer(path: Path, tuning: Tuning = JOURNAL) -> apsw.Connection:
    """Open the file for writing, make or migrate it. Raises JournalError, JournalCorrupt."""
    check_build(apsw.sqlite_lib_version())
    with translated():
        connection = apsw.Connection(str(path), statementcachesize=64)
        try:
            _prepare(connection, path, tuning)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_reader(path: Path, tuning: Tuning = JOURNAL) -> apsw.Connection:
    """Open the file for reading only. Raises JournalError."""
    with translated():
        connection = apsw.Connection(str(path), statementcachesize=64)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        for setting in (*_SETTINGS, "PRAGMA query_only = ON", f"PRAGMA cache_size = -{READER_CACHE_KIB // tuning.shares}"):
            connection.execute(setting)
        connection.wal_autocheckpoint(0)
    return connection


def check_build(version: str) -> None:
    """Raise JournalError if this SQLite has the WAL-reset bug."""
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_VERSION_MIN:
        wanted = ".".join(str(part) for part in SQLITE_VERSION_MIN)
        raise JournalError(f"SQLite {version} may corrupt a journal; {wanted} or later is needed")


def migrations() -> Sequence[str]:
    """Return the migrations' SQL in order; the first makes version 1."""
    folder = files(__package__) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def load_queries() -> dict[str, str]:
    """Return the queries of queries.sql by name."""
    queries: dict[str, str] = {}
    text = (files(__package__) / "queries.sql").read_text(encoding="utf-8")
    for part in text.split("-- name: ")[1:]:
        name, _, body = part.partition("\n")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        queries[name.strip()] = "\n".join(lines).strip()
    return queries


def one(connection: apsw.Connection, sql: str, values: Sequence[SqlValue] = ()) -> Any:
    """Return the first value of the first row."""
    row = connection.execute(sql, values).fetchone()
    if row is None:
        raise JournalCorrupt("the journal lacks a row that it always has")
    return row[0]


class ChunkedInsert:
    """An INSERT of many rows by one statement: after each statement the writer's thread waits for the interpreter's lock.

    What a statement has room for beyond the rows that are there is filled with NULLs, which are left out.
    """

    def __init__(self, sql: str) -> None:
        head, _, rest = sql.partition("VALUES")
        row, _, suffix = rest.partition(")")
        self._width = row.count("?")
        row = row.replace(" ", "") + ")"
        begin, end = head + "SELECT * FROM (VALUES", ") WHERE column1 IS NOT NULL" + suffix  # noqa: S608 - both are our own
        self._statements = [(rows * self._width, begin + ",".join([row] * rows) + end) for rows in CHUNK_ROWS]
        self.values_max = CHUNK_ROWS[-1] * self._width

    def __call__(self, connection: apsw.Connection, values: Sequence[SqlValue]) -> None:
        """Insert rows, given as one flat sequence; the first value of a row is not NULL. Up to `values_max` are one statement."""
        for start in range(0, len(values), self.values_max):
            part = values[start : start + self.values_max]
            size, sql = self._statements[bisect_left(self._statements, (len(part), ""))]
            connection.execute(sql, (*part, *(None,) * (size - len(part))))


def _prepare(connection: apsw.Connection, path: Path, tuning: Tuning) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    version = one(connection, "PRAGMA user_version")
    objects = one(connection, "SELECT count(*) FROM sqlite_schema")
    _check_identity(connection, path, version, objects)
    if one(connection, "PRAGMA journal_mode = WAL") != "wal":
        raise JournalError(f"{path} cannot be opened in WAL mode", path=str(path))
    cache = f"PRAGMA cache_size = -{WRITER_CACHE_KIB // tuning.shares}"
    for setting in (*_SETTINGS, f"PRAGMA synchronous = {tuning.synchronous}", cache):
        connection.execute(setting)
    connection.wal_autocheckpoint(CHECKPOINT_PAGES)
    _migrate(connection, version)
    if path.stat().st_size <= QUICK_CHECK_BYTES_MAX:
        found = one(connection, "PRAGMA quick_check(1)")
        if found != "ok":
            raise JournalCorrupt(f"{path} is damaged: {found}", path=str(path))


def _check_identity(connection: apsw.Connection, path: Path, version: int, objects: int) -> None:
    known = len(migrations())
    if objects and one(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise JournalError(f"{path} is an SQLite file, but not a journal of Evento", path=str(path))
    if version > known:
        raise JournalError(f"{path} has layout {version}; this Evento knows layouts up to {known}", path=str(path))


def _migrate(connection: apsw.Connection, version: int) -> None:
    for number, sql in enumerate(migrations(), 1):
        if number > version:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(sql)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
