"""Runs of one size, one after the other in arrays: sharp frames, LR frames and flows.

A run is a number of consecutive frames of one scene. Arrays are files opened memory-mapped, so the operating system
keeps what is used and a pickled shelf carries paths, not frames; or they lie in the memory of a device. Sharp frames
may also be image files, decoded when they are read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float16, Int64, UInt8
from torch import Tensor

from stinet.data.clip import read_image
from stinet.data.symmetry import Crop
from stinet.ops.farneback import expand
from stinet.ops.flow import FlowMethod, flow_between

__all__ = ["Area", "ArrayFrames", "Frames", "Held", "Mapped", "PictureFrames", "Shelf"]


class Area(NamedTuple):
    """A rectangle of a frame, in that frame's pixels."""

    top: int
    left: int
    height: int
    width: int


@runtime_checkable
class Frames(Protocol):
    """Sharp frames of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        ...

    @property
    def count(self) -> int:
        """How many frames there are."""
        ...

    def read(self, first: int, count: int, area: Area) -> UInt8[Tensor, "count height width 3"]:
        """An area of frames first .. first + count - 1."""
        ...


@dataclass(frozen=True)
class Mapped:
    """An array in an .npy file, memory-mapped when it is first used; pickled, it is a path."""

    path: Path

    @cached_property
    def tensor(self) -> Tensor:
        """The array. Copy-on-write: nothing that is done to it reaches the file."""
        return torch.from_numpy(np.load(self.path, mmap_mode="c"))

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}


@dataclass(frozen=True)
class Held:
    """An array in the memory of a device."""

    tensor: Tensor


Array = Mapped | Held


@dataclass(frozen=True)
class ArrayFrames:
    """Sharp frames in an array."""

    array: Array

    @cached_property
    def _frames(self) -> UInt8[Tensor, "n sh sw 3"]:
        return self.array.tensor.flatten(0, -4)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return (self._frames.shape[1], self._frames.shape[2])

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self._frames.shape[0]

    def read(self, first: int, count: int, area: Area) -> UInt8[Tensor, "count height width 3"]:
        """An area of frames first .. first + count - 1."""
        top, left, height, width = area
        return self._frames[first : first + count, top : top + height, left : left + width]

    def __getstate__(self) -> dict[str, Array]:
        return {"array": self.array}


@dataclass(frozen=True)
class PictureFrames:
    """Sharp frames in image files, decoded when they are read."""

    names: Path
    """An .npy file with the name of every frame's image file, as bytes."""
    root: Path
    """The folder that the names are below."""
    size: tuple[int, int]
    """Height and width of a frame; files may have a few more rows and columns."""

    @cached_property
    def _names(self) -> np.ndarray:
        return np.load(self.names, mmap_mode="r")

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self._names)

    def read(self, first: int, count: int, area: Area) -> UInt8[Tensor, "count height width 3"]:
        """An area of frames first .. first + count - 1."""
        top, left, height, width = area
        files = [self.root / os.fsdecode(bytes(name)) for name in self._names[first : first + count]]
        return torch.from_numpy(np.stack([read_image(file)[top : top + height, left : left + width] for file in files]))

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in ("names", "root", "size")}


@dataclass(frozen=True)
class Shelf:
    """Runs of one size."""

    high: Frames
    low: Array
    """Every LR frame; t h w 3, or r t h w 3 where all runs have t frames."""
    flows: Array
    """Forward and backward flow of every frame of a run but its last two to the next but one; m 2 2 h w."""
    table: Int64[np.ndarray, "runs 3"]
    """First frame, number of frames, first flow of every run."""
    flow_by: FlowMethod
    """How the flows were made."""

    def of(self, table: Int64[np.ndarray, "runs 3"]) -> "Shelf":
        """Some of the runs, on the same arrays."""
        return Shelf(self.high, self.low, self.flows, table, self.flow_by)

    @cached_property
    def low_frames(self) -> UInt8[Tensor, "n h w 3"]:
        """LR frames one after the other."""
        return self.low.tensor.flatten(0, -4)

    @cached_property
    def flow_pairs(self) -> Float16[Tensor, "m 2 2 h w"]:
        """Flows one after the other."""
        return self.flows.tensor.flatten(0, -5)

    @property
    def scale(self) -> int:
        """Sharp pixels per LR pixel and side."""
        return self.high.size[0] // self.low_frames.shape[1]

    @property
    def bytes(self) -> int:
        """Memory that all its arrays take."""
        height, width = self.high.size
        return self.high.count * height * width * 3 + sum(
            part.numel() * part.element_size() for part in (self.low_frames, self.flow_pairs)
        )

    def crop(self, run: int, first: int, offsets: Sequence[int], area: Area | None = None) -> Crop:
        """Frames first + offset of a run, every other one given; `area` in LR pixels, None for whole frames.

        Flows between frames two apart are on the shelf; others are computed, on whole frames.
        """
        start, _, flow = (int(number) for number in self.table[run])
        top, left, height, width = area or Area(0, 0, *self.low_frames.shape[1:3])
        begin, scale = start + first, self.scale
        sharp = Area(*(scale * side for side in (top, left, height, width)))
        if list(offsets) == list(range(len(offsets))):
            high = self.high.read(begin, len(offsets), sharp)
            low = self.low_frames[begin : begin + len(offsets)]
            flows = self.flow_pairs[flow + first : flow + first + max(len(offsets) - 2, 0) : 2]
        else:
            high = torch.cat([self.high.read(begin + place, 1, sharp) for place in offsets])
            low = self.low_frames[[begin + place for place in offsets]]
            flows = _flows(low[::2], self.flow_by)
        low = low[:, top : top + height, left : left + width]
        flows = flows[..., top : top + height, left : left + width]
        return Crop(high.movedim(-1, 1), low.movedim(-1, 1), flows[:, 0], flows[:, 1])

    def detail(self, run: int, first: int, area: Area) -> float:
        """Mean change of brightness between neighbouring LR pixels of one frame."""
        top, left, height, width = area
        frame = self.low_frames[int(self.table[run, 0]) + first, top : top + height, left : left + width]
        grey = frame.numpy().sum(axis=2, dtype=np.int32)
        return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())

    def held(self, device: torch.device) -> "Shelf":
        """The same runs in the memory of a device."""
        height, width = self.high.size
        whole = self.high.read(0, self.high.count, Area(0, 0, height, width))
        low, flows = (Held(part.to(device, copy=True)) for part in (self.low_frames, self.flow_pairs))
        return Shelf(ArrayFrames(Held(whole.to(device, copy=True))), low, flows, self.table, self.flow_by)

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in ("high", "low", "flows", "table", "flow_by")}


@torch.no_grad()
def _flows(frames: UInt8[Tensor, "t h w 3"], by: FlowMethod) -> Float16[Tensor, "intervals 2 2 h w"]:
    """Forward and backward flow between neighbours, as they are prepared: on whole LR frames in [0, 1]."""
    expansions = [expand(frame.movedim(-1, 0)[None].float() / 255) for frame in frames]
    pairs = [torch.cat([flow_between(a, b, by), flow_between(b, a, by)]) for a, b in pairwise(expansions)]
    return torch.stack(pairs).to(torch.float16)
