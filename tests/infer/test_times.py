"""Output times alone: exact over hours, none twice, none left out, whatever the source does."""

import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stinet.infer.times import Film, OutputRule, Result
from stinet.video.frame import Frame, Notes

NOTHING = np.zeros((0, 0, 3), np.uint8)
NTSC = Fraction(1001, 24000)
PERIOD = Fraction(1, 25)


def at(time: Fraction, **more: object) -> Frame:
    return Frame(rgb=NOTHING, time=time, **more)  # pyright: ignore[reportArgumentType]


def due(
    film: Iterable[Frame],
    rule: OutputRule,
    period: Fraction = PERIOD,
    *,
    tick: Fraction = Fraction(1, 90_000),
    constant: bool = False,
    result: Result | None = None,
    notes: Notes | None = None,
) -> Iterator[tuple[int, Fraction, Fraction]]:
    """(number of the source frame, output time, fraction of the way to the next one)."""
    drawn = Film(rule, result or Result(), notes or Notes(), period=period, tick=tick, is_constant_rate=constant)
    number = -1
    for number, frame in enumerate(film):
        step = drawn.advance(frame)
        yield from ((number - 1, time, f) for time, f in step.before)
        yield from ((number, time, f) for time, f in step.early)
    yield from ((number, time, f) for time, f in drawn.finish())


def uneven(seconds: int, slow: int) -> Iterator[Frame]:
    """A film of variable rate in milliseconds, as phones and screen recorders make it, `slow` times slower."""
    time_ms, step = 0, 0
    while time_ms < seconds * 1000:
        yield at(Fraction(time_ms, 1000))
        step = (step * 7 + 5) % 41
        time_ms += slow * (11 + step)


@pytest.mark.bad_input(8)
@pytest.mark.parametrize(("seconds", "slow"), [(30, 1), (3 * 3600, 60)])
@pytest.mark.parametrize(
    ("period", "rule"),
    [(NTSC, "60"), (PERIOD, "144"), (Fraction(1001, 30000), "x2"), (None, "60")],
    ids=["23.976 to 60", "25 to 144", "29.97 doubled", "variable to 60"],
)
def test_after_three_hours_no_output_time_is_off_doubled_or_left_out(
    period: Fraction | None, rule: str, seconds: int, slow: int
) -> None:
    """Three hours at a sixtieth of the rates: as many hours, fewer frames to count."""
    parsed = OutputRule.parse(rule)
    if parsed.rate:
        parsed = OutputRule(rate=parsed.rate / slow)
    spacing = slow * (period or PERIOD)
    step = 1 / parsed.rate if parsed.rate else spacing / 2
    sources: list[Fraction] = []

    def film() -> Iterator[Frame]:
        steady = (at(k * spacing) for k in range(int(seconds / spacing)))
        for frame in uneven(seconds, slow) if period is None else steady:
            sources.append(frame.time)
            yield frame

    # a coarse tick rounds nothing: every fraction must be exact, as every time is in any case
    made = list(due(film(), parsed, spacing, tick=spacing if period else Fraction(0)))
    assert [time for _, time, _ in made] == [k * step for k in range(len(made))]
    assert len(made) == -(-(sources[-1] + spacing) // step)
    for number, time, fraction in made:
        if number + 1 < len(sources):
            assert fraction == (time - sources[number]) / (sources[number + 1] - sources[number])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=30),
    st.sampled_from(["60", "24", "60000/1001", "144", "7", "1000"]),
    st.integers(0, 50),
)
def test_a_rate_gives_every_time_once_at_its_true_place(steps: list[int], rule: str, start: int) -> None:
    times = [Fraction(start + sum(steps[:k]), 600) for k in range(len(steps) + 1)]
    rate = OutputRule.parse(rule).rate
    assert rate is not None
    made = list(due(map(at, times), OutputRule.parse(rule), tick=Fraction(0)))
    assert [time for _, time, _ in made] == [times[0] + k / rate for k in range(len(made))]
    assert times[-1] + PERIOD - made[-1][1] <= 1 / rate
    for number, time, fraction in made:
        if number + 1 < len(times):
            assert time == times[number] + fraction * (times[number + 1] - times[number])
            assert 0 <= fraction < 1


def test_slow_motion_keeps_the_rate_and_multiplies_the_frames() -> None:
    slowed = OutputRule.parse("x2").slowed(Fraction(4), PERIOD)
    result = Result()
    made = list(due((at(4 * k * PERIOD) for k in range(5)), slowed, 4 * PERIOD, result=result))
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(5 * 8)]
    assert slowed.output_rate(1 / (4 * PERIOD)) == 50
    assert result.held == 7


def test_slow_motion_by_an_uneven_factor_becomes_a_rate() -> None:
    assert OutputRule.parse("keep").slowed(Fraction(3, 2), PERIOD).rate == 25
    assert OutputRule.parse("60").slowed(Fraction(4), PERIOD).rate == 60
    assert OutputRule.parse("x2").slowed(Fraction(1, 2), PERIOD).multiple == 1


def test_a_constant_rate_is_made_of_a_variable_one_on_wish() -> None:
    times = [Fraction(k, 600) for k in (0, 20, 55, 61, 100)]
    made = list(due(map(at, times), OutputRule.parse("x2").as_rate(PERIOD)))
    assert [time for _, time, _ in made] == [Fraction(k, 50) for k in range(len(made))]


