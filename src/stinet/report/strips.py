"""Rows of small pictures beside the whole one that they are cut from: comparisons as papers print them.

A `Strip` is one such row: left the whole frame with the place marked, right a grid of cells, a label over each and a
note under it. Cells are shown pixel for pixel: who calls has enlarged them. A file ends in .png, or in .webp, which
is stored without loss where that stays below `LARGEST_BYTES`, and else at quality 92.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from stinet.errors import OutputError, UsageError
from stinet.report.pictures import Box, font

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LARGEST_BYTES", "Cell", "Strip", "draw_strips", "enlarged", "save_picture"]

LARGEST_BYTES = 400_000
"""Of a picture that belongs into a repository."""

_INK, _FAINT, _PAPER, _ACCENT = (28, 30, 34), (96, 100, 108), (255, 255, 255), (255, 176, 0)
_GAP_PX, _LABEL_PX, _NOTE_PX, _TITLE_PX = 12, 22, 26, 30
_WHOLE_PX = 520
"""Largest width of the whole frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One small picture."""

    label: str
    picture: UInt8[np.ndarray, "h w 3"]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A whole frame and what is cut from it."""

    title: str
    detail: str
    """One line beside the title: frame, kind, size."""

    whole: UInt8[np.ndarray, "h w 3"]
    marked: Box
    """Of the whole frame, in its pixels."""

    cells: Sequence[Cell]


def enlarged(picture: UInt8[np.ndarray, "h w 3"], down: int, across: int = 0) -> UInt8[np.ndarray, "eh ew 3"]:
    """Every pixel `down` high and `across` wide (as high, if that is 0): nothing is made up."""
    return picture.repeat(down, axis=0).repeat(across or down, axis=1)


def draw_strips(strips: Sequence[Strip], path: Path, columns: int = 4) -> None:
    """Save the strips under each other, their cells in rows of so many.

    Raises:
        OutputError: the picture cannot be written.
        UsageError: it is neither .png nor .webp.

    """
    from PIL import Image

    rows = [_drawn(strip, columns) for strip in strips]
    canvas = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), _PAPER)
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    save_picture(canvas, path)


def save_picture(picture: "Image", path: Path) -> None:
    """Write a picture as PNG or WebP.

    Raises:
        OutputError: it cannot be written.
        UsageError: the name ends in something else.

    """
    file = io.BytesIO()
    if path.suffix.lower() == ".png":
        picture.save(file, "PNG", optimize=True)
    elif path.suffix.lower() == ".webp":
        picture.save(file, "WEBP", lossless=True, method=4)
        if file.tell() > LARGEST_BYTES:
            file = io.BytesIO()
            picture.save(file, "WEBP", quality=92, method=4)
    else:
        raise UsageError(f"{path}: a picture ends in .png or .webp")
    try:
        path.write_bytes(file.getvalue())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _drawn(strip: Strip, columns: int) -> "Image":
    from PIL import Image, ImageDraw

    cell_h = max(cell.picture.shape[0] for cell in strip.cells)
    cell_w = max(cell.picture.shape[1] for cell in strip.cells)
    has_notes = any(cell.note for cell in strip.cells)
    pitch = _LABEL_PX + cell_h + (_NOTE_PX if has_notes else 6)
    lines = -(-len(strip.cells) // columns)
    grid_h = lines * pitch
    factor = min((grid_h - _LABEL_PX) / strip.whole.shape[0], _WHOLE_PX / strip.whole.shape[1])
    whole_w, whole_h = (round(side * factor) for side in strip.whole.shape[1::-1])
    left = 2 * _GAP_PX + whole_w
    across = min(columns, len(strip.cells))
    canvas = Image.new("RGB", (left + across * (cell_w + _GAP_PX), _TITLE_PX + grid_h + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP_PX, 6), strip.title, fill=_INK, font=font(17))
    behind = _GAP_PX + draw.textlength(f"{strip.title}   ", font=font(17))
    draw.text((behind, 9), strip.detail, fill=_FAINT, font=font(14))
    whole = Image.fromarray(strip.whole).resize((whole_w, whole_h), Image.Resampling.LANCZOS)
    top, west, bottom, east = (round(place * factor) for place in strip.marked)
    frame = (west, top, max(east - 1, west), max(bottom - 1, top + 1))  # a line of the picture is still two high
    ImageDraw.Draw(whole).rectangle(frame, outline=_ACCENT, width=2)
    canvas.paste(whole, (_GAP_PX, _TITLE_PX + _LABEL_PX))
    for number, cell in enumerate(strip.cells):
        x = left + number % columns * (cell_w + _GAP_PX)
        y = _TITLE_PX + number // columns * pitch
        draw.text((x, y + 3), cell.label, fill=_INK, font=font(14))
        canvas.paste(Image.fromarray(cell.picture), (x, y + _LABEL_PX))
        if cell.note:
            draw.text((x, y + _LABEL_PX + cell.picture.shape[0] + 2), cell.note, fill=_FAINT, font=font(13))
    return canvas
