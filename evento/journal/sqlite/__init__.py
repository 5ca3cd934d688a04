"""The embedded journal: one SQLite file, fully synced at each commit, one partition (design §7, reliability §5).

The log (`run`) is the truth. What is derived from it is built later in bulk (`indexing`); until then it is in memory (`tail`).
"""

from evento.journal.sqlite.journal import open_sqlite

__all__ = ["open_sqlite"]
