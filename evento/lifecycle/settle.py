"""One batch's settlement: what the runs of a batch came to, as one Transition (design §6).

A pure function of the runs, the time and the random numbers it is given; it neither waits nor stores.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from evento.lifecycle.retry import delay_s, exhausted
from evento.lifecycle.run import Progress, Work
from evento.model.command import Pending, State
from evento.model.keys import EntityKey
from evento.model.resources import RetryPolicy
from evento.model.transition import Run, Transition

_US = 1_000_000


class Settled(Struct, frozen=True):
    """The transition to commit, and which works failed (they hold their next due time, or are parked) or could not be tried."""

    transition: Transition
    failed: tuple[Progress, ...]
    postponed: tuple[Progress, ...]


def pending_of(work: Work) -> Pending:
    """Return the journal's entry for an unfinished Command."""
    return Pending(work.number, work.command, work.attempts, work.due_us, work.parked, work.failure)


def settle(
    runs: Sequence[Progress],
    *,
    now_us: int,
    jitter: Callable[[], float],
    refolded: Sequence[tuple[EntityKey, State]] = (),
) -> Settled:
    """Settle a batch. `jitter` gives uniform numbers in [0, 1).

    Works that failed are changed: attempts, failure, and due time or parked. `refolded` states go into the commit as they are.
    """
    settled_runs: list[Run] = []
    pending: list[Pending] = []
    resolved: list[int] = []
    failed: list[Progress] = []
    postponed: list[Progress] = []
    for run in runs:
        if run.turns:
            after = run.state_after()
            settled_runs.append(Run(run.key, run.before.version, tuple(run.turns), None if after is run.before else after))
            for index in range(run.done):
                if run.works[index].stored:
                    resolved.append(run.works[index].number)
        if run.failure is None:
            continue
        if not run.counted:
            postponed.append(run)
            continue
        failed.append(run)
        pending.append(_fail(run, now_us, jitter()))
    transition = Transition(tuple(settled_runs), tuple(pending), tuple(resolved), tuple(refolded))
    return Settled(transition, tuple(failed), tuple(postponed))


def _fail(run: Progress, now_us: int, jitter: float) -> Pending:
    work = run.works[run.done]
    spec = run.entity.commands.get(work.command.type)
    policy = spec.retry if spec is not None else RetryPolicy()
    work.attempts += 1
    work.failure = run.failure
    work.parked = exhausted(policy, work.attempts)
    work.due_us = None if work.parked else now_us + int(delay_s(policy, work.attempts, jitter) * _US)
    return pending_of(work)