def test_animation_on_twos_moves_evenly_at_the_ticks_of_the_source() -> None:
    film = [at(2 * k * PERIOD, repeats=((2 * k + 1) * PERIOD,)) for k in range(4)]
    result = Result()
    made = list(due(film, OutputRule.parse("x2"), constant=True, result=result))
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(16)]
    assert [number + fraction for number, _, fraction in made[:13]] == [Fraction(k, 4) for k in range(13)]
    assert (result.frames_in, result.gaps, result.is_constant_rate) == (8, 0, True)


def test_a_still_moves_only_after_its_last_repeat() -> None:
    still = at(Fraction(0), repeats=tuple(k * PERIOD for k in range(1, 6)), still_until=5 * PERIOD)
    made = list(due([still, at(6 * PERIOD)], OutputRule.parse("x2")))
    assert [fraction for _, _, fraction in made] == [0] * 11 + [Fraction(1, 2)] + [0, 0]
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(14)]


@pytest.mark.parametrize("lengths", [(2, 1, 1, 1), (3, 2), (2, 1, 2), (2, 2, 1), (2, 1)])
@pytest.mark.parametrize("rule", ["x2", "keep", "60"])
def test_pulldown_that_was_spread_evenly_still_yields_frames_at_the_ticks_of_the_source(
    lengths: Sequence[int], rule: str
) -> None:
    film, tick = [], 0
    step = Fraction(sum(lengths), len(lengths)) * PERIOD
    for number in range(3 * len(lengths)):
        length = lengths[number % len(lengths)]
        repeats = tuple((tick + k) * PERIOD for k in range(1, length))
        film.append(at(number * step, shown=tick * PERIOD, repeats=repeats))
        tick += length
    parsed = OutputRule.parse(rule)
    made = list(due(film, parsed, constant=True, tick=PERIOD))
    every = 1 / parsed.rate if parsed.rate else PERIOD / parsed.multiple
    assert [time for _, time, _ in made] == [k * every for k in range(len(made))]
    assert len(made) == -(-tick * PERIOD // every)
    moving = [(time, (number + fraction) * step) for number, time, fraction in made if time <= film[-1].time]
    assert all(time == shown for time, shown in moving)


@pytest.mark.bad_input(21)
def test_lost_frames_of_a_constant_rate_film_are_replaced_at_their_true_times() -> None:
    film = [at(k * PERIOD) for k in (0, 1, 2, 5, 6)]
    result, notes = Result(), Notes()
    made = list(due(film, OutputRule.parse("x2"), constant=True, result=result, notes=notes))
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(14)]
    assert [fraction for number, _, fraction in made if number == 2] == [Fraction(k, 6) for k in range(6)]
    assert result.gaps == notes["frames missing in the source, replaced"] == 2


@pytest.mark.bad_input(21)
def test_a_long_gap_is_held_like_a_cut_but_is_none() -> None:
    film = [at(k * PERIOD) for k in (0, 1, 21, 22)]
    result = Result()
    made = list(due(film, OutputRule.parse("x2"), constant=True, result=result))
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(46)]
    in_gap = [(number, fraction) for number, time, fraction in made if PERIOD <= time < 21 * PERIOD]
    assert in_gap == [(1, 0)] * 21 + [(2, 0)] * 19
    assert (result.gaps, result.cuts) == (19, 0)


@pytest.mark.bad_input(21)
def test_a_gap_in_times_that_are_rounded_to_a_tick_gives_times_on_ticks() -> None:
    tick = Fraction(1, 1000)
    film = [at(Fraction(time, 1000)) for time in (0, 33, 67, 167, 200)]
    made = list(due(film, OutputRule.parse("x2"), Fraction(1, 30), tick=tick, constant=True))
    assert len(made) == 14
    assert all((time / (tick / 2)).denominator == 1 for _, time, _ in made)
    assert max(abs(time - Fraction(k, 60)) for k, (_, time, _) in enumerate(made)) <= tick


@pytest.mark.bad_input(8)
def test_long_intervals_of_a_variable_film_are_no_gaps() -> None:
    result = Result()
    made = list(due([at(Fraction(0)), at(20 * PERIOD)], OutputRule.parse("x2"), result=result))
    assert [fraction for _, _, fraction in made] == [0, Fraction(1, 2), 0, 0]
    assert result.gaps == 0


def test_a_last_picture_that_was_repeated_is_due_at_all_its_ticks() -> None:
    film = [at(Fraction(0)), at(PERIOD, repeats=(2 * PERIOD, 3 * PERIOD))]
    result = Result()
    made = list(due(film, OutputRule.parse("x2"), constant=True, result=result))
    assert [time for _, time, _ in made] == [k * PERIOD / 2 for k in range(8)]
    assert (result.held, result.end) == (1, 4 * PERIOD)


@pytest.mark.bad_input(38)
def test_memory_of_output_times_does_not_grow_with_the_film() -> None:
    def peak(frames: int) -> int:
        tracemalloc.start()
        for _ in due((at(k * NTSC) for k in range(frames)), OutputRule.parse("60"), NTSC):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(2000) < peak(400) + 20_000


def test_times_of_neighbours_never_meet_whatever_the_cuts() -> None:
    film = [at(k * PERIOD, begins_scene=k % 3 == 2) for k in range(12)]
    times = [time for _, time, _ in due(film, OutputRule.parse("60"))]
    assert all(b - a == Fraction(1, 60) for a, b in pairwise(times))
