"""What was committed and is not indexed yet, and the newest states, in memory: generations of small dicts. Knows no SQL.

The writer's thread changes the newest generation and replaces `view`; everybody else takes `view` once and looks there first,
then on disk. Whatever has left the view by then was in the indexes before.
"""

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any, cast

import msgspec
from msgspec import Struct

from evento.model.command import State
from evento.model.keys import EntityKey

ROUND_RUNS = 20_000  # a generation of this many runs is due to be indexed
ROUND_BYTES = 8 * 1024 * 1024  # or of this many bytes of states
CACHE_HEADS_MAX = 8_192
_decode_numbers = msgspec.json.Decoder(list[int]).decode


class Head(Struct, frozen=True, gc=False):
    """Where an instance stands. `state` is None when it is in the file's table, or when there is none (version 0)."""

    number: int
    version: int
    state: State | None


Place = tuple[int, int]  # (before, position) of a run with events
RowValue = int | str | bytes | None
ROW_WIDTH = 11  # of a row of the log, as queries.sql inserts it: position, instance, name, before, events, hash, more, …


class Generation:
    """The runs between two index rounds. The writer's thread adds rows; the reader's thread sorts in what is new when it asks."""

    def __init__(self, shares: int = 1) -> None:
        self._shares = shares
        self.heads: dict[EntityKey, Head] = {}
        self.count = 0
        self.bytes = 0
        self.last = 0  # position of its last run
        self._rows: list[tuple[list[RowValue], ...]] = []  # (positions, instances, befores, events, hashes, mores) of a commit
        self._sorted = 0
        self._streams: dict[int, list[Place]] = {}
        self._commands: dict[int, int | tuple[int, ...]] = {}  # by hash: position, or several

    def is_empty(self) -> bool:
        """Return whether it has nothing: no rows, and no heads either, which states have that were folded again without a turn."""
        return not (self.count or self.heads)

    def is_due(self) -> bool:
        """Return whether it is large enough to be indexed."""
        return self.count >= ROUND_RUNS // self._shares or self.bytes >= ROUND_BYTES // self._shares

    def add_rows(self, rows: list[RowValue]) -> Sequence[int]:
        """Remember rows of the log, given as one flat list. Returns the hashes of their Commands."""
        columns = tuple(rows[place::ROW_WIDTH] for place in (0, 1, 3, 4, 5, 6))
        self._rows.append(columns)
        self.count += len(columns[0])
        hashes = cast("list[int]", columns[4])
        if columns[5].count(None) == len(hashes):
            return hashes
        return hashes + [number for text in columns[5] if text is not None for number in _decode_numbers(cast("str", text))]

    def find_command(self, number: int) -> tuple[int, ...]:
        """Return the positions of rows that hold a Command with this hash."""
        self._sort()
        found = self._commands.get(number, ())
        return (found,) if isinstance(found, int) else found

    def stream(self, number: int) -> Sequence[Place]:
        """Return (before, position) of an instance's runs with events."""
        self._sort()
        return self._streams.get(number, ())

    def _sort(self) -> None:
        new = self._rows[self._sorted :]
        self._sorted += len(new)
        for columns in new:
            for position, instance, before, events, hashed, more in zip(*cast("list[list[Any]]", columns), strict=True):
                if events:
                    self._streams.setdefault(instance, []).append((before, position))
                self._add_command(hashed, position)
                for another in () if more is None else _decode_numbers(more):
                    self._add_command(another, position)

    def _add_command(self, number: int, position: int) -> None:
        known = self._commands.setdefault(number, position)
        if known != position:
            self._commands[number] = (*((known,) if isinstance(known, int) else known), position)


class View(Struct, frozen=True):
    """The generations, newest first: `unindexed` ones count for everything, all of them for heads."""

    unindexed: tuple[Generation, ...]
    heads: tuple[dict[EntityKey, Head], ...]
    published: int  # nobody is shown a row behind this position


class Tail:
    """The generations and a small cache of heads read from disk."""

    def __init__(self, position: int, shares: int = 1) -> None:
        self._shares = shares
        self.current = Generation(shares)
        self.frozen: Generation | None = None
        self.position = position
        self._recent = Generation()
        self._cache: dict[EntityKey, Head] = {}
        self._epoch = 0
        self._lock = Lock()
        self._refresh()

    @property
    def epoch(self) -> int:
        """Return a number that changes when a head that was read before may be out of date."""
        return self._epoch

    def find(self, key: EntityKey) -> Head | None:
        """Return where an instance stands, if that is in memory."""
        for heads in self.view.heads:
            head = heads.get(key)
            if head is not None:
                return head
        return None

    def find_all(self, keys: Iterable[EntityKey]) -> tuple[dict[EntityKey, Head], list[EntityKey]]:
        """Return where instances stand, and those of which that is not in memory."""
        newest, *others = [heads.get for heads in self.view.heads]
        found: dict[EntityKey, Head] = {}
        missing: list[EntityKey] = []
        for key in keys:
            head = newest(key)
            if head is None:
                for find in others:
                    head = find(key)
                    if head is not None:
                        break
                else:
                    missing.append(key)
                    continue
            found[key] = head
        return found, missing

    def skip(self, position: int) -> None:
        """Show everybody what was written and indexed without being in here, up to `position`; nothing else may be unindexed."""
        self.position = self.current.last = position
        self.forget()

    def publish(self, position: int) -> None:
        """Show everybody what the writer has put into `current`, up to `position`."""
        self.position = self.current.last = position
        self._refresh()

    def freeze(self) -> Generation:
        """Begin a new generation, and return the one to be indexed."""
        if self.frozen is None:
            self.frozen, self.current = self.current, Generation(self._shares)
            self.current.last = self.position
            self._refresh()
        return self.frozen

    def drop(self) -> None:
        """Forget the frozen generation, which is indexed now; its heads stay for a while as a cache."""
        frozen, self.frozen = self.frozen, None
        if frozen is None:
            return
        recent = Generation()
        runs_max, bytes_max = ROUND_RUNS // self._shares, ROUND_BYTES // self._shares
        small = len(self._recent.heads) + len(frozen.heads) <= runs_max and self._recent.bytes + frozen.bytes <= bytes_max
        if small:
            recent.heads = {**self._recent.heads, **frozen.heads}
            recent.bytes = self._recent.bytes + frozen.bytes
        elif frozen.bytes <= bytes_max * 2:
            recent.heads, recent.bytes = frozen.heads, frozen.bytes
        self._recent = recent
        with self._lock:
            if not small:
                self._epoch += 1
                self._cache = {}
            self._refresh()

    def forget(self) -> None:
        """Forget the heads that are only cached: their states were replaced on disk."""
        self._recent = Generation(self._shares)
        with self._lock:
            self._epoch += 1
            self._cache = {}
            self._refresh()

    def remember(self, heads: dict[EntityKey, Head], epoch: int) -> None:
        """Cache heads that were read from disk after `epoch` was asked for."""
        with self._lock:
            if epoch == self._epoch:
                if len(self._cache) + len(heads) > CACHE_HEADS_MAX // self._shares:
                    self._cache.clear()
                self._cache.update(heads)

    def _refresh(self) -> None:
        unindexed = (self.current,) if self.frozen is None else (self.current, self.frozen)
        heads = (*(generation.heads for generation in unindexed), self._recent.heads, self._cache)
        self.view = View(unindexed=unindexed, heads=heads, published=self.position)
