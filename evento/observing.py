"""What the engine, the functions and a shared journal do, as metrics and in the log: the one place where they meet."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from evento.engine.observer import Observer
from evento.functions.replica import ReplicaObserver
from evento.journal.observer import JournalObserver
from evento.lifecycle.run import Progress
from evento.model.command import OutcomeKind, Turn
from evento.telemetry import Count, Metrics, Spread

logger = logging.getLogger(__name__)

FAILURES_PER_S_MAX = 10  # lines in the log; a function that is broken fails thousands of turns alike
_MESSAGE_CHARS_MAX = 500
_US = 1_000_000
_KINDS = tuple(OutcomeKind)


class MeteredObserver(Observer):
    """Counts what workers finish, and tells what failed."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._commit_seconds = metrics.commit_seconds.bind()
        self._commit_commands = metrics.commit_commands.bind()
        self._counts: dict[tuple[str, str, str], Count] = {}
        self._seconds: dict[tuple[str, str], Spread] = {}
        self._second = 0
        self._told = 0

    def committed(self, turns: Sequence[Turn], commit_s: float, now_us: int) -> None:
        """Count finished Commands; their duration once per commit and Entity, as that of the oldest of them."""
        if not turns:
            return
        self._commit_seconds.observe(commit_s)
        self._commit_commands.observe(len(turns))
        of_entities: dict[tuple[str, str], list[Turn]] = {}
        place, finished = ("", ""), list[Turn]()
        for turn in turns:
            namespace, entity, _ = turn.command.key
            if entity != place[1] or namespace != place[0]:
                place = (namespace, entity)
                finished = of_entities.setdefault(place, [])
            finished.append(turn)
        for (namespace, entity), finished in of_entities.items():
            kinds, left = [turn.kind for turn in finished], len(finished)
            for kind in _KINDS:
                if left and (number := kinds.count(kind)):
                    self._count((namespace, entity, kind.value)).add(number)
                    left -= number
            oldest_us = min([turn.command.accepted_us for turn in finished])
            self._duration((namespace, entity)).observe(max(0, now_us - oldest_us) / _US, len(finished))

    def failed(self, run: Progress) -> None:
        """Count a failed turn, and say why in the log, as long as there are not too many."""
        self._count((run.key.namespace, run.key.entity, "failed")).add()
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            if self._told > FAILURES_PER_S_MAX:
                logger.warning("%d more turns failed within a second", self._told - FAILURES_PER_S_MAX)
            self._second, self._told = second, 0
        self._told += 1
        failure = run.failure
        if failure is not None and self._told <= FAILURES_PER_S_MAX:
            command, message = run.works[run.done].command, failure.message[:_MESSAGE_CHARS_MAX]
            by = f" by {failure.function}" if failure.function else ""
            logger.warning("%s of %s failed%s: %s: %s", command.type, run.key, by, failure.code, message)

    def called(self, function: str, operation: str, result: str, seconds: float) -> None:
        """Count a call to a function."""
        self._metrics.function_calls.bind(function, result).add()
        self._metrics.function_call_seconds.bind(function, operation).observe(seconds)

    def _count(self, place: tuple[str, str, str]) -> Count:
        count = self._counts.get(place)
        if count is None:
            count = self._counts[place] = self._metrics.commands.bind(f"{place[0]}/{place[1]}", place[2])
        return count

    def _duration(self, name: tuple[str, str]) -> Spread:
        spread = self._seconds.get(name)
        if spread is None:
            spread = self._seconds[name] = self._metrics.command_seconds.bind(f"{name[0]}/{name[1]}")
        return spread


class MeteredReplicas(ReplicaObserver):
    """Counts the replicas of functions."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def replicas_changed(self, function: str, change: int) -> None:
        """Count replicas that are ready."""
        self._metrics.function_replicas.bind(function).add(change)

    def replica_ended(self, function: str, cause: str) -> None:
        """Count an end that nobody wanted."""
        self._metrics.function_replica_ends.bind(function, cause).add()


class MeteredJournal(JournalObserver):
    """Counts what the owners of partitions do, and knows how far those are that are being restored. Made on the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._restoring: dict[int, tuple[int, int]] = {}

    @property
    def restores(self) -> Mapping[int, tuple[int, int]]:
        """Return the partitions that are being restored, each with how many records are read, of how many at most."""
        return self._restoring

    def restoring(self, partition: int, done: int, total: int) -> None:
        """Keep how far it is."""
        self._tell(partial(self._keep, partition, done, total))

    def taken_over(self, partition: int, seconds: float) -> None:
        """Count a partition taken over."""
        self._tell(partial(self.metrics.partition_take_over_seconds.bind().observe, seconds))
        self._tell(partial(self._forget, partition))

    def given_up(self, partition: int) -> None:
        """Forget how far it was."""
        self._tell(partial(self._forget, partition))

    def committed(self, seconds: float, records: int) -> None:
        """Count a commit."""
        self._tell(partial(self.metrics.journal_commit_seconds.bind().observe, seconds))
        self._tell(partial(self.metrics.journal_commit_records.bind().add, records))

    def copied(self, partition: int, blocks: int) -> None:
        """Count a copy."""
        self._tell(partial(self.metrics.partition_copy_blocks.bind(str(partition)).add, blocks))

    def commit_failed(self, code: str) -> None:
        """Count a failure."""
        self._tell(self.metrics.journal_commit_failures.bind(code).add)

    def _tell(self, change: Callable[[], None]) -> None:
        """Let the metrics' own thread do it: they take no lock."""
        with suppress(RuntimeError):  # the loop is closed: nobody will ask
            self._loop.call_soon_threadsafe(change)

    def _keep(self, partition: int, done: int, total: int) -> None:
        self._restoring[partition] = done, max(done, total)
        self.metrics.partition_restore_records.bind(str(partition)).set(max(0, total - done))

    def _forget(self, partition: int) -> None:
        if self._restoring.pop(partition, None) is not None:
            self.metrics.partition_restore_records.bind(str(partition)).set(0)
