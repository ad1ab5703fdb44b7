"""Pictures: what stands where, and that it can be looked at."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stinet.report.pictures import before_after, busiest_box


def test_the_busiest_box_lies_on_the_one_textured_spot() -> None:
    frame = np.zeros((120, 200, 3), dtype=np.uint8)
    frame[70:90, 130:170] = np.random.default_rng(0).integers(0, 256, (20, 40, 3))
    top, left, bottom, right = busiest_box(frame)
    assert right - left == 50
    assert top <= 70 < 90 <= bottom + 1
    assert left <= 130 < 170 <= right


@pytest.mark.parametrize("size", [(1, 1), (16, 300), (300, 16), (47, 63)])
def test_the_busiest_box_lies_inside_frames_of_any_shape(size: tuple[int, int]) -> None:
    top, left, bottom, right = busiest_box(np.zeros((*size, 3), dtype=np.uint8))
    assert 0 <= top < bottom <= size[0]
    assert 0 <= left < right <= size[1]


@pytest.mark.parametrize("size", [(27, 48), (60, 34), (12, 90)])
def test_before_and_after_stand_side_by_side_at_one_size(tmp_path: Path, size: tuple[int, int]) -> None:
    source = np.full((*size, 3), (200, 20, 20), dtype=np.uint8)
    result = np.full((4 * size[0], 4 * size[1], 3), (20, 20, 200), dtype=np.uint8)
    before_after(source, result, tmp_path / "both.png")
    picture = np.array(Image.open(tmp_path / "both.png"))
    half = picture.shape[1] // 2
    red = (picture == (200, 20, 20)).all(-1)
    blue = (picture == (20, 20, 200)).all(-1)
    assert red[:, :half].sum() == blue[:, half:].sum() > 0
    assert red[:, half:].sum() == blue[:, :half].sum() == 0


def test_the_zoomed_crop_shows_the_box_asked_for(tmp_path: Path) -> None:
    result = np.zeros((160, 320, 3), dtype=np.uint8)
    result[40:80, 80:160] = (0, 255, 0)
    before_after(result[::4, ::4], result, tmp_path / "both.png", zoom=(40, 80, 80, 160))
    picture = np.array(Image.open(tmp_path / "both.png"))
    lower_right = picture[-200:-60, picture.shape[1] // 2 + 60 : -60]
    assert (lower_right == (0, 255, 0)).all()
