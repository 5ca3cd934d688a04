"""Copying the file of a store that is in use, as it is at one moment. Knows no store."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw

from evento.journal.sqlite.connection import Tuning, connect_reader, load_queries, one, translated

STEP_PAGES = 1024


def copy_file(source: Path, target: Path, tuning: Tuning, watch: Callable[[], None]) -> int:
    """Write what `source` holds now, with what is still in its WAL, to `target`; return the position of its last row.

    Others may write meanwhile: they are not waited for, and not heard. `watch` is called again and again, and may raise.
    Raises JournalError.
    """
    target.unlink(missing_ok=True)
    with translated(), closing(connect_reader(source, tuning)) as reading, closing(apsw.Connection(str(target))) as writing:
        for setting in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"):  # who keeps it syncs it
            writing.execute(setting)
        reading.execute("BEGIN")
        position: int = one(reading, load_queries()["last_position"])  # with the first read the moment is chosen
        with writing.backup("main", reading, "main") as backup:
            while not backup.done:
                watch()
                backup.step(STEP_PAGES)
        reading.execute("ROLLBACK")
    return position
