"""Frames stand in order of time, and every one knows its place and neighbours."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stinet.errors import UsageError
from stinet.model.timeline import Timeline

rows = st.lists(st.lists(st.floats(0.01, 0.99), max_size=4, unique=True).map(sorted), min_size=1, max_size=5)


def test_source_frames_stand_two_apart_and_halves_one() -> None:
    line = Timeline.of(3)
    assert line.stamps == (0, 1, 2, 3, 4)
    assert line.order == (0, 3, 1, 4, 2)
    assert line.between == ((0, 0.5), (1, 0.5))


def test_every_interval_may_have_times_of_its_own() -> None:
    line = Timeline.of(4, ((0.25,), (0.5, 0.75), ()))
    assert line.stamps == (0, 0.5, 2, 3, 3.5, 4, 6)
    assert line.order == (0, 4, 1, 5, 6, 2, 3)
    assert [line.position(index) for index in range(7)] == [
        (0, 0.0), (0, 0.25), (1, 0.0), (1, 0.5), (1, 0.75), (2, 0.0), (3, 0.0),
    ]  # fmt: skip


@given(rows)
def test_all_frames_come_once_at_rising_times(times: list[list[float]]) -> None:
    line = Timeline.of(len(times) + 1, times)
    assert sorted(line.order) == list(range(len(times) + 1 + sum(map(len, times))))
    assert list(line.stamps) == sorted(line.stamps)  # times that differ by the last bit can fall together


@given(rows)
def test_neighbours_are_mutual_and_the_ends_are_their_own(times: list[list[float]]) -> None:
    line = Timeline.of(len(times) + 1, times)
    last = len(line.order) - 1
    assert (line.previous[0], line.following[last]) == (0, last)
    assert all(line.following[line.previous[index]] == index for index in range(1, last + 1))


def test_stamps_are_scaled_to_a_median_spacing_of_two() -> None:
    line = Timeline.of(4, (0.5,), (10.0, 10.1, 10.2, 10.6))
    assert line.stamps == pytest.approx((0, 1, 2, 3, 4, 8, 12))


def test_one_frame_ignores_times_and_stands_at_zero() -> None:
    assert Timeline.of(1, (0.25, 0.5)) == Timeline(1, (), (0,), (0.0,))
    assert Timeline.of(1, (), (7.0,)).stamps == (0,)


@pytest.mark.parametrize(("sources", "times", "stamps", "message"), [
    (2, (1.5,), None, "strictly between 0 and 1"),
    (2, (0.5, 0.4), None, "must rise"),
    (3, ((0.5,),), None, "1 tuples of times for 3 source frames: 2 are due"),
    (0, (0.5,), None, "at least one source frame"),
    (3, (0.5,), (0.0, 1.0), "2 time stamps for 3 source frames"),
    (3, (0.5,), (0.0, 1.0, 1.0), "must rise"),
])  # fmt: skip
def test_an_impossible_clip_is_refused(sources: int, times: Any, stamps: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Timeline.of(sources, times, stamps)
