"""The reader's thread, and what is asked of it. Each question looks into the tail first, then on disk: never the other way round,
for what leaves the tail is on disk before. Changes nothing."""

import asyncio
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import TypeVar, cast

import apsw
import msgspec

from evento.errors import JournalCorrupt, JournalError
from evento.journal.base import CommandRef, EventsEntry, TurnEntry
from evento.journal.sqlite.connection import JOURNAL, Tuning, connect_reader, load_queries, one, translated
from evento.journal.sqlite.jobs import Call, Jobs, Stop, answer, take
from evento.journal.sqlite.layout import StoredEvents, StoredRun, content_checksum
from evento.journal.sqlite.rows import (
    SEGMENT_BITS,
    find_commands,
    find_heads,
    list_heads,
    load_state,
    numbers,
    read_events_page,
    read_page,
    read_pending,
    read_rows,
)
from evento.journal.sqlite.tail import Head, Tail, View
from evento.model.command import Pending, State, Turn
from evento.model.keys import EntityKey

FIRST_ROWS = 64  # of a page of the feed: they show how many turns a row holds
T = TypeVar("T")
Row = TypeVar("Row", StoredRun, StoredEvents | StoredRun)
ReadPage = Callable[[apsw.Connection, dict[str, str], int, int, int], Sequence[Row]]


