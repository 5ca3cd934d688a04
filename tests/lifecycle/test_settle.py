"""Runs of Commands through legs, and their settlement, against a function played by hand."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from evento.lifecycle.run import Answer, Leg, Progress, Work
from evento.lifecycle.settle import Settled, settle
from evento.model.command import ABSENT, Command, Event, Failure, OutcomeKind, State
from evento.model.keys import EntityKey
from evento.model.resources import CommandSpec, EntitySpec, EventSpec, RetryPolicy

KEY = EntityKey("bank", "Checking", "alice")
FAILURE = Failure("handler-failed", "boom", "f")
DEPOSITED = Event("Deposited", 2, b"+")
REFUSED = Event("Refused", 3, b"-", rejection=True)


def entity(*, handle: str = "f", other: str = "f", apply: str = "f", retry: RetryPolicy | None = None) -> EntitySpec:
    policy = retry or RetryPolicy()
    events, rejections = frozenset({"Deposited"}), frozenset({"Refused"})
    return EntitySpec(
        namespace="bank",
        name="Checking",
        schema_id=1,
        apply=apply,
        commands={
            "Deposit": CommandSpec("Deposit", 4, events, rejections, handle, policy),
            "Other": CommandSpec("Other", 5, events, rejections, other, policy),
        },
        events={"Deposited": EventSpec("Deposited", 2), "Refused": EventSpec("Refused", 3)},
    )


def work(number: int, kind: str = "Deposit", *, expected: int | None = None) -> Work:
    return Work(Command(f"c{number}", KEY, kind, 4, b"", 0, expected=expected), number)


def run(works: Sequence[Work], spec: EntitySpec | None = None, state: State = ABSENT) -> Progress:
    return Progress(KEY, spec or entity(), state, works, 5)


def ended(*runs: Progress) -> Settled:
    return settle(runs, now_us=1_000_000, jitter=lambda: 0.5)


def test_one_leg_takes_all_commands_that_the_same_function_handles() -> None:
    progress = run([work(1), work(2), work(3)])
    leg = progress.next_leg()
    assert leg == Leg("f", 0, 3, True)
    progress.absorb(leg, Answer([(DEPOSITED,), (REFUSED,), (DEPOSITED, DEPOSITED)], b"s", "r1"))
    assert progress.next_leg() is None
    (found,) = ended(progress).transition.runs
    assert [turn.kind for turn in found.turns] == [OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED, OutcomeKind.SUCCEEDED]
    assert [turn.before for turn in found.turns] == [0, 1, 2]
    assert found.state == State(4, b"s", 1, "r1")


def test_a_failure_keeps_what_came_before_and_leaves_what_comes_behind_untouched() -> None:
    works = [work(1), work(2), work(3)]
    progress = run(works)
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer([(DEPOSITED,)], b"s", "r1", FAILURE))
    settled = ended(progress)
    assert [turn.command.id for turn in settled.transition.runs[0].turns] == ["c1"]
    (entry,) = settled.transition.pending
    assert (entry.number, entry.attempts, entry.due_us, entry.failure) == (2, 1, 1_050_000, FAILURE)
    assert (works[2].attempts, works[2].stored) == (0, False)


def test_a_function_that_could_not_be_reached_was_not_an_attempt() -> None:
    works = [work(1)]
    progress = run(works)
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer((), None, "", FAILURE, counted=False))
    settled = ended(progress)
    assert settled.postponed == (progress,)
    assert settled.transition.pending == settled.transition.runs == ()
    assert works[0].attempts == 0


def test_past_the_last_attempt_a_command_is_parked() -> None:
    works = [work(1)]
    works[0].attempts = 2
    progress = run(works, entity(retry=RetryPolicy(attempts_max=3)))
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer((), None, "", FAILURE))
    (entry,) = ended(progress).transition.pending
    assert entry.parked
    assert entry.due_us is None


def test_an_expected_version_starts_a_leg_and_a_mismatch_ends_without_an_event() -> None:
    progress = run([work(1), work(2, expected=1), work(3, expected=1), work(4)])
    first = progress.next_leg()
    assert first == Leg("f", 0, 1, True)
    progress.absorb(first, Answer([(DEPOSITED,)], b"1", "r"))
    second = progress.next_leg()
    assert second == Leg("f", 1, 2, True)
    progress.absorb(second, Answer([(DEPOSITED,)], b"2", "r"))
    third = progress.next_leg()
    assert third == Leg("f", 3, 4, True)
    progress.absorb(third, Answer([(DEPOSITED,)], b"3", "r"))
    assert progress.next_leg() is None
    turns = ended(progress).transition.runs[0].turns
    assert [(turn.kind, turn.before, len(turn.events)) for turn in turns][2] == (OutcomeKind.CONFLICT, 2, 0)


def test_handle_and_apply_in_two_functions_alternate_command_by_command() -> None:
    progress = run([work(1), work(2)], entity(handle="h", apply="a"))
    for number in (0, 1):
        leg = progress.next_leg()
        assert leg == Leg("h", number, number + 1, False)
        progress.absorb(leg, Answer([(DEPOSITED,)], None, "h1"))
        leg = progress.next_leg()
        assert leg == Leg("a", number, number, False, (DEPOSITED,))
        progress.absorb(leg, Answer((), b"%d" % number, "a1"))
    assert progress.next_leg() is None
    (found,) = ended(progress).transition.runs
    assert found.state == State(2, b"1", 1, "a1")
    assert found.turns[0].revision == "h1"


def test_an_apply_that_fails_fails_the_turn_and_stores_no_event() -> None:
    progress = run([work(1)], entity(handle="h", apply="a"))
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer([(DEPOSITED,)], None, "h1"))
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer((), None, "", FAILURE))
    settled = ended(progress)
    assert settled.transition.runs == ()
    assert len(settled.transition.pending) == 1


def test_a_spoiled_command_in_the_middle_keeps_what_came_before_after_asking_again() -> None:
    progress = run([work(1), work(2), work(3)])
    leg = progress.next_leg()
    assert leg is not None
    progress.spoil(leg, 2, FAILURE)
    again = progress.next_leg()
    assert again == Leg("f", 0, 2, True)
    progress.absorb(again, Answer([(DEPOSITED,), (DEPOSITED,)], b"s", "r"))
    assert progress.next_leg() is None
    settled = ended(progress)
    assert len(settled.transition.runs[0].turns) == 2
    assert [entry.number for entry in settled.transition.pending] == [3]


def test_an_unusable_state_is_traced_one_command_at_a_time() -> None:
    progress = run([work(1), work(2)])
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer((), None, "r", alone=True))
    assert progress.next_leg() == Leg("f", 0, 1, True)


def test_a_command_that_is_not_deployed_any_more_is_retried_not_lost() -> None:
    progress = run([work(1, "Gone")])
    assert progress.next_leg() is None
    (entry,) = ended(progress).transition.pending
    assert entry.failure is not None
    assert entry.failure.code == "unknown-command"


def test_finished_commands_leave_the_pending_table_in_the_same_transition() -> None:
    works = [work(1), work(2)]
    works[0].stored = True
    progress = run(works)
    leg = progress.next_leg()
    assert leg is not None
    progress.absorb(leg, Answer([(DEPOSITED,), (DEPOSITED,)], b"s", "r"))
    assert ended(progress).transition.resolved == (1,)


@given(
    st.lists(st.tuples(st.sampled_from(["Deposit", "Other"]), st.none() | st.integers(0, 4), st.integers(0, 3)), max_size=12),
    st.sampled_from([{}, {"other": "g"}, {"apply": "a"}, {"handle": "h", "other": "g", "apply": "a"}]),
)
def test_whatever_the_functions_do_versions_have_no_gaps_and_no_command_is_lost_or_doubled(
    plan: list[tuple[str, int | None, int]], functions: dict[str, str]
) -> None:
    works = [work(number, kind, expected=expected) for number, (kind, expected, _) in enumerate(plan)]
    fates = {f"c{number}": fate for number, (_, _, fate) in enumerate(plan)}
    progress = run(works, entity(**functions))
    for _ in range(200):
        leg = progress.next_leg()
        if leg is None:
            break
        progress.absorb(leg, _play(progress, leg, fates))
    else:
        raise AssertionError("the run does not end")
    settled = ended(progress)
    turns = settled.transition.runs[0].turns if settled.transition.runs else ()
    version = 0
    for turn in turns:
        assert turn.before == version
        version = turn.version
    done = [turn.command.id for turn in turns]
    assert done == [item.command.id for item in works[: len(done)]]
    if len(done) < len(works):
        assert [entry.command.id for entry in settled.transition.pending] == [works[len(done)].command.id]


def _play(progress: Progress, leg: Leg, fates: dict[str, int]) -> Answer:
    """Play a function: fate 0 fails, 1 and 2 give as many events, 3 rejects."""
    if leg.events:
        return Answer((), b"s", "r")
    results = []
    for item in progress.works[leg.start : leg.end]:
        fate = fates[item.command.id]
        if fate == 0:
            return Answer(results, b"s" if results else None, "r", FAILURE)
        results.append((REFUSED,) if fate == 3 else (DEPOSITED,) * fate)
    return Answer(results, b"s", "r")
