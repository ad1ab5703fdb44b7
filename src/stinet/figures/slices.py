"""x-t slices: one line of the picture, frame under frame. What moves evenly is a slanted edge, what flickers is ragged.

The line is the one whose detail moves most, or a named one. The first slice shows what a player would show: bicubic of
the given frames, each held until the next. The figure under a slice is its mean difference to the true one, in levels
of 255.
"""

import numpy as np
from jaxtyping import UInt8

from stinet.errors import UsageError
from stinet.figures.films import Film, flow_at, moving_box
from stinet.report.strips import Cell, Strip, enlarged

__all__ = ["held", "slices"]

_WIDTH_PX = 176
_ACROSS, _TALLEST_PX = 2, 130


def slices(film: Film, line: int | None = None) -> Strip:
    """The slices of a film at one line.

    Raises:
        UsageError: there is no such line.

    """
    count, height, width = film.truth.shape[:3]
    if line is not None and not 0 <= line < height:
        raise UsageError(f"{film.name} has no line {line}: its lines are 0 to {height - 1}")
    middle = count // 2
    flow = flow_at(film.truth, middle)
    rows = slice(0, height) if line is None else slice(line, line + 1)
    top, left, bottom, right = moving_box(film.truth[middle][rows], flow[rows], (3, min(_WIDTH_PX, width)))
    row = (top + bottom) // 2 if line is None else line
    down = max(_TALLEST_PX // count, 1)
    truth = film.truth[:, row, left:right]
    parts = {"bicubic, given frames held": held(film)[:, row, left:right]}
    parts |= {name: frames[:, row, left:right] for name, frames in film.made.items()}
    cells = [
        Cell(
            label=name,
            picture=enlarged(part, down, _ACROSS),
            note=f"differs from the truth by {np.abs(part.astype(float) - truth).mean():.1f} levels",
        )
        for name, part in parts.items()
    ]
    return Strip(
        title=f"{film.name}, line {row} over {count} frames",
        detail=f"time runs down, {down} px a frame",
        whole=film.truth[middle],
        marked=(row, left, row + 1, right),
        cells=[*cells, Cell(label="truth", picture=enlarged(truth, down, _ACROSS))],
    )


def held(film: Film) -> UInt8[np.ndarray, "u h w 3"]:
    """Bicubic of the given frames; in between the one before stays."""
    before = np.maximum.accumulate(np.where(film.given, np.arange(len(film.given)), 0))
    return film.bicubic[before]