class Reader:
    """The thread that reads one file. `damaged` is called when it contradicts its checksums."""

    def __init__(self, path: Path, tail: Tail, tuning: Tuning = JOURNAL, damaged: Callable[[], None] | None = None) -> None:
        self._path = path
        self._damaged = damaged
        self._tuning = tuning
        self._tail = tail
        self._jobs: Jobs = Jobs()  # bounded by its callers: each waits for its answer
        self._thread = Thread(target=self._run, name=f"journal-reader-{path.name}", daemon=True)
        self._process = os.getpid()
        self._is_stopped = False  # nobody answers any more
        self._queries: dict[str, str]
        self._connection: apsw.Connection

    async def start(self) -> None:
        """Start the thread and connect. Raises JournalError."""
        self._thread.start()
        await self.call(self._connect)

    async def stop(self) -> None:
        """End the thread; what waits is answered first."""
        self._jobs.put(Stop())
        self._is_stopped = True
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function on the thread. Raises JournalError."""
        if self._process != os.getpid():
            raise JournalError("this process was forked from the one that opened the journal; it must not use it")
        if self._is_stopped:
            raise JournalError("the journal is closed")
        future = asyncio.get_running_loop().create_future()
        self._jobs.put(Call(function, future))
        return cast("T", await future)

    def _run(self) -> None:
        stopped = False
        while not stopped:
            for job in take(self._jobs, None):
                if isinstance(job, Call):
                    result = _attempt(job.function)
                    if isinstance(result, JournalCorrupt) and self._damaged is not None:
                        self._damaged()
                    answer([(job.future, result)])
                else:
                    stopped = True
        if hasattr(self, "_connection"):
            self._connection.close()

    def _connect(self) -> None:
        self._queries = load_queries()
        self._connection = connect_reader(self._path, self._tuning)

    # ---------------------------------------------------------------- questions, on the thread
    def states(self, keys: Sequence[EntityKey]) -> dict[EntityKey, State]:
        """Return the stored states, wherever they are."""
        epoch, (heads, missing) = self._tail.epoch, self._tail.find_all(keys)
        if missing:
            found = find_heads(self._connection, self._queries, missing)
            self._tail.remember(found, epoch)
            heads.update(found)
        return {key: self._state(key, head) for key, head in heads.items() if head.version > 0}

    def turns(self, view: View, wanted: Mapping[CommandRef, int]) -> dict[CommandRef, Turn]:
        """Return the turns of Commands, which come with their hashes."""
        positions: set[int] = set()
        on_disk: list[int] = []
        for number in wanted.values():
            recent = [place for generation in view.unindexed for place in generation.find_command(number)]
            positions.update(recent)
            if not recent:
                on_disk.append(number)
        if on_disk:
            positions.update(find_commands(self._connection, self._queries, on_disk, view.published))
        found: dict[CommandRef, Turn] = {}
        for row in self._rows(sorted(positions)):
            for turn in row.turns:
                ref = CommandRef(key=turn.command.key, command_id=turn.command.id)
                if ref in wanted:
                    found[ref] = turn
        return found

    def stream(self, view: View, key: EntityKey, after: int, limit: int) -> list[Turn]:
        """Return turns with events after a version, as many as are needed for `limit` events."""
        turns: list[Turn] = []
        head = self._tail.find(key) or find_heads(self._connection, self._queries, [key]).get(key)
        if head is None or limit <= 0:
            return turns
        events = 0
        for row in self._stream_rows(view, head.number, after, limit):
            for turn in row.turns:
                if turn.version > after and turn.events and events < limit:
                    turns.append(turn)
                    events += len(turn.events)
            if events >= limit:
                break
        return turns

    def feed(self, view: View, after: int, limit: int) -> list[TurnEntry]:
        """Return about `limit` turns above a position."""
        entries: list[TurnEntry] = []
        for rows in self._pages(read_page, view.published, after, limit):
            for row in rows:
                entries += [TurnEntry(row.position, turn) for turn in row.turns]
                if len(entries) >= limit:
                    break
        return entries

    def events(self, view: View, after: int, limit: int) -> list[EventsEntry]:
        """Return what a fold needs of the turns that `feed` returns."""
        entries: list[EventsEntry] = []
        for rows in self._pages(read_events_page, view.published, after, limit):
            for row in rows:
                entries += [EventsEntry(row.position, turn.command.key, turn.before, turn.events) for turn in row.turns]
                if len(entries) >= limit:
                    break
        return entries

    def _pages(self, read: ReadPage[Row], until: int, after: int, limit: int) -> Iterator[Sequence[Row]]:
        """Yield pages of rows until they hold `limit` turns; runs of many turns are not read in vain."""
        rows_read, turns, wanted = 0, 0, min(limit, FIRST_ROWS)
        while turns < limit:
            rows = read(self._connection, self._queries, after, until, wanted)
            if not rows:
                break
            yield rows
            turns += sum([len(row.turns) for row in rows])
            rows_read += len(rows)
            after = rows[-1].position
            wanted = max(1, (limit - turns) * rows_read // max(1, turns))

    def instances(self, view: View, above: EntityKey, limit: int) -> list[tuple[EntityKey, State]]:
        """Return instances of one Entity with ids above that of `above`."""
        heads: dict[EntityKey, Head] = {}
        for generation in reversed(view.unindexed):
            recent = [item for item in list(generation.heads.items()) if item[0][:2] == above[:2] and item[0].id > above.id]
            heads.update(item for item in recent if item[1].version > 0)
        for key, head in list_heads(self._connection, self._queries, above, limit).items():
            newer = heads.get(key)
            if newer is None or newer.version <= head.version:
                heads[key] = head
        return [(key, self._state(key, heads[key])) for key in sorted(heads)[:limit]]

    def pending(self) -> list[Pending]:
        """Return everything pending, in order."""
        return read_pending(self._connection, self._queries)

    def catalogs(self, after: int) -> list[tuple[int, bytes]]:
        """Return the catalog versions above one."""
        versions: list[tuple[int, bytes]] = []
        for version, content, checksum in self._connection.execute(self._queries["read_catalogs"], (after,)):
            if checksum != content_checksum(version, content):
                raise JournalCorrupt(f"catalog version {version} contradicts its checksum", version=version)
            versions.append((version, content))
        return versions

    def _state(self, key: EntityKey, head: Head) -> State:
        return head.state or load_state(self._connection, self._queries, key, head.number)

    def _rows(self, positions: Sequence[int]) -> Iterator[StoredRun]:
        return read_rows(self._connection, self._queries, positions)

    def _stream_rows(self, view: View, number: int, after: int, limit: int) -> Iterator[StoredRun]:
        places = [place for generation in reversed(view.unindexed) for place in generation.stream(number)]
        indexed = self._indexed(view, number, after, limit)
        yield from self._rows(indexed)
        if len(indexed) < limit:
            last = indexed[-1] if indexed else 0
            first = max(0, bisect_right(places, after, key=lambda place: place[0]) - 1)
            recent = [position for _, position in places[first:] if position > last]
            yield from self._rows(recent[:limit])

    def _indexed(self, view: View, number: int, after: int, limit: int) -> list[int]:
        first, last = 0, view.published >> SEGMENT_BITS
        if after:
            text = cast("str", one(self._connection, self._queries["stream_segments"], (number, last)))
            segments = msgspec.json.decode(text, type=list[tuple[int, int]])
            place = bisect_right(segments, after, key=lambda segment: segment[1]) - 1
            first = segments[max(0, place)][0] if segments else last
        return sorted(numbers(self._connection, self._queries["stream_positions"], (number, first, last, after, limit)))


def _attempt(function: Callable[[], object]) -> object:
    """Return the function's result, or the JournalError it failed with."""
    try:
        with translated():
            return function()
    except JournalError as error:
        return error
    except Exception as error:  # noqa: BLE001  a thread that dies in silence would let everybody wait for ever
        return JournalError(f"the journal's reader failed: {error!r}")
