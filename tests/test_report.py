"""Tables, curves and pictures: what stands in them, and that they can be looked at."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stinet.report import before_after, busiest_box, curve, read_rows, table


def scores(psnr_db: float | None, frames: int = 7, identical: int = 0) -> dict[str, Any]:
    part = {"psnr_db": psnr_db, "ssim": None if psnr_db is None else 0.5}
    none = {"psnr_db": None, "ssim": None}
    counts = {"frames": frames, "given_frames": frames, "identical_frames": identical}
    return {**part, "given": part, "interpolated": none, **counts}


def model(name: str, psnr_db: float, *, identical: int = 0) -> dict[str, Any]:
    about = {"name": name, "scale": 4, "seconds": 2.0, "output_frames": 7, "frames_per_second": 3.5}
    protocol = {"step": 2, "windows": "4 in, 7 out", "variant": "all", "identical_frames_psnr_db": 100.0}
    clip = scores(psnr_db, identical=identical)
    return {"mean": clip, "clips": {"walk": clip}, "protocol": protocol, "model": about}


def test_a_table_shows_every_clip_the_mean_the_protocol_and_the_speed() -> None:
    text = table(model("net", 24.456))
    (walk,) = (line for line in text.splitlines() if line.startswith("walk"))
    assert walk.split() == ["walk", "7", "24.46", "0.5000", "24.46", "0.5000", "-", "-"]
    for part in ("net: x4 in space, x2 in time", "4 in, 7 out", "every frame counts", "mean of 1", "3.50 frames/s"):
        assert part in text
    assert "identical" not in text


def test_identical_frames_are_told() -> None:
    assert "3 frames are identical to the truth and count as 100 dB" in table(model("net", 100.0, identical=3))


def test_several_models_end_in_one_comparison() -> None:
    text = table({"models": {"one": model("one", 20.0), "another": model("another", 30.0)}})
    last = text.split("\n\n")[-1].splitlines()
    assert [line.split()[:2] for line in last[2:]] == [["one", "20.00"], ["another", "30.00"]]


def test_columns_of_a_table_are_aligned() -> None:
    lines = table(model("net", 100.0)).splitlines()
    assert len({len(line) for line in lines if line.startswith(("walk", "mean", "---"))}) == 1


def test_a_log_that_was_cut_off_while_written_is_read_up_to_there(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_rows(log) == [{"step": 1, "loss": 0.5}]
    log.write_text('{"step": 1, "lo\n{"step": 2, "loss": 0.5}\n')
    with pytest.raises(json.JSONDecodeError):
        read_rows(log)


def test_a_curve_is_drawn_from_a_log_and_from_an_empty_one(tmp_path: Path) -> None:
    validation = {"psnr_db": 24.0, "given_db": 24.5, "interpolated_db": 23.5}
    rows: list[dict[str, Any]] = [{"step": step, "loss": 1 / step} for step in range(1, 200)]
    rows += [{"step": 100, "validation": validation}, {"step": 150, "loss": math.nan}, {"start": "now"}]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve(log, tmp_path / "full.png")
    curve([], tmp_path / "empty.png")
    full, empty = (np.array(Image.open(tmp_path / name).convert("RGB")) for name in ("full.png", "empty.png"))
    assert full.shape == empty.shape
    reds = [((image[..., 0] > 150) & (image[..., 1] < 90)).sum() for image in (full, empty)]
    assert reds[0] > 20 > reds[1], "the validation of all frames is the red line"


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
