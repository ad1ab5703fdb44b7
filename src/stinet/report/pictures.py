"""Frames beside each other as PNG: before and after, and the contact sheet of a validation.

    difference(x) = max over R, G, B of |made(x) - truth(x)|,  black at 0, brightest from 64 levels on

The scale of the difference is the same on every sheet and printed on it, so that sheets of different steps compare.
Frames are 8-bit RGB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from stinet.metrics import luma, psnr

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = ["Box", "SheetRow", "before_after", "busiest_box", "change_of", "contact_sheet", "densest_box", "font"]

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels; the last two lie outside."""

_INK, _FAINT, _PAPER, _ACCENT, _RULE = (28, 30, 34), (110, 114, 122), (255, 255, 255), (255, 176, 0), (217, 220, 225)
_COLUMN_PX, _TALLEST_PX, _GAP_PX, _HEAD_PX = 800, 620, 16, 58
_ZOOM_SHARE = 1 / 4
"""Width of the zoomed crop in widths of the frame."""

_BRIGHTEST = 64
"""Levels of difference, of 255, that the brightest colour stands for; larger ones look the same."""

_SHEET_HEAD_PX, _NAME_PX, _FIGURES_PX = 96, 34, 30
_CELL_PX, _LEAST_CELL_PX = (640, 480), 240
"""Largest width and height of a frame on a sheet; frames narrower than the least are enlarged by a whole number."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One frame of a clip: what bicubic and the model make of it, and the truth; all of one size."""

    name: str
    kind: Literal["given", "interpolated"]
    bicubic: UInt8[np.ndarray, "h w 3"]
    made: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w 3"]


def contact_sheet(rows: Sequence[SheetRow], path: Path, title: str = "") -> None:
    """Save a PNG with a row a frame: bicubic, prediction, truth, difference; PSNR on Y stands under the first two.

    `title` says what was measured: "step 12,000". Frames larger than a cell are shrunk, small crops enlarged.
    """
    from PIL import Image, ImageDraw

    sizes = [_cell(row) for row in rows]
    column = max((width for width, _ in sizes), default=_LEAST_CELL_PX)
    tall = sum(height + _NAME_PX + _FIGURES_PX + _GAP_PX for _, height in sizes)
    canvas = Image.new("RGB", (4 * column + 5 * _GAP_PX, _SHEET_HEAD_PX + tall), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP_PX, 12), _one_line(title), fill=_INK, font=font(22))
    lefts = [_GAP_PX + index * (column + _GAP_PX) for index in range(4)]
    for left, label in zip(lefts, ("bicubic", "prediction", "truth", "|prediction - truth|"), strict=True):
        draw.text((left, 54), label, fill=_INK, font=font(16))
    _scale(canvas, draw, lefts[3] + column)
    top = _SHEET_HEAD_PX
    for row, size in zip(rows, sizes, strict=True):
        draw.line((_GAP_PX, top - 6, canvas.width - _GAP_PX, top - 6), fill=_RULE)
        name = _one_line(row.name)
        draw.text((_GAP_PX, top + 4), name, fill=_INK, font=font(16))
        behind = _GAP_PX + draw.textlength(f"{name}  ", font=font(16))
        draw.text((behind, top + 6), f"{row.kind} frame, {_size(row.truth)}", fill=_FAINT, font=font(14))
        difference = _levels(row)
        for left, array in zip(lefts, (row.bicubic, row.made, row.truth, difference), strict=True):
            cell = _resized(Image.fromarray(array), size)
            canvas.paste(Image.fromarray(_heat(np.array(cell))) if cell.mode == "L" else cell, (left, top + _NAME_PX))
        under = top + _NAME_PX + size[1] + 6
        for left, text in zip(lefts, _figures(row, difference), strict=True):
            draw.text((left, under), text, fill=_INK, font=font(14))
        top = under + _FIGURES_PX + _GAP_PX - 6
    canvas.save(path)


