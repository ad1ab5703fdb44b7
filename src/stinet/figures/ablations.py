"""What `stinet ablate` has left in its folder, for pictures: networks of its rows, and figures along Fig. 7's axes.

    RESULTS/rows/NAME.json                     a training: edit, start, seed, and what was measured
    RESULTS/runs/NAME/latest.safetensors       its network

Only what is there is drawn: rows that failed, or whose weights were deleted, are left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stinet.errors import InputError
from stinet.report.maps import Curve, draw_curves

__all__ = ["AblationRow", "Axis", "draw_curve", "read_rows", "trained_rows"]

Axis = Mapping[str, tuple[float, float | None]]
"""By edit its value on an axis, and the paper's delta to the full model in dB, where it prints one."""

_FULL = "full"
"""The edit that changes nothing; it lies on every axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """One training of an ablation."""

    name: str
    """Of the edit; `from-weights.EDIT` where it went on from weights, as Table V's rows do."""
    edit: str
    start: str
    seed: int
    weights: Path
    psnr_db: float | None
    """With one frame in between; None: not measured so."""


def read_rows(results: Path) -> list[AblationRow]:
    """Every training that has ended well, by start, the full model first, then by name.

    Raises:
        InputError: no rows there, or one that cannot be read.

    """
    found: list[AblationRow] = []
    for file in sorted((results / "rows").glob("*.json")):
        try:
            row: dict[str, Any] = json.loads(file.read_text("utf-8"))
            if "failed" in row:
                continue
            report = row["measured"].get("1")
            found.append(
                AblationRow(
                    name=f"from-weights.{row['edit']}" if row["start"] == "weights" else row["edit"],
                    edit=row["edit"],
                    start=row["start"],
                    seed=row["seed"],
                    weights=results / "runs" / file.stem / "latest.safetensors",
                    psnr_db=None if report is None else float(report["mean"]["psnr_db"]),
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file}: is no row of an ablation, or damaged ({error})") from error
    if not found:
        raise InputError(f"{results}: no finished row in {results / 'rows'}; run stinet ablate --out {results} first")
    return sorted(found, key=lambda row: (row.start, row.edit != _FULL, row.edit, row.seed))


def trained_rows(results: Path, names: Sequence[str] = ()) -> list[AblationRow]:
    """The first seed of every name that still has its weights; only these names, in their order, if any are given.

    Raises:
        InputError: no rows, or none of a name that has weights.

    """
    first: dict[str, AblationRow] = {}
    for row in read_rows(results):
        if row.weights.is_file():
            first.setdefault(row.name, row)
    if missing := [name for name in names if name not in first]:
        raise InputError(f"{results}: no weights of {missing[0]}; there are {', '.join(first) or 'none'}")
    if not first:
        raise InputError(f"{results}: the weights of its rows are gone (runs/NAME/latest.safetensors)")
    return [first[name] for name in names or first]


def draw_curve(results: Path, axes: Mapping[str, Axis], path: Path) -> str:
    """Draw PSNR against each setting of `axes`, such as lambda_1 and lambda_2 (Fig. 7); gives the means in a line.

    A dot is a seed: its difference to the full model of the same seed and start. Where the paper prints a figure it
    stands beside. An axis without runs is drawn with what the paper says alone.

    Raises:
        InputError: no row was trained with another value on any axis.

    """
    rows = [row for row in read_rows(results) if row.psnr_db is not None]
    curves = [_curve(rows, name, axis) for name, axis in axes.items()]
    if not any(len(curve.points) > 1 for curve in curves):
        raise InputError(f"{results}: no row varies {' or '.join(axes)}; run stinet ablate --table fig7")
    draw_curves(curves, "PSNR-Y against the full model, dB", path, f"the loss weights of Eq. (4){_scale(results)}")
    return "; ".join(
        f"{curve.setting} {value:g}: {sum(runs) / len(runs):+.3f} dB"
        for curve in curves
        for value, runs in sorted(curve.points.items())
    )


def _curve(rows: Sequence[AblationRow], name: str, axis: Axis) -> Curve:
    """What was tried on an axis; nothing where all there is lies at the full model's value."""
    full = {(row.start, row.seed): row.psnr_db for row in rows if row.edit == _FULL}
    starts = {row.start for row in rows if row.edit in axis and row.edit != _FULL}
    points: dict[float, list[float]] = {}
    for row in rows:
        base = full.get((row.start, row.seed))
        if row.edit in axis and row.start in starts and base is not None and row.psnr_db is not None:
            points.setdefault(axis[row.edit][0], []).append(row.psnr_db - base)
    return Curve(
        setting=name,
        points=points,
        default=axis[_FULL][0],
        ticks=sorted(value for value, _ in axis.values()),
        published={value: delta for value, delta in axis.values() if delta is not None},
    )


def _scale(results: Path) -> str:
    """How long the trainings were, of the ablation's plan."""
    try:
        plan: dict[str, Any] = json.loads((results / "plan.json").read_text("utf-8"))
        return f"; ours: {plan['settings']['size']} size, {plan['steps']:,} steps a training"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
