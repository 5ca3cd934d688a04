"""The writer's thread: it takes everything that waits and makes one commit for it, and indexes between the commits.

It never waits on a timer to fill a commit: commits grow while the one before is being made. When the file fails it stops for
good: what a failed write or sync left behind is known only by opening it again (reliability §5). Knows no SQL.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

import apsw

from evento.errors import JournalCorrupt, JournalError
from evento.journal.sqlite.connection import translated
from evento.journal.sqlite.jobs import Append, Call, Committer, Job, Jobs, Stop, answer, take
from evento.journal.sqlite.store import Store
from evento.model.transition import Appended, Conflict, Transition

IDLE_S = 1.0  # after this long without an append, what is left is indexed
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Writer:
    """The thread that writes one file. `opened` is entered and left on the thread: what it holds is free when the thread ends.

    `damaged` is called when the file contradicts its checksums.
    """

    def __init__(self, path: Path, opened: AbstractContextManager[Store], damaged: Callable[[], None] | None = None) -> None:
        self._path = path
        self._damaged = damaged
        self._opened = opened
        self._jobs: Jobs = Jobs()  # bounded by its callers: each waits for its answer
        self._thread = Thread(target=self._run, name=f"journal-writer-{path.name}", daemon=True)
        self._failure: JournalError | None = None
        self._store: Store | None = None
        self._closing = ExitStack()
        self._process = os.getpid()
        self._is_stopped = False  # nobody answers any more

    async def start(self) -> Store:
        """Start the thread and open the file; return it for looking into its tail and filter. Raises JournalError."""
        self._thread.start()
        return await self.call(self._open)

    async def append(self, transition: Transition, committer: Committer) -> Appended | Conflict:
        """Make a transition durable by `committer`, and return when it is. Raises JournalError, or what is given as its result."""
        future = self._future()
        self._jobs.put(Append(transition, committer, future))
        return cast("Appended | Conflict", await future)

    async def settle(self) -> None:
        """Return when everything appended before is answered. Raises JournalError."""
        await self.call(lambda: None)

    async def stop(self) -> None:
        """End the thread: what waits is done first, then the rest is indexed and the file closed."""
        self._jobs.put(Stop())
        self._is_stopped = True
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[[], T]) -> T:
        """Call a function on the thread, after everything appended before. Raises JournalError; then the file is given up."""
        future = self._future()
        self._jobs.put(Call(function, future))
        return cast("T", await future)

    def post(self, function: Callable[[], object]) -> None:
        """Have a function called on the thread, which nobody waits for: if the file was given up, or closed, it is not called."""
        if self._failure is None and not self._is_stopped:
            future = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # who appends is told of what failed
            self._jobs.put(Call(function, future))

    def _future(self) -> asyncio.Future[Any]:
        if self._failure is not None:
            raise self._given_up(self._failure)
        if self._is_stopped:
            raise JournalError("the journal is closed", path=str(self._path))
        if self._process != os.getpid():
            raise JournalError("this process was forked from the one that opened the journal; it must not use it")
        return asyncio.get_running_loop().create_future()

    def _given_up(self, failure: JournalError) -> JournalError:
        return type(failure)(f"the journal was given up: {failure}", path=str(self._path))

    # ---------------------------------------------------------------- on the thread
    def _run(self) -> None:
        stopped = False
        while not stopped:
            jobs = take(self._jobs, self._patience(), self._await_turn)
            stopped = any(isinstance(job, Stop) for job in jobs)
            self._serve(jobs)
            self._guard(partial(self._index, idle=stopped or not jobs))
        with suppress(apsw.Error):  # an open commit is rolled back, as it would be at the next opening
            self._closing.close()

    def _open(self) -> Store:
        self._store = self._closing.enter_context(self._opened)
        return self._store

    def _patience(self) -> float | None:
        """Return how long to wait for a job: not at all in the middle of a round, for ever when nothing is left to index."""
        if self._failure is not None or self._store is None or self._store.rounds.is_idle():
            return None
        return 0.0 if self._store.rounds.is_due() else IDLE_S

    def _await_turn(self, job: Job) -> None:
        if isinstance(job, Append) and self._failure is None:
            job.committer.await_turn()

    def _serve(self, jobs: Sequence[Job]) -> None:
        for committer, group in groupby(jobs, key=_committer_of):
            if committer is not None:
                appends = [job for job in group if isinstance(job, Append)]
                self._answer(appends, partial(committer.commit, [job.transition for job in appends]))
                continue
            for job in group:
                if isinstance(job, Call):
                    self._answer([job], partial(_result, job))

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
        if isinstance(failure, JournalCorrupt) and self._damaged is not None:
            self._damaged()
        if self._store is not None:
            _log.critical("the journal %s accepts nothing more: %s", self._path, failure)

    def _index(self, *, idle: bool) -> None:
        if self._store is None:
            return
        if idle and not self._store.rounds.is_due():
            self._store.rounds.finish()
        else:
            self._store.rounds.keep_up()


def _committer_of(job: Job) -> Committer | None:
    return job.committer if isinstance(job, Append) else None


def _result(job: Call) -> Sequence[object]:
    return [job.function()]
