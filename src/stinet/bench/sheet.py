"""The same crop of a clip as several models make it, as one PNG: a column each, bicubic first.

The upper row is a frame that the clip has, the lower one a frame between two: there bicubic shows what a player would,
the frame before. Crops are shown pixel for pixel.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet.config import ClipFunction
from stinet.errors import OutputError
from stinet.ops.resample import upsample
from stinet.report.pictures import busiest_box

__all__ = ["Crop", "as_tensor", "crop_of", "draw_sheet", "made_by"]

_INK, _FAINT, _PAPER = (28, 30, 34), (110, 114, 122), (255, 255, 255)
_GAP_PX, _HEAD_PX, _NAME_PX = 16, 52, 26
_MARGIN_PX = 16
"""Context around a crop, in source pixels, that is computed and cut off."""

Pair = tuple[UInt8[np.ndarray, "sh sw 3"], UInt8[np.ndarray, "sh sw 3"]]
"""A given frame and the one after it, in between."""


class Crop:
    """A part of consecutive frames, with some context around it in the picture and in time."""

    def __init__(self, frames: Sequence[UInt8[np.ndarray, "h w 3"]], width_px: int) -> None:
        """The busiest part of the middle frame, at most `width_px` wide."""
        self.middle = (len(frames) - 1) // 2
        top, left, bottom, right = busiest_box(frames[self.middle])
        height, width = frames[0].shape[:2]
        wide = min(width_px, width)
        tall = min(max(round(wide * 9 / 16), 1), height)
        self.top = min(max((top + bottom - tall) // 2, 0), height - tall)
        self.left = min(max((left + right - wide) // 2, 0), width - wide)
        self.height, self.width = tall, wide
        self.outer_top, self.outer_left = max(self.top - _MARGIN_PX, 0), max(self.left - _MARGIN_PX, 0)
        rows = slice(self.outer_top, self.top + tall + _MARGIN_PX)
        columns = slice(self.outer_left, self.left + wide + _MARGIN_PX)
        self.frames = [as_tensor(frame[rows, columns]) for frame in frames]

    def cut(self, large: Float[Tensor, "3 sh sw"], scale: int) -> UInt8[np.ndarray, "ch cw 3"]:
        """The part itself, of an enlarged frame of it and its context."""
        top, left = (self.top - self.outer_top) * scale, (self.left - self.outer_left) * scale
        part = large[:, top : top + self.height * scale, left : left + self.width * scale]
        return part.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def as_tensor(rgb: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """Levels to [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float().div_(255)


def crop_of(frames: Sequence[UInt8[np.ndarray, "h w 3"]], width_px: int) -> Crop:
    """The part of up to four frames that is shown."""
    start = max((len(frames) - 4) // 2, 0)
    return Crop(frames[start : start + 4], width_px)


def made_by(fn: ClipFunction, crop: Crop) -> Pair:
    """What a clip function makes of it; of a single frame, that frame twice."""
    times = ((0.5,),) * (len(crop.frames) - 1)
    with torch.inference_mode():
        states = [fn.prepare(frame) for frame in crop.frames]
        made: Tensor = fn.run(states, times, fn.context(states, times))
    place = 2 * crop.middle
    return crop.cut(made[place], fn.scale), crop.cut(made[min(place + 1, len(made) - 1)], fn.scale)


def draw_sheet(crop: Crop, made: Mapping[str, Pair], path: Path, scale: int = 4) -> None:
    """Save the sheet; the keys of `made` stand over its columns.

    Raises:
        OutputError: the picture cannot be written.

    """
    from PIL import Image, ImageDraw, ImageFont

    still = crop.cut(upsample(crop.frames[crop.middle][None], scale)[0], scale)
    columns = {"bicubic": (still, still), **made}
    cell_w, cell_h = crop.width * scale, crop.height * scale
    width = len(columns) * (cell_w + _GAP_PX) + _GAP_PX
    canvas = Image.new("RGB", (width, _HEAD_PX + 2 * (cell_h + _NAME_PX + _GAP_PX)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for row, about in enumerate(("a frame of the clip", "between two frames")):
        top = _HEAD_PX + row * (cell_h + _NAME_PX + _GAP_PX)
        draw.text((_GAP_PX, top), about, fill=_FAINT, font=ImageFont.load_default(14))
        for number, (name, pair) in enumerate(columns.items()):
            left = _GAP_PX + number * (cell_w + _GAP_PX)
            if not row:
                draw.text((left, 12), name, fill=_INK, font=ImageFont.load_default(18))
            canvas.paste(Image.fromarray(pair[row]), (left, top + _NAME_PX))
    try:
        canvas.save(path, format="PNG")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
