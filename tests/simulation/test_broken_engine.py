"""The simulation can fail: an engine broken on purpose, in each of the ways that matter, is caught within a few seeds."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from evento.engine.inbound import Inbound, Source
from evento.engine.queues import Instance, Queues
from evento.engine.ticket import Origin, Ticket
from evento.engine.turns import Execution
from evento.engine.worker import Worker
from evento.errors import EventoError
from evento.lifecycle.run import Progress
from evento.model.command import Command
from evento.model.transition import Transition
from tests.simulation.invariants import check
from tests.simulation.world import play

SEEDS = 60

Break = Callable[[pytest.MonkeyPatch], None]


def forget_duplicates(patch: pytest.MonkeyPatch) -> None:
    async def find_nothing(self: Execution, tickets: Sequence[Ticket]) -> list[Any]:
        return []

    patch.setattr(Execution, "find_known", find_nothing)


def accept_other_content_under_an_id(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Execution, "same_content", lambda self, new, first: True)


def tell_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    commit = Worker._commit
    background: set[asyncio.Task[None]] = set()

    async def commit_later(self: Worker, transition: Transition) -> None:
        await asyncio.sleep(0.02)
        if self._open:
            await commit(self, transition)

    async def return_at_once(self: Worker, transition: Transition) -> float:
        background.add(asyncio.ensure_future(commit_later(self, transition)))
        return 0.0

    patch.setattr(Worker, "_commit", return_at_once)


def take_the_last_first(patch: pytest.MonkeyPatch) -> None:
    take = Queues.take

    def reversed_take(self: Queues, lane: Any, *, commands: int, of_one: int) -> list[tuple[Instance, list[Ticket]]]:
        return [(instance, tickets[::-1]) for instance, tickets in take(self, lane, commands=commands, of_one=of_one)]

    patch.setattr(Queues, "take", reversed_take)


def let_what_waits_behind_a_retry_overtake_it(patch: pytest.MonkeyPatch) -> None:
    offer = Queues.offer

    def rotate(self: Queues, instance: Instance) -> None:
        if len(instance.queue) > 1 and instance.queue[0].attempts and not instance.queue[1].attempts:
            instance.queue.append(instance.queue.pop(0))
        offer(self, instance)

    patch.setattr(Queues, "offer", rotate)


def ignore_the_expected_version(patch: pytest.MonkeyPatch) -> None:
    accept = Worker.accept

    def forget(self: Worker, command: Command, *arguments: Any, **options: Any) -> Ticket:
        bare = Command(command.id, command.key, command.type, command.schema_id, command.payload, command.accepted_us)
        return accept(self, bare, *arguments, **options)

    patch.setattr(Worker, "accept", forget)


def keep_no_retry_in_the_journal(patch: pytest.MonkeyPatch) -> None:
    commit = Worker._commit

    async def without_pending(self: Worker, transition: Transition) -> float:
        return await commit(self, Transition(transition.runs, (), transition.resolved, transition.states))

    patch.setattr(Worker, "_commit", without_pending)


def leave_finished_commands_pending(patch: pytest.MonkeyPatch) -> None:
    commit = Worker._commit

    async def without_resolved(self: Worker, transition: Transition) -> float:
        return await commit(self, Transition(transition.runs, transition.pending, (), transition.states))

    patch.setattr(Worker, "_commit", without_resolved)


def drop_what_stands_behind_a_failure(patch: pytest.MonkeyPatch) -> None:
    advance = Worker._advance

    def forgetful(self: Worker, execution: Execution, batch: Any, runs: Sequence[Progress]) -> None:
        for run in runs:
            if run.failure is not None and isinstance(run.works, list):
                del run.works[run.done + 1 :]
        advance(self, execution, batch, runs)

    patch.setattr(Worker, "_advance", forgetful)


def believe_whatever_a_function_answers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("evento.engine.checking.Checker._declared_by", lambda self, entity, command: _Anything())


def skip_records_that_are_only_read(patch: pytest.MonkeyPatch) -> None:
    accept = Worker.accept_input

    def done_at_once(self: Worker, command: Command, source: Source, place: int) -> Origin:
        origin = accept(self, command, source, place)
        origin.done = True
        return origin

    patch.setattr(Worker, "accept_input", done_at_once)


def forget_to_answer_bad_records(patch: pytest.MonkeyPatch) -> None:
    def done_in_silence(self: Inbound, source: Source, origin: Origin, error: EventoError) -> None:
        origin.done = True

    patch.setattr(Inbound, "refuse", done_in_silence)


class _Anything(dict[str, tuple[int, bool]]):
    def get(self, key: str, default: Any = None) -> tuple[int, bool]:
        return (1, False)


BREAKS = [
    forget_duplicates,
    accept_other_content_under_an_id,
    tell_before_the_commit,
    take_the_last_first,
    let_what_waits_behind_a_retry_overtake_it,
    ignore_the_expected_version,
    keep_no_retry_in_the_journal,
    leave_finished_commands_pending,
    drop_what_stands_behind_a_failure,
    believe_whatever_a_function_answers,
    skip_records_that_are_only_read,
    forget_to_answer_bad_records,
]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_an_engine_broken_on_purpose_is_caught(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("evento").setLevel(logging.ERROR)
    broken(monkeypatch)
    for seed in range(SEEDS):
        try:
            problems = check(play(seed))
        except BaseExceptionGroup as error:
            problems = [repr(error)]
        except Exception as error:  # noqa: BLE001 - a broken engine may break in any way; that is being caught
            problems = [repr(error)]
        if problems:
            return
    pytest.fail(f"{SEEDS} seeds did not notice")
