"""What `stinet ablate` has left in its folder, for pictures: networks of its rows, and figures along Fig. 7's axes.

    RESULTS/rows/NAME.json                     a training: edit, start, seed, and what was measured
    RESULTS/runs/NAME/latest.safetensors       its network

Only what is there is drawn: rows that failed, or whose weights were deleted, are left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stinet.errors import InputError
from stinet.report.maps import Curve, draw_curves

__all__ = ["AblationRow", "draw_curve", "read_rows", "trained_rows"]

_FULL, _FULL_VALUE = "full", 0.1
"""The edit that changes nothing, and its place on both axes of Fig. 7."""


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


def draw_curve(results: Path, path: Path) -> str:
    """Draw PSNR against lambda_1 and lambda_2 (Fig. 7), a dot a seed; gives the means in a line.

    Raises:
        InputError: no row was trained with another lambda.

    """
    rows = [row for row in read_rows(results) if row.psnr_db is not None]
    curves = [curve for curve in (_axis(rows, number) for number in (1, 2)) if curve is not None]
    if not curves:
        raise InputError(f"{results}: no row varies lambda_1 or lambda_2; run stinet ablate --table fig7")
    draw_curves(curves, "PSNR-Y, dB", path, "the loss weights of Eq. (4); the full model has 0.1")
    return "; ".join(
        f"{curve.setting} {value:g}: {sum(runs) / len(runs):.3f} dB"
        for curve in curves
        for value, runs in sorted(curve.points.items())
    )


def _axis(rows: Sequence[AblationRow], number: int) -> Curve | None:
    prefix = f"lambda-{number}-"
    starts = {row.start for row in rows if row.edit.startswith(prefix)}
    ends = {_FULL: _FULL_VALUE, **({"without-mcl": 0.0} if number == 2 else {})}
    points: dict[float, list[float]] = {}
    for row in rows:
        if row.start in starts and row.psnr_db is not None:
            value = float(row.edit.removeprefix(prefix)) if row.edit.startswith(prefix) else ends.get(row.edit)
            if value is not None:
                points.setdefault(value, []).append(row.psnr_db)
    return Curve(setting=f"lambda_{number}", points=points, default=_FULL_VALUE) if starts else None
