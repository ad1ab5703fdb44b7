"""The curve of a training run, drawn from its log.

A log is JSONL: one row a step that is logged, one a validation. Rows and keys that are not known here are left out.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["curve", "read_rows"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log; a last line that was cut off while it was written is left out."""
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise
    return rows


def curve(log: Path | Iterable[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw a training run: loss above, validation below, against steps, as a PNG at `path`.

    `log` is a JSONL file or its rows. A row has "step" and either "loss" or "validation", a mapping of "psnr_db",
    "given_db" and "interpolated_db". Other keys and rows are ignored, and so are values that are not finite.
    """
    from matplotlib.figure import Figure

    rows = [row for row in (read_rows(log) if isinstance(log, Path) else log) if "step" in row]
    losses = _series(rows, "loss")
    figure = Figure(figsize=(8, 6), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    if losses[0]:
        above.plot(*losses, color="0.78", linewidth=0.8, label="as logged")
        above.plot(losses[0], _smooth(losses[1]), color="C0", linewidth=1.6, label="running median")
    if losses[1] and min(losses[1]) > 0:
        above.set_yscale("log")
    above.set_ylabel("loss")
    measured = [{"step": row["step"], **row["validation"]} for row in rows if row.get("validation")]
    for key, label, style in (
        ("psnr_db", "all frames", "C3o-"),
        ("given_db", "given", "C2.--"),
        ("interpolated_db", "interpolated", "C1.--"),
    ):
        series = _series(measured, key)
        if series[0]:
            below.plot(*series, style, markersize=4, linewidth=1.4, label=f"{label}: {series[1][-1]:.2f} dB")
    below.set(xlabel="step", ylabel="validation PSNR-Y, dB")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path)


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have `key`; of a step logged twice (a resumed run) the later row holds."""
    found = {row["step"]: row[key] for row in rows if row.get(key) is not None and math.isfinite(row[key])}
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _smooth(values: Sequence[float]) -> list[float]:
    reach = max(len(values) // 40, 2)
    return [float(np.median(values[max(i - reach, 0) : i + reach + 1])) for i in range(len(values))]