def before_after(
    source: UInt8[np.ndarray, "h w 3"],
    result: UInt8[np.ndarray, "sh sw 3"],
    path: Path,
    zoom: Box | None = None,
    labels: tuple[str, str] = ("source, bicubic", "result"),
) -> None:
    """Save a picture: left the source enlarged by bicubic to the result's size, right the result, zoomed crops below.

    `zoom` is in pixels of the result; without it the most detailed area is taken. Both sides go through the same steps
    after the enlargement, so that what differs is what the model did.
    """
    from PIL import Image, ImageDraw

    height, width = result.shape[:2]
    box = zoom or busiest_box(result)
    sides = [Image.fromarray(source).resize((width, height), Image.Resampling.BICUBIC), Image.fromarray(result)]
    sizes = [source.shape[1::-1], (width, height)]
    column, tall = _fit(width, height)
    crop_tall = round(column * (box[2] - box[0]) / (box[3] - box[1]))
    canvas = Image.new("RGB", (2 * column + 3 * _GAP_PX, _HEAD_PX + tall + crop_tall + 2 * _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for index, (side, label, size) in enumerate(zip(sides, labels, sizes, strict=True)):
        left = _GAP_PX + index * (column + _GAP_PX)
        draw.text((left, 9), label, fill=_INK, font=font(20))
        draw.text((left, 34), f"{size[0]} x {size[1]}", fill=_FAINT, font=font(14))
        whole = side.resize((column, tall), Image.Resampling.LANCZOS)
        crop = side.crop((box[1], box[0], box[3], box[2])).resize((column, crop_tall), Image.Resampling.BICUBIC)
        canvas.paste(_marked(whole, box, column / width), (left, _HEAD_PX))
        canvas.paste(_marked(crop, (0, 0, crop_tall, column), 1.0), (left, _HEAD_PX + tall + _GAP_PX))
    canvas.save(path, quality=92)  # where the format has such a thing


def busiest_box(frame: UInt8[np.ndarray, "h w 3"]) -> Box:
    """The area of most detail: 16:9, a quarter of the frame's width, where brightness changes most between pixels."""
    height, width = frame.shape[:2]
    box_w = max(round(width * _ZOOM_SHARE), min(width, 16))
    return densest_box(change_of(frame), min(max(round(box_w * 9 / 16), 1), height), box_w)


def change_of(frame: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """How much brightness changes to the pixels on the left and above, in levels."""
    grey = frame.astype(np.float64).mean(axis=2)
    change = np.zeros(grey.shape)
    change[:, 1:] += np.minimum(np.abs(np.diff(grey, axis=1)), 64)  # a few hard edges are not detail
    change[1:] += np.minimum(np.abs(np.diff(grey, axis=0)), 64)
    return change


def densest_box(weight: Float64[np.ndarray, "h w"], box_h: int, box_w: int) -> Box:
    """The box of this size with the largest sum of weights."""
    total = np.pad(weight.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    area = total[box_h:, box_w:] - total[:-box_h, box_w:] - total[box_h:, :-box_w] + total[:-box_h, :-box_w]
    top, left = (int(place) for place in np.unravel_index(area.argmax(), area.shape))
    return top, left, top + box_h, left + box_w


def _fit(width: int, height: int) -> tuple[int, int]:
    """Size at which a frame is shown: a column wide unless that is too tall, never so narrow that labels are cut."""
    factor = max(min(_COLUMN_PX / width, _TALLEST_PX / height), 340 / width)
    return round(width * factor), round(height * factor)


def _marked(image: "Image", box: Box, factor: float) -> "Image":
    from PIL import ImageDraw

    top, left, bottom, right = (round(place * factor) for place in box)
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=_ACCENT, width=3)
    return image


def _cell(row: SheetRow) -> tuple[int, int]:
    """Width and height at which a row's frames are shown."""
    height, width = row.truth.shape[:2]
    if width < _LEAST_CELL_PX:
        factor = float(max(min(-(-_LEAST_CELL_PX // width), _CELL_PX[1] // height), 1))
    else:
        factor = min(_CELL_PX[0] / width, _CELL_PX[1] / height, 1.0)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _resized(image: "Image", size: tuple[int, int]) -> "Image":
    """Shrunk by the mean of what a pixel covers; enlarged pixel by pixel, so that nothing is made up."""
    from PIL.Image import Resampling

    return image.resize(size, Resampling.NEAREST if size[0] > image.width else Resampling.BOX)


def _levels(row: SheetRow) -> UInt8[np.ndarray, "h w"]:
    """The largest difference of the three colours, in levels of 255."""
    return np.abs(row.made.astype(np.int16) - row.truth.astype(np.int16)).max(axis=2).astype(np.uint8)


def _heat(levels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Levels as colours of rising brightness, black at 0."""
    from matplotlib import colormaps

    colours = (colormaps["inferno"](np.arange(_BRIGHTEST + 1) / _BRIGHTEST)[:, :3] * 255).round().astype(np.uint8)
    colours[0] = 0
    return colours[np.minimum(levels, _BRIGHTEST)]


def _scale(canvas: "Image", draw: "ImageDraw", right: int) -> None:
    """The colours of a difference, with their ends in numbers and the amplification, against the right edge."""
    from PIL import Image

    ramp = np.tile(np.arange(_BRIGHTEST + 1, dtype=np.uint8), (1, 1))
    bar = Image.fromarray(_heat(ramp)).resize((130, 12), Image.Resampling.NEAREST)
    text = f"{_BRIGHTEST} of 255 and more (x{255 / _BRIGHTEST:.0f})"
    end = right - int(draw.textlength(text, font=font(13)))
    draw.text((end, 17), text, fill=_FAINT, font=font(13))
    canvas.paste(bar, (end - 138, 20))
    draw.text((end - 152, 17), "0", fill=_FAINT, font=font(13))


def _figures(row: SheetRow, levels: UInt8[np.ndarray, "h w"]) -> tuple[str, str, str, str]:
    """What is written under the four cells."""
    truth = _luma(row.truth)
    before, after = (psnr(_luma(frame), truth).item() for frame in (row.bicubic, row.made))
    gain = f"  ({after - before:+.2f})" if math.isfinite(after - before) else ""
    spread = f"mean {levels.mean():.1f}, largest {levels.max()} levels"
    return f"PSNR-Y {_decibels(before)}", f"PSNR-Y {_decibels(after)}{gain}", "", spread


def _luma(frame: UInt8[np.ndarray, "h w 3"]) -> Float64[torch.Tensor, "h w"]:
    return luma(torch.from_numpy(frame.transpose(2, 0, 1) / 255.0))


def _decibels(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "identical"


def _one_line(text: str) -> str:
    """Text from outside in one line; what is no Unicode (a file name may be so) is a question mark."""
    return " ".join(text.encode(errors="replace").decode().split())


def _size(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"


def font(size_px: int) -> "FreeTypeFont":
    """The letters of all our pictures."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
