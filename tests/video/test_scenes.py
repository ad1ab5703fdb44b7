"""Hard cuts: found between unrelated pictures, and nowhere else."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stinet.demo import CLIP
from stinet.errors import UsageError
from stinet.video.frame import Frame
from stinet.video.read import read_frames
from stinet.video.scenes import Glance, change_between, mark_cuts

SIZE = (90, 160)


def texture(seed: int, size: tuple[int, int] = (400, 600)) -> np.ndarray:
    """Coloured noise with structure of every size, in 0..255."""
    draw = np.random.default_rng(seed)
    made = np.zeros((*size, 3))
    for cell in (8, 16, 40):
        grid = draw.normal(size=(size[0] // cell + 2, size[1] // cell + 2, 3))
        made += cell**0.5 * grid.repeat(cell, 0).repeat(cell, 1)[: size[0], : size[1]]
    tint = draw.uniform(70, 180, 3)
    return (made / made.std() * 45 + tint).clip(0, 255)


def panning(seed: int, count: int, step_px: int = 3) -> list[np.ndarray]:
    whole = texture(seed)
    return [whole[k : k + SIZE[0], k * step_px : k * step_px + SIZE[1]] for k in range(count)]


def fading(seed: int, count: int) -> list[np.ndarray]:
    """From black to the picture and back."""
    light = 1 - np.abs(np.linspace(-1, 1, count))
    return [one * gain for one, gain in zip(panning(seed, count, 1), light, strict=True)]


def dissolving(count: int) -> list[np.ndarray]:
    return [(1 - t) * texture(1)[:90, :160] + t * texture(2)[:90, :160] for t in np.linspace(0, 1, count)]


def flashing(seed: int, count: int, length: int) -> list[np.ndarray]:
    """White at every ninth frame and after it."""
    return [one * 0.1 + 235 if k % 9 in range(4, 4 + length) else one for k, one in enumerate(panning(seed, count))]


def passing(count: int) -> list[np.ndarray]:
    """Another picture before the lens, for two frames."""
    frames = panning(3, count)
    frames[6:8] = panning(4, 2)
    return frames


def noisy(seed: int, count: int, sigma: float) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [one + draw.normal(size=one.shape) * sigma for one in panning(seed, count)]


def static(count: int) -> list[np.ndarray]:
    """Nothing but coarse noise, each frame another."""
    draw = np.random.default_rng(0)
    return [draw.normal(120, 50, (15, 27, 1)).repeat(6, 0).repeat(6, 1).repeat(3, 2) for _ in range(count)]


def film(pictures: Sequence[np.ndarray], dtype: type = np.uint8) -> list[Frame]:
    top = np.iinfo(dtype).max
    return [
        Frame(rgb=(one.clip(0, 255) / 255 * top).astype(dtype), time=Fraction(k, 25)) for k, one in enumerate(pictures)
    ]


def cuts(frames: Sequence[Frame], rule: str = "auto") -> list[int]:
    return [k for k, frame in enumerate(mark_cuts(frames, rule)) if frame.begins_scene]


@pytest.mark.bad_input(23)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(4))
def test_cuts_between_moving_textures_are_found_where_they_are(seed: int, dtype: type) -> None:
    scenes = [panning(10 * seed + k, length) for k, length in enumerate((7, 1, 4, 2, 5))]
    assert cuts(film([one for scene in scenes for one in scene], dtype)) == [7, 8, 12, 14]


def test_a_cut_to_the_last_frame_is_found() -> None:
    assert cuts(film([*panning(1, 5), *panning(2, 1)])) == [5]


def test_a_film_of_unrelated_pictures_is_cut_everywhere() -> None:
    assert cuts(film([texture(seed)[:90, :160] for seed in range(6)])) == [1, 2, 3, 4, 5]


def test_a_cut_in_a_grey_film_is_found() -> None:
    grey = [one.mean(2, keepdims=True).repeat(3, 2) for one in (*panning(1, 5), *panning(2, 5))]
    assert cuts(film(grey)) == [5]


def test_a_cut_in_a_dark_film_is_found() -> None:
    assert cuts(film([one * 0.22 for one in (*panning(1, 5), *panning(2, 5))])) == [5]


def test_a_fade_to_black_and_back_ends_without_a_cut() -> None:
    light = np.linspace(1, 0, 20)
    down, up = ([one * gain for one, gain in zip(panning(k, 20), light, strict=True)] for k in (1, 2))
    assert cuts(film([*panning(1, 5), *down, *[np.zeros((90, 160, 3))] * 4, *up[::-1]])) == []


def test_a_cut_in_a_noisy_film_is_found() -> None:
    assert cuts(film([*noisy(1, 6, 30), *noisy(2, 6, 30)])) == [6]


@pytest.mark.bad_input(23)
@pytest.mark.parametrize(("name", "make"), [
    ("pan", lambda: panning(1, 30, 3)),
    ("fast pan", lambda: panning(1, 30, 12)),
    ("sudden pan", lambda: [*panning(1, 1) * 8, *panning(1, 20, 13)]),
    ("fade", lambda: fading(1, 30)),
    ("dissolve", lambda: dissolving(20)),
    ("flash of one frame", lambda: flashing(1, 30, 1)),
    ("flash of two frames", lambda: flashing(1, 30, 2)),
    ("something passing", lambda: passing(20)),
    ("noise", lambda: noisy(1, 20, 40)),
    ("static", lambda: static(20)),
    ("exposure step", lambda: [one * (0.6 if k > 9 else 1) for k, one in enumerate(panning(1, 20))]),
    ("faint picture after grey", lambda: [*[np.full((90, 160, 3), 128.0)] * 8, *(o / 30 + 124 for o in panning(1, 9))]),
    ("black", lambda: [np.zeros((90, 160, 3))] * 5),
])  # fmt: skip
def test_no_cut_is_found_in(name: str, make: Callable[[], list[np.ndarray]]) -> None:
    assert cuts(film(make())) == [], name


@pytest.mark.bad_input(23)
def test_the_rule_off_finds_nothing_and_takes_marks_away() -> None:
    frames = film([*panning(1, 5), *panning(2, 5)])
    frames[3] = dataclasses.replace(frames[3], begins_scene=True)
    found = list(mark_cuts(frames, "off"))
    assert not any(frame.begins_scene for frame in found)
    assert all(a.rgb is b.rgb for a, b in zip(found, frames, strict=True))


def test_a_number_is_the_least_change_of_a_cut() -> None:
    frames = film([*panning(1, 6), *panning(2, 6)])
    a, b = (Glance.of(one) for one in frames[5:7])
    size = change_between(a, b).size
    assert cuts(frames, f"{size * 0.6:.4f}") == [6]
    assert cuts(frames, f"{min(size + 0.01, 1.5):.4f}") == []
    assert cuts(film(panning(1, 20)), "0.64") == []


@pytest.mark.parametrize("rule", ["", "on", "-0.1", "1.6", "nan", "inf", "0,6", "AUTO"])
def test_another_rule_is_refused_before_a_frame_is_drawn(rule: str) -> None:
    def never() -> Iterator[Frame]:
        pytest.fail("a frame was drawn")
        yield

    with pytest.raises(UsageError, match=r"use auto, off or a number from 0 to 1\.5"):
        mark_cuts(never(), rule)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
@example(1, 2, 4)  # one half bright, the other dark, and the other way round
def test_any_frame_size_can_be_compared(height: int, width: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = (Glance.of(one) for one in film(list(draw.uniform(0, 255, (2, height, width, 3)))))
    assert change_between(a, a).size < 1e-6
    assert change_between(a, b) == change_between(b, a)
    assert 0 <= change_between(a, b).size <= 2.5  # two contrasts of one, opposite, and no colour in common


def test_frames_pass_unchanged_and_at_most_two_are_held_back() -> None:
    source, drawn = film([*panning(1, 8), *panning(2, 8), *flashing(3, 12, 2)]), 0

    def counted() -> Iterator[Frame]:
        nonlocal drawn
        for frame in source:
            drawn += 1
            yield frame

    for k, frame in enumerate(mark_cuts(counted())):
        assert (frame.rgb is source[k].rgb, frame.time) == (True, source[k].time)
        assert drawn <= k + 3
    assert drawn == len(source)


def test_the_bundled_clip_has_one_cut() -> None:
    assert cuts(list(read_frames(CLIP))) == [30]


@pytest.mark.parametrize("name", ["old_320x240.avi", "portrait_rotated_304x540.mp4"])
def test_a_clip_of_one_scene_has_no_cut(data: Path, name: str) -> None:
    assert cuts(list(read_frames(data / "samples" / name))) == []


def test_runs_of_real_video_are_told_apart(data: Path) -> None:
    frames = list(read_frames(data / "corpus" / "shard_val.mp4"))
    assert cuts(frames) == list(range(15, len(frames), 15))
