"""Output times and windows: what is due, and that windows change nothing."""

import weakref
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from films import Repeat, in_order, pictures  # pyright: ignore[reportMissingImports]
from stinet.config import ClipFunction, Tile, TileConfig
from stinet.errors import ModelError, UsageError
from stinet.infer.clips import Window, upscale_frames, windows
from stinet.infer.ladder import LONG_CORE, Runner
from stinet.infer.times import OutputRule, Result
from stinet.video.frame import Frame, Notes

PERIOD = Fraction(1, 25)


def runner(fn: ClipFunction, budget_bytes: int = 1 << 40) -> Runner:
    return Runner(fn, TileConfig(), Notes(), budget_bytes=budget_bytes)


def film_of(times: Sequence[Fraction]) -> list[Frame]:
    return [Frame(rgb=rgb, time=time) for rgb, time in zip(pictures(len(times), 16, 8), times, strict=True)]


def run(times: Sequence[Fraction], rule: str, **options: object) -> tuple[list[Frame], Result]:
    result = Result()
    fn = options.pop("fn", Repeat(scale=1))
    frames = upscale_frames(
        runner(fn),  # pyright: ignore[reportArgumentType]
        film_of(times),
        OutputRule.parse(rule),
        period=PERIOD,
        result=result,
        **options,  # pyright: ignore[reportArgumentType]
    )
    return list(frames), result


def even(count: int) -> list[Fraction]:
    return [k * PERIOD for k in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 9, 17])
@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_n_constant_rate_frames_become_k_times_n_and_the_last_is_held(count: int, multiple: int) -> None:
    made, result = run(even(count), f"x{multiple}")
    assert [frame.time for frame in made] == [k * PERIOD / multiple for k in range(count * multiple)]
    assert (result.frames_in, result.frames_out, result.held) == (count, count * multiple, multiple - 1)
    assert made[-1].time + (made[-1].duration or 0) == count * PERIOD


def test_n_variable_rate_frames_become_2n_minus_1_at_true_fractions() -> None:
    times = [Fraction(k, 600) for k in (0, 20, 55, 61, 100)]
    made, result = run(times, "x2")
    middles = [(a + b) / 2 for a, b in pairwise(times)]
    assert [frame.time for frame in made] == sorted(times + middles)
    assert result.held == 0
    assert made[-1].duration == PERIOD


def test_a_dropped_frame_in_a_constant_rate_film_leaves_the_rate_constant() -> None:
    made, result = run([k * PERIOD for k in (0, 2, 3, 4)], "x2")
    assert len(made) == 8
    assert result.is_constant_rate


def test_given_frames_pass_through_and_middles_are_blends() -> None:
    made, _ = run(even(6), "x2")
    source = [frame.rgb.astype(int) for frame in film_of(even(6))]
    for k in range(6):
        assert np.array_equal(made[2 * k].rgb, source[k])
    for k in range(5):
        assert np.abs(made[2 * k + 1].rgb - (source[k] + source[k + 1]) / 2).max() <= 0.5


@settings(deadline=None, max_examples=40)
@example([84, 2], "7", 0, 0)  # 1/7 s lies within a tick of two source frames
@given(
    st.lists(st.integers(1, 90), min_size=0, max_size=20),
    st.sampled_from(["x2", "x3", "60", "24", "60000/1001", "keep", "7"]),
    st.integers(0, 9),
    st.integers(0, 3),
)
def test_times_rise_and_the_duration_is_kept(steps: list[int], rule: str, window: int, reach: int) -> None:
    times = [Fraction(sum(steps[:k]), 600) for k in range(len(steps) + 1)]
    made, result = run(times, rule, window=window, fn=Repeat(scale=1, reach=reach))
    assert all(b.time > a.time for a, b in pairwise(made))
    assert made[0].time == times[0]
    assert result.frames_out == len(made)
    end = made[-1].time + (made[-1].duration or 0)
    assert abs(end - (times[-1] + PERIOD)) <= Fraction(1, 1000)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 15), st.sampled_from(["x2", "x3", "60"]), st.integers(0, 9), st.integers(0, 3))
