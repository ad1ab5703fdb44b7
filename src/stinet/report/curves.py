"""The curve of a training run, drawn from its log.

A log is JSONL. Rows have "step" and, of these, what they tell; keys that are not known here are left out:

    loss, and terms of it by name     every logged step
    rate                              learning rate
    skipped                           the step was left out, and its loss with it: true, 1 or a reason
    stage                             number from 0 of the stage that the step belongs to
    validation                        mapping of psnr_db, given_db and interpolated_db

Rows stand in the order in which they were written. A row whose step is below one already read is of a run that was
resumed: what the log holds of that step and later is then out of date and left out. So are values that are not finite.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["current_rows", "curve", "read_rows"]

Row = Mapping[str, Any]

TERMS = ("reconstruction", "draft_low", "draft_high", "perceptual", "motion_absolute", "motion_relative")

_VALIDATION = (
    ("psnr_db", "all frames", "C3o-"), ("given_db", "given", "C2.--"), ("interpolated_db", "interpolated", "C1.:"),
)  # fmt: skip
_DASHES = ("-", "--", ":", "-.")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log, without the lines that were cut off while they were written: the run was killed there."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(json.JSONDecodeError):
            row = json.loads(line)
            rows += [row] if isinstance(row, dict) else []
    return rows


def current_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows with a step, without those that a resumed run has made out of date."""
    kept: list[Row] = []
    for row in rows:
        if "step" not in row:
            continue
        while kept and kept[-1]["step"] > row["step"]:
            kept.pop()
        kept.append(row)
    return kept


def curve(log: Path | Iterable[Row], path: Path, title: str = "") -> None:
    """Draw a training run as a PNG at `path`: loss, its terms, validation and learning rate against steps.

    `log` is a JSONL file or its rows. Skipped steps are crosses on the loss, borders of stages vertical lines.
    """
    from matplotlib.figure import Figure

    rows = current_rows(read_rows(log) if isinstance(log, Path) else log)
    figure = Figure(figsize=(9, 9), dpi=110, layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(3, 1.6, 3, 1))
    for axes, draw in zip(panels, (_draw_loss, _draw_terms, _draw_validation, _draw_rate), strict=True):
        draw(axes, rows)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for border, _ in _borders(rows):
            axes.axvline(border, color="0.4", linewidth=0.9, linestyle=(0, (4, 3)))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for border, number in _borders(rows):
        panels[0].annotate(
            f" stage {number + 1}", (border, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8, color="0.3"
        )
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.suptitle(title)
    figure.savefig(path)


def _draw_loss(axes: "Axes", rows: Sequence[Row]) -> None:
    steps, losses = _series([row for row in rows if not row.get("skipped")], "loss")
    if losses:
        axes.plot(steps, losses, color="0.78", linewidth=0.8, label="as logged")
        axes.plot(steps, _smooth(losses), color="C0", linewidth=1.6, label="running median")
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    skipped = sorted({row["step"] for row in rows if row.get("skipped")})
    if skipped:
        label = f"skipped: {len(skipped):,}"
        at_foot = axes.get_xaxis_transform()
        axes.plot(skipped, [0.03] * len(skipped), "kx", transform=at_foot, markersize=5, clip_on=False, label=label)
    axes.set_ylabel("loss")


def _draw_terms(axes: "Axes", rows: Sequence[Row]) -> None:
    """Running medians alone: up to six lines in a small panel."""
    for index, name in enumerate(TERMS):
        steps, values = _series(rows, name)
        if any(values):
            smooth = [value or math.nan for value in _smooth(values)]
            style = _DASHES[index % len(_DASHES)]
            axes.plot(steps, smooth, style, color=f"C{index}", linewidth=1.3, label=f"{name}: {values[-1]:.3g}")
            axes.set_yscale("log")
    axes.set_ylabel("terms")


def _draw_validation(axes: "Axes", rows: Sequence[Row]) -> None:
    measured = [{"step": row["step"], **row["validation"]} for row in rows if row.get("validation")]
    for key, label, style in _VALIDATION:
        steps, values = _series(measured, key)
        if values:
            axes.plot(steps, values, style, markersize=4, linewidth=1.4, label=f"{label}: {values[-1]:.2f} dB")
    axes.set_ylabel("validation PSNR-Y, dB")


def _draw_rate(axes: "Axes", rows: Sequence[Row]) -> None:
    steps, rates = _series(rows, "rate")
    if rates:
        axes.plot(steps, rates, color="C4", linewidth=1.3, label=f"now {rates[-1]:.3g}")
        axes.set_ylim(0, max(rates) * 1.1 or 1)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    axes.set_ylabel("rate")


def _borders(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """First logged step and number (from 0) of every stage but the first one."""
    staged = [(row["step"], row["stage"]) for row in rows if row.get("stage") is not None]
    return [now for before, now in pairwise(staged) if now[1] != before[1]]


def _series(rows: Sequence[Row], key: str) -> tuple[list[int], list[float]]:
    """Steps and finite values of the rows that have `key`; of a step that stands there twice the later row holds."""
    found = {row["step"]: row[key] for row in rows if row.get(key) is not None and math.isfinite(row[key])}
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _smooth(values: Sequence[float]) -> list[float]:
    reach = max(len(values) // 40, 2)
    return [float(np.median(values[max(i - reach, 0) : i + reach + 1])) for i in range(len(values))]
