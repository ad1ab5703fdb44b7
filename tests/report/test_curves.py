"""Curves: which values of a log are drawn, and where."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from stinet.report.curves import TERMS, curve, read_rows

Rows = list[dict[str, Any]]
Lines = Mapping[str, tuple[list[float], list[float]]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rows], list[Lines]]:
    """What stands in each of the four panels: x and y by label (without the figure behind a colon)."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, _path: figures.append(figure))

    def draw(rows: Rows) -> list[Lines]:
        curve(rows, Path("never-written.png"))
        return [
            {
                str(line.get_label()).split(":")[0]: (list(line.get_xdata()), list(line.get_ydata()))  # pyright: ignore
                for line in axes.lines
            }
            for axes in figures[-1].axes
        ]

    return draw


def test_lines_that_were_cut_off_while_written_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert read_rows(log) == [{"step": 1, "loss": 0.5}]
    log.write_text('{"step": 1, "lo{"step": 1, "loss": 0.25}\n{"step": 2, "loss": 0.5}\n7\n')
    assert read_rows(log) == [{"step": 2, "loss": 0.5}]


def test_a_curve_is_drawn_from_a_log_and_from_an_empty_one(tmp_path: Path) -> None:
    validation = {"psnr_db": 24.0, "given_db": 24.5, "interpolated_db": 23.5}
    rows: Rows = [{"step": step, "loss": 1 / step} for step in range(1, 200)]
    rows += [{"step": 200, "validation": validation}, {"step": 201, "loss": math.nan}, {"start": "now"}]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    curve(log, tmp_path / "full.png", "a run")
    curve([], tmp_path / "empty.png", "a run")
    full, empty = (np.array(Image.open(tmp_path / name).convert("RGB")) for name in ("full.png", "empty.png"))
    assert full.shape == empty.shape
    reds = [((image[..., 0] > 150) & (image[..., 1] < 90)).sum() for image in (full, empty)]
    assert reds[0] > 20 > reds[1], "the validation of all frames is red"


def test_every_panel_shows_its_values(drawn: Callable[[Rows], list[Lines]]) -> None:
    rows: Rows = [{"step": 20, "loss": 0.5, "rate": 1e-3, "reconstruction": 0.4, "draft_low": 0.1, "seconds": 3.0}]
    rows += [{"step": 40, "loss": 0.25, "rate": 5e-4, "reconstruction": 0.2, "draft_low": 0.3}]
    rows += [{"step": 40, "validation": {"psnr_db": 24.0, "given_db": 25.0, "interpolated_db": 23.0}}]
    loss, terms, validation, rate = drawn(rows)
    assert loss["as logged"] == ([20, 40], [0.5, 0.25])
    assert set(terms) == {"reconstruction", "draft_low"}
    assert validation == {"all frames": ([40], [24.0]), "given": ([40], [25.0]), "interpolated": ([40], [23.0])}
    assert list(rate.values()) == [([20, 40], [1e-3, 5e-4])]


@pytest.mark.parametrize("name", TERMS)
def test_each_term_is_drawn_where_it_was_logged(drawn: Callable[[Rows], list[Lines]], name: str) -> None:
    rows: Rows = [{"step": step, "loss": 1.0, **({name: 2.0} if step % 3 == 0 else {})} for step in range(1, 10)]
    assert drawn(rows)[1] == {name: ([3, 6, 9], [2.0, 2.0, 2.0])}


def test_what_a_resumed_run_left_behind_is_not_drawn(drawn: Callable[[Rows], list[Lines]]) -> None:
    before: Rows = [{"step": step, "loss": 1.0} for step in range(10, 60, 10)]
    after: Rows = [{"step": 30, "loss": 3.0}, {"step": 40, "loss": 4.0}]
    assert drawn(before + after)[0]["as logged"] == ([10, 20, 30, 40], [1.0, 1.0, 3.0, 4.0])


def test_values_that_are_not_finite_are_left_out(drawn: Callable[[Rows], list[Lines]]) -> None:
    rows: Rows = [{"step": 1, "loss": math.inf}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": math.nan, "rate": None}]
    loss, _, _, rate = drawn(rows)
    assert loss["as logged"] == ([2], [0.5])
    assert rate == {}


@pytest.mark.parametrize("reason", [True, 1.0, "loss is not finite"])
def test_skipped_steps_are_marked_and_their_losses_left_out(
    drawn: Callable[[Rows], list[Lines]], reason: object
) -> None:
    rows: Rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 99.0, "skipped": reason}]
    rows += [{"step": 3, "loss": 0.5, "skipped": False}, {"step": 4, "loss": 0.4, "skipped": ""}]
    loss = drawn(rows)[0]
    assert loss["skipped"][0] == [2]
    assert loss["as logged"][0] == [1, 3, 4], "a spike that changed nothing would hide the rest"


def test_borders_of_stages_stand_in_every_panel(drawn: Callable[[Rows], list[Lines]]) -> None:
    rows: Rows = [{"step": step, "loss": 1.0, "stage": step // 30} for step in range(10, 80, 10)]
    rows.insert(2, {"step": 20, "validation": {"psnr_db": 24.0}})
    for panel in drawn(rows):
        borders = [line[0][0] for line in panel.values() if line[1] == [0, 1]]
        assert borders == [30, 60]


def test_a_loss_that_is_zero_can_be_drawn(tmp_path: Path) -> None:
    curve([{"step": 1, "loss": 0.0, "reconstruction": 0.0, "rate": 0.0}], tmp_path / "zero.png")
    assert Image.open(tmp_path / "zero.png").width > 500
