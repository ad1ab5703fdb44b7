"""The preview shows what came out, beside what a player would have shown of the source at that time."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from films import film
from stinet.config import ReadConfig, UpscaleConfig
from stinet.errors import OutputError
from stinet.preview import draw_preview, moments

RATE = Fraction(10)


def levels(count: int, width: int, height: int, step: float) -> list[np.ndarray]:
    """Flat grey frames that grow lighter."""
    return [np.full((height, width, 3), round(20 + k * step), np.uint8) for k in range(count)]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve frames, and twice as many of four times the size."""
    source = film(tmp_path / "source.mkv", levels(12, 32, 24, 16), rate=RATE)
    return source, film(tmp_path / "result.mkv", levels(24, 128, 96, 8), rate=2 * RATE)


def test_three_moments_are_spread_evenly_and_the_middle_one_is_interpolated(pair: tuple[Path, Path]) -> None:
    first, middle, last = moments(*pair, UpscaleConfig())
    assert first.time < Fraction(4, 10) < middle.time < Fraction(8, 10) < last.time
    assert [moment.is_interpolated for moment in (first, middle, last)] == [False, True, False]
    for moment in (first, middle, last):
        assert moment.source.shape == (24, 32, 3)
        assert moment.result.shape == (96, 128, 3)


def test_both_sides_are_of_the_same_moment(pair: tuple[Path, Path]) -> None:
    for moment in moments(*pair, UpscaleConfig()):
        expected = 20 + 16 * float(moment.time * RATE)
        assert abs(float(moment.result.mean()) - expected) < 3
        assert abs(float(moment.source.mean()) - (expected - 8 * moment.is_interpolated)) < 3


def test_a_part_of_the_film_is_compared_with_that_part(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    part = film(tmp_path / "part.mkv", levels(24, 128, 96, 8)[8:16], rate=2 * RATE)
    config = UpscaleConfig(read=ReadConfig(start=Fraction(4, 10), seconds=Fraction(4, 10)))
    for moment in moments(pair[0], part, config):
        expected = 20 + 16 * float((moment.time + Fraction(4, 10)) * RATE)
        assert abs(float(moment.source.mean()) - (expected - 8 * moment.is_interpolated)) < 3


def test_sound_that_comes_before_the_picture_moves_no_moment(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    late = [Fraction(k, 20) + Fraction(1, 10) for k in range(24)]
    frames = levels(24, 128, 96, 8)
    result = film(tmp_path / "late.mkv", frames, times=late, time_base=Fraction(1, 1000), sound_s=1.3)
    for moment in moments(pair[0], result, UpscaleConfig()):
        expected = 20 + 16 * float((moment.time - Fraction(1, 10)) * RATE)
        assert abs(float(moment.result.mean()) - expected) < 3
        assert abs(float(moment.source.mean()) - (expected - 8 * moment.is_interpolated)) < 3


def test_slow_motion_is_compared_at_the_times_of_the_source(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    slow = film(tmp_path / "slow.mkv", levels(24, 128, 96, 8), rate=RATE)
    for moment in moments(pair[0], slow, UpscaleConfig(slow_motion=Fraction(2))):
        expected = 20 + 16 * float(moment.time * RATE / 2)
        assert abs(float(moment.source.mean()) - (expected - 8 * moment.is_interpolated)) < 3


def test_the_picture_has_a_row_a_moment_and_the_result_on_the_right(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    draw_preview(*pair, tmp_path / "out.png", label="stinet-s")
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(float)
    assert pixels.shape[1] == 2 * 320 + 3 * 16
    rows = [top + 44 + 120 for top in range(0, pixels.shape[0] - 60, 240 + 44 + 16)]
    assert len(rows) == 3
    left, right = pixels[rows, 130], pixels[rows, 16 + 320 + 16 + 120]
    assert np.all(np.diff(right) > 20)
    assert right[1] - left[1] > 4  # the result is half a frame further


def test_one_frame_is_one_moment(tmp_path: Path) -> None:
    source = film(tmp_path / "source.mkv", levels(1, 32, 24, 0), rate=RATE)
    result = film(tmp_path / "result.mkv", levels(1, 128, 96, 0), rate=RATE)
    (moment,) = moments(source, result, UpscaleConfig())
    assert not moment.is_interpolated


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(OutputError, match=r"out\.png: cannot be written"):
        draw_preview(*pair, tmp_path / "no" / "out.png")
