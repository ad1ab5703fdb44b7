"""Stages without a network: blending, optical flow, bicubic.

    blend      in-between frames are the time-weighted blend of their neighbours
    flow       they are blended after both neighbours are warped by Farneback's flows
    dis        the same by OpenCV's dense inverse search (Kroeger et al., 2016), preset medium; needs OpenCV
    bicubic    frames enlarged by the cubic kernel

Flows between neighbours are adapted to time tau of the interval by Eq. (1) of the paper (linear motion):

    F(t' -> before) = tau * F(after -> before),        F(t' -> after) = (1 - tau) * F(before -> after)

and both warped neighbours are blended with weights 1 - tau and tau. Frames are read with a cubic kernel: a
bilinear one blurs small frames so much that a plain blend is better (Vid4: 23.28 dB against 23.44).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stinet.errors import ModelError
from stinet.ops.farneback import expand, flow_between
from stinet.ops.opencv import share_opencv
from stinet.ops.resample import upsample
from stinet.ops.warp import warp_cubic

__all__ = ["Bicubic", "Blend", "Dis", "Farneback"]

_LEAST_PX = 16
"""OpenCV's dense inverse search refuses frames of a smaller side: they are padded."""

Frame = Float[Tensor, "3 h w"]


@dataclass
class Bicubic:
    """The cubic kernel of MATLAB's imresize, each frame on its own."""

    scale: int = 4
    halo_px: int = 3
    """Two pixels that the kernel reads, and one to spare."""
    reach: int = 0
    identity: str = "bicubic"

    def __call__(self, frames: Float[Tensor, "u 3 h w"]) -> Float[Tensor, "u 3 sh sw"]:
        """Enlarge; overshoots are clamped."""
        return upsample(frames, self.scale).clamp_(0, 1)


@dataclass
class Blend:
    """The cross-fade of both neighbours."""

    identity: str = "blend"

    def prepare(self, frame: Frame) -> Frame:
        """Nothing to do: the frame itself."""
        return frame

    def between(self, before: Frame, after: Frame, taus: Sequence[float]) -> list[Frame]:
        """The time-weighted means."""
        return [torch.lerp(before, after, tau) for tau in taus]


class _Moving(NamedTuple):
    """A frame and what a method of optical flow keeps of it."""

    frame: Frame
    known: Any


@dataclass
class Farneback:
    """Both neighbours warped by Farneback's flows, blended."""

    identity: str = "flow"

    def prepare(self, frame: Frame) -> _Moving:
        """Expand the frame."""
        return _Moving(frame, expand(frame[None]))

    def between(self, before: _Moving, after: _Moving, taus: Sequence[float]) -> list[Frame]:
        """Along the flows of the pair."""
        ahead, back = flow_between(before.known, after.known), flow_between(after.known, before.known)
        return [_along(before.frame, after.frame, ahead, back, tau) for tau in taus]


class Dis:
    """Both neighbours warped by the flows of OpenCV's dense inverse search, blended."""

    identity = "dis"

    def __init__(self) -> None:
        """Make the search.

        Raises:
            ModelError: OpenCV is not installed.

        """
        try:
            import cv2
        except ImportError as error:
            raise ModelError(
                "dis needs OpenCV, which is not installed: run pip install opencv-python-headless"
            ) from error
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def prepare(self, frame: Frame) -> _Moving:
        """The frame in 8-bit grey."""
        grey = 0.299 * frame[:1] + 0.587 * frame[1:2] + 0.114 * frame[2:]
        height, width = grey.shape[-2:]
        padding = (0, max(_LEAST_PX - width, 0), 0, max(_LEAST_PX - height, 0))
        grey = functional.pad(grey[None], padding, "replicate")[0, 0]
        return _Moving(frame, grey.mul(255).round_().clamp_(0, 255).to("cpu", torch.uint8).numpy())

    def between(self, before: _Moving, after: _Moving, taus: Sequence[float]) -> list[Frame]:
        """Along the flows of the pair."""
        share_opencv(torch.get_num_threads())
        ahead, back = self._flow(before, after), self._flow(after, before)
        return [_along(before.frame, after.frame, ahead, back, tau) for tau in taus]

    def _flow(self, first: _Moving, second: _Moving) -> Float[Tensor, "1 2 h w"]:
        flow: np.ndarray = self._search.calc(first.known, second.known, None)
        height, width = first.frame.shape[-2:]
        return torch.from_numpy(flow[:height, :width]).permute(2, 0, 1)[None]


def _along(
    before: Frame, after: Frame, ahead: Float[Tensor, "1 2 h w"], back: Float[Tensor, "1 2 h w"], tau: float
) -> Frame:
    """The frame at `tau`, of two whose flows there and back are known."""
    return torch.lerp(_warp(before, tau * back), _warp(after, (1 - tau) * ahead), tau)


def _warp(frame: Frame, flow: Float[Tensor, "1 2 h w"]) -> Frame:
    """Read `frame` at x + flow(x) with a cubic kernel of a = -3/4; beyond the edge its pixels repeat."""
    return warp_cubic(frame[None], flow)[0].clamp(0, 1)
