"""What a worker holds at most is its share of what the process holds."""

import pytest

from evento.engine.unfinished import Limits, shared

LIMITS = Limits(inbox_commands=10_000, inbox_bytes=64_000, batch_commands=500)


def test_a_single_worker_holds_everything() -> None:
    assert shared(LIMITS, 1) == LIMITS


@pytest.mark.parametrize(("partitions", "commands"), [(2, 10_000), (8, 2_500), (64, 1_000)])
def test_of_several_each_holds_twice_its_share_and_half_of_it_is_never_less_than_a_batch(partitions: int, commands: int) -> None:
    share = shared(LIMITS, partitions)
    assert share.inbox_commands == commands
    assert share.inbox_bytes == 2 * 64_000 // partitions


def test_no_share_is_more_than_everything() -> None:
    assert shared(Limits(inbox_commands=100, batch_commands=500), 64).inbox_commands == 100


def test_records_have_a_share_as_well_and_batches_of_their_own() -> None:
    limits = Limits.of(10_000, 500)
    assert (limits.input_commands, limits.input_batch_commands) == (160_000, 4_000)
    assert shared(limits, 4).input_commands == 80_000
    assert shared(limits, 4).input_batch_commands == 4_000
