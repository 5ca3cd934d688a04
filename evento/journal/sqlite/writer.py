"""The writer's thread: it takes everything that waits and makes one commit for it, and indexes between the commits.

It never waits on a timer to fill a commit: commits grow while the one before is being made. When anything fails it stops for
good: what a failed write or sync left behind is known only by opening the file again (reliability §5). Knows no SQL.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

import apsw

from evento.errors import JournalError
from evento.journal.sqlite.connection import translated
from evento.journal.sqlite.files import acquire, check_filesystem, release
from evento.journal.sqlite.jobs import Append, Call, Job, Jobs, Stop, answer, take
from evento.journal.sqlite.store import Store
from evento.model.transition import Appended, Conflict, Transition

IDLE_S = 1.0  # after this long without an append, what is left is indexed
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Writer:
    """The thread that writes one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: Jobs = Jobs()  # bounded by its callers: each waits for its answer
        self._thread = Thread(target=self._run, name=f"journal-writer-{path.name}", daemon=True)
        self._failure: JournalError | None = None
        self._store: Store | None = None
        self._lock: int | None = None  # held by the thread: nobody else gets in before it has ended
        self._process = os.getpid()

    async def start(self) -> Store:
        """Start the thread and open the file; return it for looking into its tail and filter. Raises JournalError."""
        self._thread.start()
        return await self._call(self._open)

    async def append(self, transition: Transition) -> Appended | Conflict:
        """Make a transition durable, and return when it is. Raises JournalError."""
        future = self._future()
        self._jobs.put(Append(transition, future))
        return cast("Appended | Conflict", await future)

    async def append_catalog(self, version: int, content: bytes) -> bool:
        """Make one catalog version durable, if it is the next one. Raises JournalError."""
        return await self._call(lambda: self._opened().append_catalog(version, content))

    async def settle(self) -> None:
        """Return when everything appended before is answered. Raises JournalError."""
        await self._call(lambda: None)

    async def flush(self) -> None:
        """Return when everything appended before is durable and indexed. Raises JournalError."""
        await self._call(lambda: self._opened().rounds.finish())

    async def stop(self) -> None:
        """End the thread: what waits is done first, then the rest is indexed and the file closed."""
        self._jobs.put(Stop())
        await asyncio.to_thread(self._thread.join)

    async def _call(self, function: Callable[[], T]) -> T:
        future = self._future()
        self._jobs.put(Call(function, future))
        return cast("T", await future)

    def _future(self) -> asyncio.Future[Any]:
        if self._failure is not None:
            raise self._given_up(self._failure)
        if self._process != os.getpid():
            raise JournalError("this process was forked from the one that opened the journal; it must not use it")
        return asyncio.get_running_loop().create_future()

    def _given_up(self, failure: JournalError) -> JournalError:
        return type(failure)(f"the journal was given up: {failure}", path=str(self._path))

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        stopped = False
        while not stopped:
            jobs = take(self._jobs, self._patience())
            stopped = any(isinstance(job, Stop) for job in jobs)
            self._serve(jobs)
            self._guard(partial(self._index, idle=stopped or not jobs))
        with suppress(apsw.Error):  # an open commit is rolled back, as it would be at the next opening
            if self._store is not None:
                self._store.close()
        if self._lock is not None:
            release(self._lock)

    def _open(self) -> Store:
        self._lock = acquire(self._path.parent)
        check_filesystem(self._path.parent)
        self._store = Store(self._path)
        return self._store

    def _opened(self) -> Store:
        if self._store is None:
            raise JournalError("the journal is not open")
        return self._store

    def _patience(self) -> float | None:
        """Return how long to wait for a job: not at all in the middle of a round, for ever when nothing is left to index."""
        if self._failure is not None or self._store is None or self._store.rounds.is_idle():
            return None
        return 0.0 if self._store.rounds.is_due() else IDLE_S

    def _serve(self, jobs: Sequence[Job]) -> None:
        appends: list[Append] = []
        for job in jobs:
            if isinstance(job, Append):
                appends.append(job)
            elif isinstance(job, Call):
                self._commit(appends)
                appends = []
                self._answer([job], partial(_result, job))
        self._commit(appends)

    def _commit(self, jobs: Sequence[Append]) -> None:
        if jobs:
            self._answer(jobs, lambda: self._opened().commit([job.transition for job in jobs]))

    def _answer(self, jobs: Sequence[Append | Call], work: Callable[[], Sequence[object]]) -> None:
        """Do the work and answer the jobs; everybody gets an answer, and after a failure it is always the same one."""
        results: list[object] = []
        self._guard(lambda: results.extend(work()))
        if self._failure is not None:
            results = [self._failure] * len(jobs)
        answer([(job.future, result) for job, result in zip(jobs, results, strict=True)])

    def _guard(self, work: Callable[[], None]) -> None:
        """Do the work, unless an earlier one failed."""
        if self._failure is not None:
            return
        try:
            with translated():
                work()
        except JournalError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  a thread that dies in silence would let everybody wait for ever
            _log.exception("unexpected")
            self._fail(JournalError(f"the journal's writer failed: {error!r}"))

    def _fail(self, failure: JournalError) -> None:
        self._failure = failure
        if self._store is not None:
            _log.critical("the journal %s accepts nothing more: %s", self._path, failure)

    def _index(self, *, idle: bool) -> None:
        if self._store is None:
            return
        rounds = self._store.rounds
        if rounds.is_due():
            rounds.step()
            while rounds.is_behind():  # memory is bounded: appends wait until indexing has caught up
                rounds.step()
        elif idle:
            rounds.finish()


def _result(job: Call) -> Sequence[object]:
    return [job.function()]
