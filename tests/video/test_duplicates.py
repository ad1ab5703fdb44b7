"""Repeated pictures: merged where the source repeats them, and nowhere else; no time is lost."""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stinet.video.duplicates import difference_between, merge_duplicates
from stinet.video.frame import Frame
from stinet.video.scenes import mark_cuts

PERIOD = Fraction(1, 24)


def ground(seed: int, size: tuple[int, int] = (72, 200)) -> np.ndarray:
    """Structure of several sizes, 0..255."""
    draw = np.random.default_rng(seed)
    made = np.zeros((*size, 3))
    for cell in (4, 10, 24):
        grid = draw.normal(size=(size[0] // cell + 2, size[1] // cell + 2, 3))
        made += cell**0.5 * grid.repeat(cell, 0).repeat(cell, 1)[: size[0], : size[1]]
    return (made / made.std() * 40 + 125).clip(0, 255)


def moving(count: int, seed: int = 0, step_px: int = 3) -> list[np.ndarray]:
    whole = ground(seed, (72, 96 + count * step_px))
    return [whole[:, k * step_px : k * step_px + 96] for k in range(count)]


def ball(count: int, step_px: float, size_px: int = 5) -> list[np.ndarray]:
    """A small ball over a picture that stands still."""
    made = []
    for k in range(count):
        one = ground(1)[:, :96].copy()
        down, across = np.mgrid[0:72, 0:96]
        near = np.clip(size_px / 2 + 0.5 - np.hypot(down - 36, across - 20 - k * step_px), 0, 1)[..., None]
        made.append(one * (1 - near) + near * np.array([250, 40, 40]))
    return made


def slow_pan(count: int) -> list[np.ndarray]:
    """By an eighth of a pixel a frame."""
    whole, made = ground(3)[:, :96], []
    for k in range(count):
        left, part = divmod(k, 8)
        made.append(whole[:, left : left + 80] * (1 - part / 8) + whole[:, left + 1 : left + 81] * part / 8)
    return made


def noisy(pictures: Sequence[np.ndarray], sigma: float, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [one + draw.normal(0, sigma, one.shape) for one in pictures]


def film(pictures: Sequence[np.ndarray], period: Fraction = PERIOD, dtype: type = np.uint8) -> list[Frame]:
    top = np.iinfo(dtype).max
    return [
        Frame(rgb=np.round(one.clip(0, 255) / 255 * top).astype(dtype), time=k * period, duration=period)
        for k, one in enumerate(pictures)
    ]


def shown(pattern: Sequence[int], period: Fraction = PERIOD, dtype: type = np.uint8) -> list[Frame]:
    """Moving pictures in the order of the pattern."""
    made = moving(max(pattern) + 1)
    return film([made[k] for k in pattern], period, dtype)


def coded(frames: Sequence[Frame], crf: int) -> list[Frame]:
    """By x264, and decoded, at the same times."""
    file = io.BytesIO()
    height, width = frames[0].rgb.shape[:2]
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.rgb), "rgb24")))
        output.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as source:
        made = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    return [replace(frame, rgb=rgb) for frame, rgb in zip(frames, made, strict=True)]


def merged(frames: Sequence[Frame], period: Fraction = PERIOD) -> list[Frame]:
    return list(merge_duplicates(frames, period))


def ticks(frames: Sequence[Frame], period: Fraction = PERIOD) -> list[tuple[Fraction, int]]:
    """Time of each frame in periods, and how often it was shown."""
    return [(frame.time / period, len(frame.repeats) + 1) for frame in frames]


