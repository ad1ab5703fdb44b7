"""`stinet demo`: the bundled clip upscaled, and a before/after picture of it.

The picture shows a frame that the source has too, so that both sides are the same moment: the most detailed one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from stinet.config import ReadConfig, UpscaleConfig
from stinet.errors import OutputError
from stinet.face import output_path, upscale_video
from stinet.report.pictures import before_after
from stinet.video.frame import Frame
from stinet.video.read import read_frames
from stinet.weights import DEFAULT

if TYPE_CHECKING:
    from stinet.upscale import Progress

__all__ = ["CLIP", "Shown", "demonstrate", "detail"]

CLIP = Path(__file__).parent / "samples" / "with_audio_480x270.mp4"
"""Bundled with the package; its source and licence stand beside it."""

FIRST_PART_S = Fraction(3, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the demo made."""

    video: Path
    picture: Path
    summary: str
    model: str
    """What made it: name and hash, engine and precision."""


def demonstrate(
    folder: Path,
    *,
    picture: Path | None = None,
    is_full: bool = False,
    model: str = DEFAULT,
    device: str = "auto",
    progress: Callable[["Progress"], None] | None = None,
) -> Shown:
    """Upscale the first 1.5 s of the bundled clip (all of it if `is_full`) into `folder`, with a picture.

    `picture` names another file than before_after.png in that folder, .png or .webp.

    Raises:
        OutputError: the folder or the picture cannot be written.
        ModelError, DeviceError: the model or device cannot be used.

    """
    config = UpscaleConfig(read=ReadConfig(seconds=None if is_full else FIRST_PART_S), overwrite=True)
    video = folder / output_path(CLIP, None, config).name
    picture = picture or folder / "before_after.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror})") from error
    summary = upscale_video(CLIP, video, model=model, device=device, config=config, progress=progress)
    source, result = _same_moment(CLIP, video, config.read.seconds)
    try:
        before_after(source.rgb, result.rgb, picture, labels=("source, bicubic", model))
    except OSError as error:
        raise OutputError(f"{picture}: cannot be written ({error.strerror or error})") from error
    return Shown(video=video, picture=picture, summary=summary.line(), model=summary.model)


def _same_moment(source: Path, result: Path, seconds: Fraction | None) -> tuple[Frame, Frame]:
    """The source's most detailed frame and the result's frame nearest to it in time."""
    frames = (frame for frame in read_frames(source, deep=False) if seconds is None or frame.time < seconds)
    chosen = max(frames, key=lambda frame: detail(frame.rgb))
    return chosen, min(read_frames(result, deep=False), key=lambda frame: abs(frame.time - chosen.time))


def detail(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean change of brightness from pixel to pixel, in grey levels."""
    grey = frame.astype(np.float32).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
