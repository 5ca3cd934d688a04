"""How many replicas are wanted: with the calls, between the two bounds; and which of them idle."""

from typing import NamedTuple

import pytest

from evento.functions.scaling import idle, wanted
from evento.model.resources import Scale


class Replica(NamedTuple):
    calls: int
    idle_since_s: float


@pytest.mark.parametrize(
    ("calls", "replicas"),
    [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4), (100, 4)],
)
def test_as_many_are_wanted_as_the_calls_need_between_the_bounds(calls: int, replicas: int) -> None:
    assert wanted(Scale(least=1, most=4, concurrency=2), calls) == replicas


def test_without_calls_none_is_wanted_if_none_is_the_least() -> None:
    assert wanted(Scale(least=0, most=4), 0) == 0


def test_those_that_idle_are_ended_the_last_ones_first_down_to_the_least() -> None:
    replicas = [Replica(0, 0.0), Replica(1, 0.0), Replica(0, 8.0), Replica(0, 1.0)]
    assert idle(Scale(least=0, most=4, idle_s=5.0), replicas, 10.0) == [3, 0]
    assert idle(Scale(least=3, most=4, idle_s=5.0), replicas, 10.0) == [3]
    assert idle(Scale(least=4, most=4, idle_s=5.0), replicas, 10.0) == []
    assert idle(Scale(least=0, most=4, idle_s=20.0), replicas, 10.0) == []