def test_windows_change_nothing_for_a_function_within_its_reach(count: int, rule: str, window: int, reach: int) -> None:
    whole, _ = run(even(count), rule, window=10_000, fn=Smooth(reach))
    parts, _ = run(even(count), rule, window=window, fn=Smooth(reach))
    assert [frame.time for frame in parts] == [frame.time for frame in whole]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(whole, parts, strict=True))


class Smooth(Repeat):
    """Every output is the mean of all outputs, given and in-between, at most `reach` - 1 source frames away."""

    def __init__(self, reach: int) -> None:
        super().__init__(scale=1, reach=reach)

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        stamps = [i + t for i in range(len(states)) for t in (0.0, *(times[i] if i < len(times) else ()))]
        frames = in_order(states, times)
        far = max(self.reach - 1, 0)
        near = [[j for j, s in enumerate(stamps) if abs(s - stamp) <= far + 1e-6] for stamp in stamps]
        return torch.stack([frames[indices].double().mean(0).float() for indices in near])


def drawn_of(fn: ClipFunction, frames: Iterator[Frame] | list[Frame], result: Result | None = None) -> Iterator[Window]:
    return windows(runner(fn), frames, OutputRule.parse("x2"), period=PERIOD, core=3, result=result)


def test_windows_tile_the_film_in_order() -> None:
    drawn = list(drawn_of(Repeat(scale=1, reach=2), film_of(even(11))))
    assert [(one.first, one.sources) for one in drawn] == [(0, 3), (3, 3), (6, 3), (9, 2)]
    assert [time for one in drawn for time in one.times] == [k * PERIOD / 2 for k in range(22)]
    assert [one.held for one in drawn] == [0, 0, 0, 1]
    for one in drawn:
        assert tuple(frame.time for frame in one.frames()) == one.times
    with pytest.raises(RuntimeError, match="made already"):
        list(drawn[1].frames())


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 9)), st.integers(0, 3), st.sets(st.integers(1, 20)))
def test_a_window_is_the_same_whether_others_are_made_or_left_out(made: set[int], reach: int, begins: set[int]) -> None:
    source = scenes_of(even(21), begins)
    whole = [list(one.frames()) for one in drawn_of(Smooth(reach), source)]
    result = Result()
    for number, one in enumerate(drawn_of(Smooth(reach), source, result)):
        if number in made:
            pairs = zip(one.frames(), whole[number], strict=True)
            assert all(a.time == b.time and np.array_equal(a.rgb, b.rgb) for a, b in pairs)
    assert (result.frames_in, result.frames_out, result.held) == (21, 42, 1)
    assert (result.cuts, result.end) == (len(begins), 21 * PERIOD)


def test_windows_left_out_prepare_nothing() -> None:
    fn = Repeat(scale=1, reach=2)
    assert len(list(drawn_of(fn, film_of(even(30))))) == 10
    assert fn.prepared == 0
    for number, one in enumerate(drawn_of(fn, film_of(even(30)))):
        if number == 7:
            list(one.frames())
    assert fn.prepared == 3 + 2 + 2


@pytest.mark.bad_input(38)
@pytest.mark.parametrize("is_made", [True, False])
def test_frames_and_states_in_memory_do_not_grow_with_the_film(*, is_made: bool) -> None:
    states: weakref.WeakSet[Tensor] = weakref.WeakSet()
    sources: list[weakref.ref[np.ndarray]] = []
    most_states = most_sources = 0

    class Counted(Repeat):
        def prepare(self, frame: Tensor) -> Tensor:
            state = super().prepare(frame).clone()
            states.add(state)
            return state

    def film() -> Iterator[Frame]:
        for k in range(200):
            rgb = np.full((8, 8, 3), k, np.uint8)
            sources.append(weakref.ref(rgb))
            yield Frame(rgb=rgb, time=k * PERIOD)
            del rgb

    for one in drawn_of(Counted(scale=1, reach=2), film()):
        if is_made:
            for _ in one.frames():
                pass
        most_states = max(most_states, len(states))
        most_sources = max(most_sources, sum(source() is not None for source in sources))
    assert len(sources) == 200
    assert most_sources <= 2 * (2 + 3 + 2)
    assert most_states <= (2 * (2 + 3 + 2) if is_made else 0)


