"""Clip functions of a few lines, and clips whose figures are known by hand."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stinet.config import Tile
from stinet.data.clip import Clip

__all__ = ["Broken", "Oracle", "Repeat", "flat_clip", "grey_step_db", "moving_clip", "textured_clip"]


class Repeat:
    """Enlarges by repeating pixels, fills the time between by repeating frames, and adds `error` levels."""

    reach = 0

    def __init__(self, scale: int = 4, error: float = 0.0) -> None:
        self.scale, self.error = scale, error
        self.shown: list[list[Tensor]] = []

    def prepare(self, frame: Tensor) -> Tensor:
        return frame

    def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
        self.shown.append(list(states))

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        counts = [1 + len(row) for row in times] + [1]
        frames = torch.stack([frame for frame, count in zip(states, counts, strict=True) for _ in range(count)])
        large = frames.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        return large + self.error / 255


class Broken(Repeat):
    """Yields frames of another number, or values that are none."""

    def __init__(self, break_it: str) -> None:
        super().__init__()
        self.break_it = break_it

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        output = super().run(states, times, nodes)
        return output[1:] if self.break_it == "number" else output * math.nan


class Oracle(Repeat):
    """Knows the clip, which is shown in one window; in-between frames repeat the one before if it `stutters`."""

    def __init__(self, clip: Clip, *, stutters: bool = False) -> None:
        super().__init__()
        self.clip, self.stutters = clip, stutters

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Tensor:
        frames = torch.from_numpy(np.stack(list(self.clip.read()))).permute(0, 3, 1, 2).float() / 255
        step = len(times[0]) + 1
        return frames[torch.arange(len(frames)) // step * step] if self.stutters else frames


def flat_clip(levels: Sequence[int], name: str = "flat", size: tuple[int, int] = (24, 28)) -> Clip:
    """Frames of one grey each: low resolution and enlargement keep them exactly."""
    return Clip(name, lambda: [np.full((*size, 3), level, dtype=np.uint8) for level in levels])


def textured_clip(count: int, size: tuple[int, int] = (26, 31), name: str = "texture") -> Clip:
    """Noise."""
    frames = np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return Clip(name, lambda: list(frames))


def moving_clip(count: int, px_per_frame: float, name: str = "moving", size: tuple[int, int] = (96, 128)) -> Clip:
    """A soft pattern that moves to the right."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)

    def frame(index: int) -> np.ndarray:
        moved = x - px_per_frame * index
        wave = np.sin(moved / 5) + np.cos(y / 6) + np.sin((moved + 2 * y) / 9)
        return np.repeat((128 + 30 * wave).round().astype(np.uint8)[..., None], 3, axis=2)

    return Clip(name, lambda: [frame(index) for index in range(count)])


def grey_step_db(levels: float) -> float:
    """PSNR of two greys so many levels apart; a grey level is 219/255 of a step in Y."""
    return 20 * math.log10(255 / (levels * 219 / 255))
