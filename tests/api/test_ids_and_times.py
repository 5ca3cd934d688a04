"""Ids and times at the edge."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evento.api.ids import CommandIds
from evento.errors import InvalidRequest
from evento.model.times import TIME_MAX_US, TimeText, parse_time, time_text

MICROSECONDS = st.integers(0, TIME_MAX_US)
BEYOND = ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"]  # in UTC they cannot be written
NO_TIMES = ["", "now", "2026-05-31T12:00:00", "2026-13-01T00:00:00Z", "1e9", "2026-05-31", *BEYOND]


@given(st.lists(MICROSECONDS, max_size=50))
def test_ids_are_version_7_and_grow_also_when_the_clock_does_not(times: list[int]) -> None:
    ids = CommandIds()
    made = [ids.next(now_us) for now_us in [*times, *times, *[0] * 2000]]
    assert made == sorted(set(made))
    assert all(uuid.UUID(each).version == 7 and uuid.UUID(each).variant == uuid.RFC_4122 for each in made[:50])


def test_an_id_holds_its_time() -> None:
    assert uuid.UUID(CommandIds().next(1_780_228_800_123_456)).int >> 80 == 1_780_228_800_123


@given(MICROSECONDS)
def test_times_are_read_as_they_were_written(time_us: int) -> None:
    assert TimeText()(time_us) == time_text(time_us)
    assert parse_time(time_text(time_us), "at") == time_us


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_time_without_offset_or_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_time(text, "at")