@pytest.mark.bad_input(14)
def test_sixteen_bits_stay_sixteen_bits() -> None:
    levels = np.arange(48 * 3, dtype=np.uint16).reshape(6, 8, 3) * 257 + 3
    frames = [Frame(rgb=levels + np.uint16(40 * k), time=k * PERIOD) for k in range(3)]
    made, _ = made_of(frames, "x2", Repeat(scale=1))
    assert made[0].rgb.dtype == np.uint16
    assert np.array_equal(made[2].rgb, frames[1].rgb)
    assert np.abs(made[1].rgb.astype(int) - levels - 20).max() <= 1


@pytest.mark.bad_input(16)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_opacity_is_made_apart_only_where_something_is_not_opaque(depth: type) -> None:
    top = int(np.iinfo(depth).max)
    alphas: list[np.ndarray | None] = [None] * 12
    alphas[9] = np.full((8, 16), top // 2, depth)
    alphas[2] = np.full((8, 16), top, depth)
    frames = [
        Frame(rgb=rgb.astype(depth), alpha=alpha, time=k * PERIOD)
        for k, (rgb, alpha) in enumerate(zip(pictures(12, 16, 8), alphas, strict=True))
    ]
    fn = Repeat(scale=2)
    made = [frame for one in drawn_of(fn, frames) for frame in one.frames()]
    shown = [None if frame.alpha is None else int(frame.alpha.mean()) for frame in made]
    assert shown[: 2 * 6] == [None] * 12
    assert shown[18] == top // 2
    assert shown[16] == top
    assert abs(shown[17] - (top * 3) // 4) <= 1  # pyright: ignore[reportOptionalOperand]
    assert made[18].alpha is not None
    assert (made[18].alpha.dtype, made[18].alpha.shape) == (depth, (16, 32))


@pytest.mark.bad_input(5)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rule", ["x2", "60", "keep"])
def test_the_shortest_films_keep_their_duration(count: int, rule: str) -> None:
    made, _ = run(even(count), rule, fn=Repeat(scale=4, reach=3))
    assert made[-1].time + (made[-1].duration or 0) == count * PERIOD


def test_a_picture_that_stands_still_is_computed_once() -> None:
    still = Frame(
        rgb=film_of(even(1))[0].rgb,
        time=Fraction(0),
        repeats=tuple(k * PERIOD for k in range(1, 100)),
        still_until=99 * PERIOD,
    )
    fn = Repeat(scale=1)
    made, result = made_of([still, Frame(rgb=255 - still.rgb, time=100 * PERIOD)], "x2", fn)
    assert [frame.time for frame in made] == [k * PERIOD / 2 for k in range(202)]
    assert all(np.array_equal(frame.rgb, still.rgb) for frame in made[:199])
    assert fn.prepared == 2
    assert len(fn.clips) == 1
    assert result.frames_in == 101


def test_a_source_frame_is_prepared_once() -> None:
    fn = Repeat(scale=1, reach=2)
    run(even(39), "x2", fn=fn)
    assert fn.prepared == 39
    assert max(fn.clips) == LONG_CORE + 2 + 2


def test_the_window_setting_bounds_the_clip() -> None:
    fn = Repeat(scale=1, reach=2)
    run(even(23), "x2", fn=fn, window=6)
    assert max(fn.clips) == 6


def test_little_memory_means_short_clips() -> None:
    fn = Repeat(scale=4, reach=1)
    list(upscale_frames(runner(fn, 1), film_of(even(9)), OutputRule.parse("x2"), period=PERIOD))
    assert max(fn.clips) == 1 + 1 + 1


@pytest.mark.parametrize(("rule", "frames"), [("x2", 2), ("250", 10), ("x6", 6), ("10", 2)])
def test_the_memory_of_a_window_counts_the_frames_that_are_really_made(rule: str, frames: int) -> None:
    fn = Repeat(scale=4, reach=0)
    two = 4 * 12 * 16 * 8 * 4**2 * frames * 2  # a quarter of it holds two intervals of 16x8
    list(upscale_frames(runner(fn, two), film_of(even(9)), OutputRule.parse(rule), period=PERIOD))
    assert max(fn.clips) == 2 + 1


@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("rule", ["x5", "x8", "150", "60"])
@pytest.mark.parametrize("window", [0, 40])
def test_a_high_rate_shortens_the_windows_and_keeps_the_frames_of_the_context(
    rule: str, reach: int, window: int
) -> None:
    between: list[int] = []

    class Counting(Smooth):
        def run(
            self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
        ) -> Tensor:
            between.extend(len(one) for one in times)
            assert sum(len(one) for one in times) <= 32
            return super().run(states, times, nodes, tile)

    run(even(12), rule, fn=Counting(reach), window=window)
    assert min(between) > 0


def test_a_rate_gives_even_times_over_the_whole_duration() -> None:
    made, result = run(even(10), "60")
    assert [frame.time for frame in made] == [Fraction(k, 60) for k in range(24)]
    assert result.held == 2  # 22/60 and 23/60 lie after the last source frame, 9/25


def test_a_rate_uses_given_frames_where_they_stand_a_millisecond_off() -> None:
    times = [Fraction(round(1000 * k / 30), 1000) for k in range(8)]
    made, _ = run(times, "30", tick=Fraction(1, 1000))
    assert [frame.time for frame in made][:8] == [Fraction(k, 30) for k in range(8)]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(made, film_of(times), strict=False))


def test_a_long_gap_is_filled_in_parts() -> None:
    fn = Repeat(scale=1)
    made, _ = run([Fraction(0), PERIOD, Fraction(3), 3 + PERIOD], "60", fn=fn)
    assert [frame.time for frame in made] == [Fraction(k, 60) for k in range(len(made))]
    assert len(fn.clips) > 3


def test_another_size_is_made_by_resampling() -> None:
    made, _ = run(even(2), "keep", fn=Repeat(scale=4), size=(20, 40))
    assert made[0].rgb.shape == (20, 40, 3)


@pytest.mark.parametrize("text", ["", "fast", "x0", "x", "0", "-5", "1/0", "nan", "1e9"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="fps"):
        OutputRule.parse(text)


def test_the_short_names_of_ntsc_rates_are_exact() -> None:
    assert OutputRule.parse("59.94").rate == Fraction(60000, 1001)
    assert OutputRule.parse("12.5").rate == Fraction(25, 2)


def test_no_frame_with_nan_is_ever_written() -> None:
    class Broken(Repeat):
        def run(self, *arguments: object, **options: object) -> Tensor:
            return torch.full_like(super().run(*arguments, **options), float("nan"))  # pyright: ignore

    with pytest.raises(ModelError, match="NaN"):
        run(even(3), "x2", fn=Broken(scale=1))


def scenes_of(times: Sequence[Fraction], begins: set[int]) -> list[Frame]:
    """Dark and bright scenes in turn, so that a blend of two would be seen: below 100 or from 128 on."""
    frames, bright = [], 0
    for k, frame in enumerate(film_of(times)):
        bright ^= k in begins
        rgb = frame.rgb // 4 + (128 if bright else 0)
        frames.append(Frame(rgb=rgb.astype(np.uint8), time=frame.time, begins_scene=k in begins))
    return frames


def made_of(frames: list[Frame], rule: str, fn: Repeat, window: int = 0) -> tuple[list[Frame], Result]:
    result = Result()
    parsed = OutputRule.parse(rule)
    made = upscale_frames(runner(fn), frames, parsed, period=PERIOD, window=window, result=result)
    return list(made), result


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 60), min_size=0, max_size=14),
    st.sets(st.integers(1, 14)),
    st.sampled_from(["x2", "x3", "60", "24", "keep", "7"]),
    st.integers(0, 7),
    st.integers(0, 3),
)
def test_cuts_change_no_time_and_each_frame_is_made_of_its_scene_alone(
    steps: list[int], begins: set[int], rule: str, window: int, reach: int
) -> None:
    times = [Fraction(sum(steps[:k]), 600) for k in range(len(steps) + 1)]
    source = scenes_of(times, begins)
    blended, before = made_of([Frame(rgb=f.rgb, time=f.time) for f in source], rule, Smooth(reach), window)
    made, result = made_of(source, rule, Smooth(reach), window)
    assert [(f.time, f.duration) for f in made] == [(f.time, f.duration) for f in blended]
    assert (result.frames_out, result.held) == (before.frames_out, before.held)
    assert result.cuts == sum(frame.begins_scene for frame in source)
    assert all(frame.rgb.max() < 100 or frame.rgb.min() >= 128 for frame in made)


