"""A picture of a few moments of a film: left the source enlarged by bicubic, right what was made of it.

It is drawn after the run from the files themselves, so that it shows what a viewer will see, encoder included. Three
moments are chosen: at 1/6, 1/2 and 5/6 of the result. The one in the middle is a frame that the source does not have,
if there is one; beside it stands the source's frame that a viewer would have seen at that time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from stinet.config import ReadConfig, UpscaleConfig
from stinet.errors import InputError, OutputError
from stinet.video.frame import Frame, Notes
from stinet.video.source import open_source

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

__all__ = ["Moment", "draw_preview", "moments"]

_INK, _FAINT, _PAPER = (28, 30, 34), (110, 114, 122), (255, 255, 255)
_GAP_PX, _HEAD_PX, _CELL_PX = 16, 44, (960, 720)
_LEAST_PX = 320
"""A narrower frame is enlarged to this, pixel by pixel, so that its labels fit."""

_BACK_S = Fraction(2)
"""So much before a moment the film is read, to find the frame that is still shown there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A frame of the result, and the one of the source that is shown at that time."""

    time: Fraction
    """Seconds of the result."""
    source: UInt8[np.ndarray, "h w 3"]
    result: UInt8[np.ndarray, "sh sw 3"]
    is_interpolated: bool


def draw_preview(
    source: Path,
    result: Path,
    picture: Path,
    *,
    config: UpscaleConfig = UpscaleConfig(),  # noqa: B008 (frozen)
    label: str = "result",
) -> None:
    """Save a PNG of three moments of `result`, which `upscale` has made of `source` with `config`.

    Raises:
        InputError: one of the two cannot be read.
        OutputError: the picture cannot be written.

    """
    from PIL import Image, ImageDraw

    shown = list(moments(source, result, config))
    cells = [_cell(moment.result) for moment in shown]
    column = max(width for width, _ in cells)
    canvas = Image.new("RGB", (2 * column + 3 * _GAP_PX, sum(tall + _HEAD_PX + _GAP_PX for _, tall in cells)), _PAPER)
    draw, top = ImageDraw.Draw(canvas), 0
    for moment, size in zip(shown, cells, strict=True):
        sides = (_enlarged(moment.source, moment.result.shape[1::-1]), Image.fromarray(moment.result))
        kind = "between two frames" if moment.is_interpolated else "a frame of the source"
        words = (("bicubic", f"{float(moment.time):.3f} s"), (label, kind))
        for number, (side, (name, about)) in enumerate(zip(sides, words, strict=True)):
            left = _GAP_PX + number * (column + _GAP_PX)
            _write(draw, left, top, name, about)
            canvas.paste(side.resize(size, _how(side.width, size[0])), (left, top + _HEAD_PX))
        top += size[1] + _HEAD_PX + _GAP_PX
    try:
        canvas.save(picture)
    except OSError as error:
        raise OutputError(f"{picture}: cannot be written ({error.strerror or error})") from error


def moments(source: Path, result: Path, config: UpscaleConfig) -> Iterator[Moment]:
    """Three moments of the result (fewer if it has fewer frames), the middle one interpolated if one is.

    Raises:
        InputError: one of the two cannot be read.

    """
    length = open_source(result).info.duration or _length(result)
    lead = _first_time(source, config.read) * config.slow_motion - _first_time(result, ReadConfig())
    seen: set[Fraction] = set()
    for share in (Fraction(1, 6), Fraction(1, 2), Fraction(5, 6)):
        frames = _frames_near(result, length * share, ReadConfig())
        frame, moment = _chosen(frames, source, config, lead, wants_interpolated=share == Fraction(1, 2))
        if frame.time not in seen:
            seen.add(frame.time)
            yield moment


def _chosen(
    frames: list[Frame], source: Path, config: UpscaleConfig, lead: Fraction, *, wants_interpolated: bool
) -> tuple[Frame, Moment]:
    """Of the result's last frames up to a time, the latest of the wanted kind, else the latest."""
    moment = None
    for frame in reversed(frames[-4:]):
        time = max((frame.time + lead) / config.slow_motion, Fraction(0))
        before = _frames_near(source, time, config.read)[-1]
        moved = abs(time - before.time) > Fraction(1, 500)  # Matroska keeps milliseconds
        found = Moment(time=frame.time, source=before.rgb, result=frame.rgb, is_interpolated=moved)
        moment = moment or (frame, found)
        if moved == wants_interpolated:
            return frame, found
    assert moment is not None
    return moment


def _frames_near(path: Path, time: Fraction, read: ReadConfig) -> list[Frame]:
    """Frames of a film up to a time, the last of which is shown at it; `time` counts from where `read` starts."""
    begin = max((read.start or Fraction(0)) + time - _BACK_S, Fraction(0))
    shift = begin - (read.start or Fraction(0))
    for start, moved in ((begin, shift), (read.start, Fraction(0))):
        part = open_source(path, replace(read, start=start or None, seconds=None))
        frames: list[Frame] = []
        for frame in part.frames(Notes(), deep=False):
            if frames and frame.time + moved > time + Fraction(1, 1000):
                break
            frames = [*frames[-7:], replace(frame, time=frame.time + moved)]
        if frames:
            return frames
    raise InputError(f"{path}: no frame near {float(time):.3f} s can be decoded")


def _first_time(path: Path, read: ReadConfig) -> Fraction:
    """Where the picture begins: not at 0 where sound comes first. Source and result begin with the same frame."""
    for frame in open_source(path, read).frames(Notes(), deep=False):
        return frame.time
    raise InputError(f"{path}: no frame in it can be decoded")


def _length(path: Path) -> Fraction:
    last = Fraction(0)
    for frame in open_source(path).frames(Notes(), deep=False):
        last = frame.time
    return last


def _cell(frame: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int]:
    """Width and height at which a frame is drawn."""
    height, width = frame.shape[:2]
    factor = max(min(_CELL_PX[0] / width, _CELL_PX[1] / height, 1.0), _LEAST_PX / width)
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _enlarged(frame: UInt8[np.ndarray, "h w 3"], size: tuple[int, ...]) -> "Image":
    from PIL import Image

    return Image.fromarray(frame).resize((size[0], size[1]), Image.Resampling.BICUBIC)


def _how(width: int, wanted: int) -> int:
    from PIL.Image import Resampling

    return Resampling.LANCZOS if wanted < width else Resampling.NEAREST


def _write(draw: "ImageDraw", left: int, top: int, name: str, about: str) -> None:
    from PIL import ImageFont

    draw.text((left, top + 8), name, fill=_INK, font=ImageFont.load_default(18))
    behind = left + draw.textlength(f"{name}   ", font=ImageFont.load_default(18))
    draw.text((behind, top + 12), about, fill=_FAINT, font=ImageFont.load_default(14))
