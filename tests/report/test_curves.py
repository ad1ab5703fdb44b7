"""Curves: which values of a log are drawn."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stinet.report.curves import curve, read_rows


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