def test_beside_a_cut_the_nearer_source_frame_is_shown_and_the_earlier_in_a_tie() -> None:
    source = scenes_of(even(5), {3})
    made, _ = made_of(source, "x4", Repeat(scale=1))
    shown = [made[k].rgb for k in range(8, 14)]
    nearer = [source[k].rgb for k in (2, 2, 2, 3, 3)]
    assert all(np.array_equal(a, b) for a, b in zip(shown, nearer, strict=False))
    assert not np.array_equal(shown[5], source[3].rgb)  # 3.25: made between frames 3 and 4


@pytest.mark.parametrize("reach", [0, 1, 3])
def test_a_scene_comes_out_as_if_it_were_the_whole_film(reach: int) -> None:
    source = scenes_of(even(17), {4, 5, 12})
    made, _ = made_of(source, "x2", Smooth(reach))
    for first, last in ((0, 4), (4, 5), (5, 12), (12, 17)):
        alone, _ = made_of([Frame(rgb=f.rgb, time=f.time) for f in source[first:last]], "x2", Smooth(reach))
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(made[2 * first : 2 * last], alone, strict=True))


def test_the_clip_function_never_sees_both_sides_of_a_cut() -> None:
    class Watching(Repeat):
        def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
            super().context(states, times)
            assert len({bool(state.min() > 0.5) for state in states}) == 1

    fn = Watching(scale=1, reach=3)
    made_of(scenes_of(even(20), {1, 6, 13, 14, 19}), "x2", fn)
    assert fn.prepared == 20
    assert 1 in fn.clips  # scenes of a single frame


