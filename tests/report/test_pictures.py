"""Pictures: what stands where, and that it can be looked at."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stinet.report.pictures import SheetRow, before_after, busiest_box, contact_sheet

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)


def plain(height: int, width: int, colour: tuple[int, int, int] = GREEN) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def cells(path: Path) -> list[np.ndarray]:
    """The four columns of a sheet, below its head."""
    sheet = np.array(Image.open(path))[100:]
    column = (sheet.shape[1] - 5 * 16) // 4
    return [sheet[:, 16 + i * (column + 16) : 16 + i * (column + 16) + column] for i in range(4)]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """top, left, bottom, right of where a mask is true."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


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


def test_a_sheet_shows_bicubic_prediction_and_truth_in_this_order(tmp_path: Path) -> None:
    row = SheetRow("walk", "given", plain(256, 448, RED), plain(256, 448, GREEN), plain(256, 448, BLUE))
    contact_sheet([row, row], tmp_path / "sheet.png", "step 7")
    for cell, colour in zip(cells(tmp_path / "sheet.png")[:3], (RED, GREEN, BLUE), strict=True):
        assert (cell == colour).all(axis=2).sum() == 2 * 256 * 448
        assert sum((cell == other).all(axis=2).sum() for other in {RED, GREEN, BLUE} - {colour}) == 0


def test_a_difference_is_bright_where_it_is_and_black_elsewhere(tmp_path: Path) -> None:
    made = plain(256, 448)
    made[40:60, 100:130, 2] += 100
    contact_sheet([SheetRow("walk", "given", made, made, plain(256, 448))], tmp_path / "sheet.png")
    difference = cells(tmp_path / "sheet.png")[3]
    top, left, bottom, right = box_of((difference == 0).all(axis=2))
    assert (bottom - top, right - left) == (256, 448)
    inside = difference[top:bottom, left:right].astype(int).sum(axis=2)
    assert box_of(inside > 0) == (40, 100, 60, 130)
    assert (inside[40:60, 100:130] > 500).all()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_larger_difference_is_brighter_up_to_64_levels(tmp_path: Path, channel: int) -> None:
    truth = np.full((256, 448, 3), 100, dtype=np.uint8)
    made = truth.copy()
    for place, levels in enumerate((0, -1, 4, -16, 32, 64, -65, 155)):
        made[:, place * 56 : (place + 1) * 56, channel] = 100 + levels
    contact_sheet([SheetRow("walk", "interpolated", truth, made, truth)], tmp_path / "sheet.png")
    difference = cells(tmp_path / "sheet.png")[3]
    brightness = difference[150, 28::56].astype(int).sum(axis=1)
    assert (np.diff(brightness[:6]) > 0).all()
    assert len(set(brightness[5:])) == 1


@pytest.mark.parametrize(
    ("size", "shown"),
    [((256, 448), (256, 448)), ((32, 32), (256, 256)), ((24, 100), (72, 300)), ((1080, 1920), (360, 640)),
     ((1920, 1080), (480, 270)), ((900, 60), (900, 60)), ((1, 1), (240, 240))],
)  # fmt: skip
def test_frames_of_any_size_get_a_cell_of_sensible_size(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    frame = plain(*size)
    contact_sheet([SheetRow("walk", "given", frame, frame, frame)], tmp_path / "sheet.png")
    for cell in cells(tmp_path / "sheet.png")[:3]:
        assert (cell == GREEN).all(axis=2).sum() == shown[0] * shown[1]


def test_every_row_has_its_own_height_under_the_one_before(tmp_path: Path) -> None:
    small, large = plain(64, 64, RED), plain(256, 448, BLUE)
    contact_sheet([SheetRow(n, "given", f, f, f) for n, f in (("a", small), ("b", large))], tmp_path / "sheet.png")
    for cell in cells(tmp_path / "sheet.png")[:3]:
        red, blue = (box_of((cell == colour).all(axis=2)) for colour in (RED, BLUE))
        assert red[2] < blue[0]
        assert (blue[2] - blue[0], blue[3] - blue[1]) == (256, 448)


def test_a_sheet_says_psnr_on_y_kind_and_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda _self, _place, text, **_style: texts.append(text))
    truth, bicubic = np.full((2, 16, 16, 3), 100, dtype=np.uint8)
    bicubic[:, :, 1] += 10  # 10 levels of green are 10 * 128.553 / 255 of Y
    made = truth.copy()
    made[:8, :, 1] += 10  # on half of the frame: 3.01 dB better
    contact_sheet([SheetRow("walk", "interpolated", bicubic, made, truth)], tmp_path / "sheet.png", "step 12,000")
    expected_db = 20 * np.log10(255 / (10 * 128.553 / 255))
    assert f"PSNR-Y {expected_db:.2f} dB" in texts
    assert f"PSNR-Y {expected_db + 10 * np.log10(2):.2f} dB  (+3.01)" in texts
    assert {"step 12,000", "walk", "interpolated frame, 16 x 16", "mean 5.0, largest 10 levels"} <= set(texts)
    assert "64 of 255 and more (x4)" in texts


def test_names_that_no_font_can_show_do_not_stop_a_sheet(tmp_path: Path) -> None:
    frame = plain(32, 32)
    for name in ("two\nlines", "no \udcff utf-8", "\u52d5\u753b", ""):
        contact_sheet([SheetRow(name, "given", frame, frame, frame)], tmp_path / "sheet.png", name)
        assert (np.array(Image.open(tmp_path / "sheet.png")) == GREEN).all(axis=2).sum() == 3 * 256**2


def test_a_small_crop_is_enlarged_pixel_by_pixel(tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    contact_sheet([SheetRow("walk", "given", crop, plain(60, 60), plain(60, 60))], tmp_path / "sheet.png")
    first, second, *_ = cells(tmp_path / "sheet.png")
    top, left, bottom, right = box_of((second == GREEN).all(axis=2))
    assert np.array_equal(first[top:bottom, left:right], crop.repeat(4, axis=0).repeat(4, axis=1))