@pytest.mark.bad_input(23)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("often", [2, 3, 4])
def test_animation_on_twos_threes_and_fours_moves_at_once(often: int, dtype: type) -> None:
    found = merged(shown([k // often for k in range(5 * often)], dtype=dtype))
    assert ticks(found) == [(often * k, often) for k in range(5)]
    assert all(frame.still_until is None and frame.duration == often * PERIOD for frame in found)


@pytest.mark.bad_input(23)
@pytest.mark.parametrize("crf", [18, 23, 28])
def test_repeats_that_were_compressed_are_found(crf: int) -> None:
    found = merged(coded(shown([k // 2 for k in range(20)]), crf))
    assert ticks(found) == [(2 * k, 2) for k in range(10)]


@pytest.mark.bad_input(23)
@pytest.mark.parametrize("crf", [18, 23, 28])
def test_pulldown_that_was_compressed_is_spread_evenly(crf: int) -> None:
    found = merged(coded(shown([k * 4 // 5 for k in range(26)]), crf))
    assert [frame.time / PERIOD for frame in found[:17]] == [k * Fraction(5, 4) for k in range(17)]


def test_a_longer_run_is_a_still_that_moves_after_its_last_repeat() -> None:
    found = merged(shown([0, 1, 1, 1, 1, 1, 2, 3]))
    assert ticks(found) == [(0, 1), (1, 5), (6, 1), (7, 1)]
    assert [frame.still_until for frame in found] == [None, 5 * PERIOD, None, None]


def test_a_long_still_is_given_in_parts_that_stand() -> None:
    found = merged(shown([0] * 250 + [1]))
    assert sum(len(frame.repeats) + 1 for frame in found) == 251
    assert len(found) > 2
    assert [frame.still_until for frame in found] == [*(frame.repeats[-1] for frame in found[:-1]), None]


def test_two_equal_pictures_far_apart_are_a_still() -> None:
    frames = shown([0, 0, 1])
    apart = [frames[0], replace(frames[1], time=Fraction(2)), replace(frames[2], time=Fraction(4))]
    assert merged(apart)[0].still_until == 2


def test_animation_on_twos_in_a_60_hz_film_is_no_still() -> None:
    period = Fraction(1, 60)
    found = merged(shown([k // 5 for k in range(20)], period), period)
    assert [frame.still_until for frame in found] == [None] * 4


@pytest.mark.bad_input(23)
@pytest.mark.parametrize(("name", "make"), [
    ("a pan", lambda: moving(20)),
    ("a slow pan", lambda: slow_pan(24)),
    ("a small ball", lambda: ball(20, 1)),
    ("a slow small ball", lambda: ball(20, 0.25)),
    ("a ball and grain", lambda: noisy(ball(20, 0.5), 2)),
    ("grain over a still", lambda: noisy([ground(2)] * 20, 1.5)),
    ("grain over twos", lambda: noisy([one for one in moving(10) for _ in range(2)], 3)),
    ("a slow fade", lambda: [ground(4) * (1 - k / 150) for k in range(20)]),
])  # fmt: skip
def test_nothing_is_merged_in(name: str, make: Callable[[], list[np.ndarray]]) -> None:
    frames = film(make())
    assert all(a is b for a, b in zip(merged(frames), frames, strict=True)), name


def test_a_ball_on_twos_is_merged_though_all_else_stands() -> None:
    assert ticks(merged(coded(film([one for one in ball(8, 4, 9) for _ in range(2)]), 20))) == [
        (2 * k, 2) for k in range(8)
    ]


def test_a_faint_drift_ends_the_run_though_no_step_is_seen() -> None:
    base = np.full((72, 96, 3), 60.0)
    frames = film([base + (np.arange(72 * 96 * 3).reshape(base.shape) % 96 < 2 * k) for k in range(30)])
    assert max(difference_between(a, b).mean for a, b in itertools.pairwise(frames)) < 0.03
    found = merged(frames)
    assert len(found) > 5
    assert sum(len(frame.repeats) + 1 for frame in found) == 30


@pytest.mark.parametrize("pattern", [(2, 1, 1, 1), (3, 2), (2, 1), (2, 1, 1), (2, 1, 1, 1, 1), (2, 2, 1)])
def test_pulldown_is_spread_evenly(pattern: tuple[int, ...]) -> None:
    period = Fraction(1, 30)
    order = [k for k, often in enumerate(pattern * 6) for _ in range(often)]
    found = merged(shown(order, period), period)
    step = Fraction(sum(pattern), len(pattern)) * period
    inside = found[: 5 * len(pattern)]
    assert [frame.time for frame in inside] == [k * step for k in range(len(inside))]
    assert all(frame.duration == step for frame in inside)
    last = found[-1]
    assert last.duration is not None
    assert last.time + last.duration == len(order) * period


def test_pulldown_that_starts_in_the_middle_of_a_beat_is_found() -> None:
    found = merged(shown([0, 1, *(2 + k * 4 // 5 for k in range(20))]))
    assert ticks(found[:6]) == [(0, 1), (1, 1), (2, 2), (Fraction(13, 4), 1), (Fraction(9, 2), 1), (Fraction(23, 4), 1)]


def test_a_beat_that_breaks_leaves_the_rest_where_it_was() -> None:
    order = [*(k * 4 // 5 for k in range(15)), *range(12, 20)]
    found = merged(shown(order))
    assert [frame.time / PERIOD for frame in found[12:]] == list(range(15, 23))
    assert all(a.time < b.time for a, b in itertools.pairwise(found))


def test_a_single_repeat_in_moving_film_is_not_spread() -> None:
    assert ticks(merged(shown([0, 1, 2, 2, *range(3, 20)]))) == [
        (0, 1), (1, 1), (2, 2), *((k + 1, 1) for k in range(3, 20))
    ]  # fmt: skip


def test_uneven_source_times_are_never_moved() -> None:
    times = [Fraction(k * k, 1000) for k in range(3, 28)]
    frames = [replace(one, time=time, duration=None) for one, time in zip(
        shown([k * 4 // 5 for k in range(25)]), times, strict=True)]  # fmt: skip
    found = merged(frames, Fraction(1, 30))
    assert {frame.time for frame in found} <= set(times)


@pytest.mark.bad_input(23)
def test_a_cut_is_never_merged() -> None:
    frames = film([moving(1)[0]] * 6)
    frames[3] = replace(frames[3], begins_scene=True)
    found = merged(frames)
    assert ticks(found) == [(0, 3), (3, 3)]
    assert [frame.begins_scene for frame in found] == [False, True]


def test_opacity_that_moves_is_motion() -> None:
    frames = film([moving(1)[0]] * 8)
    opaque = np.full((72, 96), 255, np.uint8)
    opened = [opaque.copy() for _ in frames]
    for k, one in enumerate(opened):
        one[20:30, 8 * k : 8 * k + 8] = 0
    assert len(merged([replace(one, alpha=alpha) for one, alpha in zip(frames, opened, strict=True)])) == 8
    assert len(merged([replace(one, alpha=opaque if k % 2 else None) for k, one in enumerate(frames)])) == 1


def test_a_change_of_size_is_no_repeat() -> None:
    frames = film([np.full((32, 32, 3), 90.0), np.full((32, 40, 3), 90.0)])
    assert len(merged(frames)) == 2


def test_the_duration_of_the_last_run_reaches_to_its_end() -> None:
    frames = shown([0, 1, 2, 2, 2])
    frames[-1] = replace(frames[-1], duration=Fraction(3))
    last = merged(frames)[-1]
    assert last.duration == 2 * PERIOD + 3


def test_few_frames_are_held_however_long_the_film_is() -> None:
    drawn = 0

    def source(pattern: Sequence[int]) -> Iterator[Frame]:
        nonlocal drawn
        drawn = 0
        for frame in shown(pattern):
            drawn += 1
            yield frame

    for pattern, most in ((range(60), 1), ([k // 2 for k in range(80)], 15), ([k * 4 // 5 for k in range(80)], 15)):
        given_ = 0
        for frame in merge_duplicates(source(pattern), PERIOD):
            assert drawn - given_ <= most + len(frame.repeats) + 1
            given_ += len(frame.repeats) + 1
        assert given_ == len(pattern)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=25))
def test_every_source_frame_is_a_frame_or_a_repeat_at_most_a_period_away(scenes: list[tuple[int, bool]]) -> None:
    order = [k for k, (often, _) in enumerate(scenes) for _ in range(often)]
    made = [np.full((16, 16, 3), 9.0 * (k % 20) + 40) for k in range(len(scenes))]
    frames = film([made[k] for k in order])
    starts = [sum(often for often, _ in scenes[:k]) for k in range(len(scenes))]
    for start, (_, cuts) in zip(starts, scenes, strict=True):
        frames[start] = replace(frames[start], begins_scene=cuts)
    found = merged(frames)
    assert [len(frame.repeats) + 1 for frame in found] == [often for often, _ in scenes]
    assert [frame.begins_scene for frame in found] == [cuts for _, cuts in scenes]
    for frame, start, (often, _) in zip(found, starts, scenes, strict=True):
        assert frame.rgb is frames[start].rgb
        assert abs(frame.time - frames[start].time) < PERIOD
        assert list(frame.repeats) == [one.time for one in frames[start + 1 : start + often]]
        assert all(frame.time < time for time in frame.repeats)
    pairs = list(itertools.pairwise(found))
    assert all(max(a.time, *a.repeats, a.time) < b.time for a, b in pairs)
    assert found[0].time == 0
    last = found[-1]
    assert last.duration is not None
    assert last.time + last.duration == len(frames) * PERIOD


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.sampled_from([np.uint8, np.uint16]))
def test_pictures_of_any_size_can_be_compared(height: int, width: int, seed: int, dtype: type) -> None:
    a, b = film(list(np.random.default_rng(seed).uniform(0, 255, (2, height, width, 3))), dtype=dtype)
    assert difference_between(a, a).is_unseen
    assert difference_between(a, b) == difference_between(b, a)
    far = difference_between(a, b)
    exact = np.abs(a.rgb.astype(float) - b.rgb).mean() * 255 / np.iinfo(dtype).max
    assert far.mean == pytest.approx(exact)
    assert far.block <= far.small_block + 1e-9


def test_the_same_film_comes_out_the_same_twice() -> None:
    frames = list(mark_cuts(coded(shown([k // 2 for k in range(16)]), 28)))
    assert ticks(merged(frames)) == ticks(merged(frames))