def test_a_long_still_before_a_cut_is_computed_once() -> None:
    fn = Repeat(scale=1)
    made, _ = made_of(scenes_of([Fraction(0), Fraction(10)], {1}), "60", fn)
    assert len(made) == 603
    assert fn.clips == [1, 1]


def test_the_first_window_of_a_film_may_be_shorter() -> None:
    fn = Repeat(scale=1, reach=2)
    begins = scenes_of(even(11), {6})
    drawn = windows(runner(fn), begins, OutputRule.parse("x2"), period=PERIOD, core=3, first_core=1)
    assert [(one.first, one.sources) for one in drawn] == [(0, 1), (1, 3), (4, 2), (6, 3), (9, 2)]
    one_frame = windows(runner(fn), film_of(even(1)), OutputRule.parse("x2"), period=PERIOD, core=3, first_core=1)
    assert [(one.first, one.sources) for one in one_frame] == [(0, 1)]


def test_a_film_shows_its_first_frame_before_it_makes_the_second() -> None:
    class Choosy(Repeat):
        working_bytes_per_pixel = 0
        asked: list[list[int]] = []  # noqa: RUF012

        def prepare_all(self, frames: Sequence[Tensor]) -> list[Tensor]:
            return [self.prepare(frame) for frame in frames]

        def run_some(self, wanted: Sequence[int], *given: Any) -> Tensor:
            self.asked.append(list(wanted))
            return self.run(*given)[list(wanted)]

        def each(self, function: Any, *given: Sequence[Any]) -> list[Any]:
            return list(map(function, *given))

    drawn = windows(
        runner(fn := Choosy(scale=1)), film_of(even(4)), OutputRule.parse("x2"), period=PERIOD, first_core=1
    )
    made = (frame for window in drawn for frame in window.frames())
    frames = [next(made)]
    assert fn.asked == [[0]]
    frames += made
    plain, _ = run(even(4), "x2")
    assert [frame.time for frame in frames] == [frame.time for frame in plain]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, plain, strict=True))
    assert [0] in fn.asked
    assert [1] in fn.asked
