"""Before/after pictures as PNG, from 8-bit frames."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

__all__ = ["before_after", "busiest_box"]

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels; the last two lie outside."""

_INK, _FAINT, _PAPER, _ACCENT = (28, 30, 34), (110, 114, 122), (255, 255, 255), (255, 176, 0)
_COLUMN_PX, _TALLEST_PX, _GAP_PX, _HEAD_PX = 800, 620, 16, 58
_ZOOM_SHARE = 1 / 4
"""Width of the zoomed crop in widths of the frame."""


def before_after(
    source: UInt8[np.ndarray, "h w 3"],
    result: UInt8[np.ndarray, "sh sw 3"],
    path: Path,
    zoom: Box | None = None,
    labels: tuple[str, str] = ("source, bicubic", "result"),
) -> None:
    """Save a PNG: left the source enlarged by bicubic to the result's size, right the result, a zoomed crop under each.

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
        draw.text((left, 9), label, fill=_INK, font=_font(20))
        draw.text((left, 34), f"{size[0]} x {size[1]}", fill=_FAINT, font=_font(14))
        whole = side.resize((column, tall), Image.Resampling.LANCZOS)
        crop = side.crop((box[1], box[0], box[3], box[2])).resize((column, crop_tall), Image.Resampling.BICUBIC)
        canvas.paste(_marked(whole, box, column / width), (left, _HEAD_PX))
        canvas.paste(_marked(crop, (0, 0, crop_tall, column), 1.0), (left, _HEAD_PX + tall + _GAP_PX))
    canvas.save(path)


def busiest_box(frame: UInt8[np.ndarray, "h w 3"]) -> Box:
    """The area of most detail: 16:9, a quarter of the frame's width, where brightness changes most between pixels."""
    height, width = frame.shape[:2]
    box_w = max(round(width * _ZOOM_SHARE), min(width, 16))
    box_h = min(max(round(box_w * 9 / 16), 1), height)
    grey = frame.astype(np.float64).mean(axis=2)
    change = np.zeros((height, width))
    change[:, 1:] += np.minimum(np.abs(np.diff(grey, axis=1)), 64)  # a few hard edges are not detail
    change[1:] += np.minimum(np.abs(np.diff(grey, axis=0)), 64)
    total = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
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


def _font(size_px: int) -> "FreeTypeFont":
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)
