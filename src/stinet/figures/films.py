"""What figures are made of: the first frames of a clip, and what every model makes of them by the papers' protocol.

    shoot       a clip and clip functions -> a `Film`: the truth, bicubic, and every model's frames
    moving_box  where in a picture there is both detail and motion:   sum of |gradient| * |flow| over a box

Frames are 8-bit RGB, (u h w 3). A flow is in pixels of the large frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet.config import ClipFunction
from stinet.data.benchmarks import all_clips, windows
from stinet.data.clip import Clip, low_frame, sharp_frame
from stinet.errors import InputError, UsageError
from stinet.evaluate.speed import forward
from stinet.ops.farneback import expand, flow_between
from stinet.ops.resample import upsample
from stinet.report.pictures import Box, change_of, densest_box

__all__ = ["Film", "as_levels", "chosen_clips", "flow_at", "moving_box", "name_of", "shoot", "small_frames"]

Frames = UInt8[np.ndarray, "u h w 3"]

_STILL_PX, _FAST_PX = 0.25, 12.0
"""Motion at a pixel counts at least and at most as much as this many pixels a frame."""

_BORDER_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """Consecutive frames of a clip, as they were and as every model makes them."""

    name: str
    truth: Frames
    bicubic: Frames
    """Every moment's own low resolution, enlarged: no model saw those of the interpolated frames."""
    given: tuple[bool, ...]
    made: Mapping[str, Frames]
    """By the name of the model."""


def chosen_clips(folders: Sequence[Path], names: Sequence[str] = ()) -> list[Clip]:
    """The clips of these names, in their order; all that are there without names. Two of one name: FOLDER/NAME.

    Raises:
        InputError: no clip, none of a name, or one that is there twice.

    """
    found = {clip.name: clip for clip in all_clips(folders)}
    if missing := [name for name in names if name not in found]:
        raise InputError(f"there is no clip {missing[0]!r}: choose from {', '.join(found)}")
    return [found[name] for name in names or found]


def shoot(
    clip: Clip,
    functions: Mapping[str, ClipFunction],
    count: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Film:
    """The first `count` frames of a clip by every model; every other frame is given, in windows of 7.

    Raises:
        InputError: fewer than three frames.
        UsageError: models of several scales.

    """
    scales = sorted({function.scale for function in functions.values()}) or [4]
    if len(scales) > 1:
        raise UsageError(f"models that enlarge by {' and '.join(map(str, scales))} do not fit on one picture")
    truth, low = _read(clip, scales[0], count)
    cut = windows(len(truth), 7, 2)
    given = [False] * len(truth)
    made: dict[str, list[UInt8[np.ndarray, "h w 3"]]] = {name: [] for name in functions}
    for number, window in enumerate(cut):
        for place in window.counted:
            given[window.start + place] = place in window.given
        shown = [low[window.start + place] for place in window.given]
        for name, function in functions.items():
            frames, _ = forward(function, shown, window.times)
            made[name] += [as_levels(frames[place]) for place in window.counted]
        progress(number + 1, len(cut))
    return Film(
        name=clip.name,
        truth=np.stack(truth),
        bicubic=np.stack([as_levels(upsample(frame[None].double(), scales[0])[0]) for frame in low]),
        given=tuple(given),
        made={name: np.stack(frames) for name, frames in made.items()},
    )


def small_frames(clip: Clip, count: int, scale: int = 4) -> Float[Tensor, "t 3 h w"]:
    """Every other one of the first `count` frames at low resolution, in [0, 1]: what a network is given.

    Raises:
        InputError: fewer than three frames.

    """
    return torch.stack(_read(clip, scale, count)[1][::2])


def flow_at(frames: Frames, index: int) -> Float[np.ndarray, "h w 2"]:
    """Motion at a frame, (dx, dy) in pixels a frame: half the flow from the frame before to the one after.

    At either end of the film, where one of them is missing, all of the flow between the last two.
    """
    before, after = max(index - 1, 0), min(index + 1, len(frames) - 1)
    flow = flow_between(*(expand(_as_tensor(frames[place])[None]) for place in (before, after)))[0]
    return flow.permute(1, 2, 0).numpy() / max(after - before, 1)


def moving_box(frame: UInt8[np.ndarray, "h w 3"], flow: Float[np.ndarray, "h w 2"], size: tuple[int, int]) -> Box:
    """The box of `size` = (height, width) in which detail moves most; where nothing moves, that of most detail.

    A border of 8 pixels, of which flow knows little, does not count.
    """
    height, width = (min(side, most) for side, most in zip(size, frame.shape[:2], strict=True))
    motion = np.clip(np.hypot(flow[..., 0], flow[..., 1]), _STILL_PX, _FAST_PX)
    weight = change_of(frame) * motion
    for axis, side in enumerate(weight.shape):
        if side > 4 * _BORDER_PX:
            inner = np.arange(side)
            weight *= np.expand_dims((inner >= _BORDER_PX) & (inner < side - _BORDER_PX), 1 - axis)
    return densest_box(weight, height, width)


def name_of(model: str) -> str:
    """A model's name for a title; of the weights in a run's folder, which are all called alike, the folder's."""
    path = Path(model)
    return path.parent.name if path.stem in {"latest", "best"} and path.parent.name else path.stem


def as_levels(frame: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """[0, 1] to 8 bit."""
    return frame.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def _read(
    clip: Clip, scale: int, count: int
) -> tuple[list[UInt8[np.ndarray, "sh sw 3"]], list[Float[Tensor, "3 h w"]]]:
    """Sharp and small frames."""
    stored = list(islice(clip.read(), count))
    if len(stored) < 3:
        raise InputError(f"{clip.name}: {len(stored)} frames; a figure takes three at least")
    truth = [sharp_frame(frame, scale, clip.reduced).permute(1, 2, 0).numpy() for frame in stored]
    return truth, [low_frame(frame, scale, clip.reduced).float() / 255 for frame in stored]


def _as_tensor(rgb: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() / 255
