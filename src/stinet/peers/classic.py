"""Pipelines without a network, as clip functions: what a space-time network must beat.

    blend+bicubic    in-between frames are the time-weighted blend of their neighbours; then everything is enlarged
    flow+bicubic     in-between frames are blended after both neighbours are warped by Farneback flows; then enlarged
    bicubic+flow     frames are enlarged first, then interpolated the same way at full size

Flows between neighbours are adapted to time tau of the interval by Eq. (1) of the paper (linear motion):

    F(t' -> before) = tau * F(after -> before),        F(t' -> after) = (1 - tau) * F(before -> after)

and both warped neighbours are blended with weights 1 - tau and tau. Frames are read with a cubic kernel: a
bilinear one blurs small frames so much that a plain blend is better (Vid4: 23.28 dB against 23.44). Flows are
computed on whole frames, in `context`; a tile is the crop of what the whole frame gives.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import ClipFunction, Tile
from stinet.ops.farneback import expand, flow_between
from stinet.ops.resample import upsample
from stinet.ops.warp import warp_cubic

__all__ = ["PEERS", "BicubicThenFlow", "BlendThenBicubic", "FlowThenBicubic"]

_KERNEL_PX = 3
"""Source pixels beyond a tile that its bicubic enlargement reads, and one to spare."""

Frames = Float[Tensor, "u 3 h w"]
Large = Float[Tensor, "u 3 sh sw"]


@dataclass
class BlendThenBicubic:
    """The cross-fade of small neighbours, enlarged by bicubic."""

    scale: int = 4
    reach: int = 1

    def prepare(self, frame: Float[Tensor, "3 h w"]) -> Tensor:
        """Nothing to do: the frame itself."""
        return frame

    def context(self, states: Sequence[Tensor], times: Sequence[Sequence[float]]) -> None:
        """Nothing to know."""

    def run(
        self, states: Sequence[Tensor], times: Sequence[Sequence[float]], nodes: None, tile: Tile | None = None
    ) -> Large:
        """Blend, then enlarge."""
        del nodes
        return _enlarge(
            _in_order(states, times, lambda i, tau: torch.lerp(states[i], states[i + 1], tau)), self.scale, tile
        )


@dataclass
class _Moving:
    """A frame and what Farneback's method keeps of it."""

    frame: Float[Tensor, "3 h w"]
    expansion: Any


@dataclass
class _ByFlow:
    """What both orders share: flows between whole neighbours, and the frames between two warped ones."""

    scale: int = 4
    reach: int = 1

    def context(self, states: Sequence[_Moving], times: Sequence[Sequence[float]]) -> list[tuple[Tensor, Tensor]]:
        """Flows of every interval: ahead (before -> after) and back."""
        del times
        pairs = itertools.pairwise(states)
        return [(flow_between(a.expansion, b.expansion), flow_between(b.expansion, a.expansion)) for a, b in pairs]

    def _interpolate(self, states: Sequence[_Moving], times: Sequence[Sequence[float]], nodes: Any) -> Frames:
        def between(i: int, tau: float) -> Tensor:
            ahead, back = nodes[i]
            before = _warp(states[i].frame, tau * back)
            after = _warp(states[i + 1].frame, (1 - tau) * ahead)
            return torch.lerp(before, after, tau)

        return _in_order([state.frame for state in states], times, between)


@dataclass
class FlowThenBicubic(_ByFlow):
    """Farneback's flow between small frames, then bicubic."""

    def prepare(self, frame: Float[Tensor, "3 h w"]) -> _Moving:
        """Expand the small frame."""
        return _Moving(frame, expand(frame[None]))

    def run(
        self, states: Sequence[_Moving], times: Sequence[Sequence[float]], nodes: Any, tile: Tile | None = None
    ) -> Large:
        """Interpolate, then enlarge."""
        return _enlarge(self._interpolate(states, times, nodes), self.scale, tile)


@dataclass
class BicubicThenFlow(_ByFlow):
    """Bicubic, then Farneback's flow between large frames: better and some 16 times as much work."""

    def prepare(self, frame: Float[Tensor, "3 h w"]) -> _Moving:
        """Enlarge the frame, then expand it."""
        large = _enlarge(frame[None], self.scale, None)
        return _Moving(large[0], expand(large))

    def run(
        self, states: Sequence[_Moving], times: Sequence[Sequence[float]], nodes: Any, tile: Tile | None = None
    ) -> Large:
        """Interpolate the large frames."""
        whole = self._interpolate(states, times, nodes)
        if tile is None:
            return whole
        s = self.scale
        return whole[..., tile.top * s : tile.bottom * s, tile.left * s : tile.right * s]


PEERS: Mapping[str, Callable[[int], ClipFunction]] = {
    "blend+bicubic": BlendThenBicubic,
    "flow+bicubic": FlowThenBicubic,
    "bicubic+flow": BicubicThenFlow,
}
"""Name -> what makes the clip function for a scale."""


def _in_order(
    frames: Sequence[Tensor], times: Sequence[Sequence[float]], between: Callable[[int, float], Tensor]
) -> Frames:
    """Every frame in order of time; `between(i, tau)` makes the one at tau of interval i."""
    ordered: list[Tensor] = []
    for i, frame in enumerate(frames):
        ordered.append(frame)
        if i < len(frames) - 1:
            ordered += [between(i, tau) for tau in times[i]]
    return torch.stack(ordered)


def _warp(frame: Float[Tensor, "3 h w"], flow: Float[Tensor, "1 2 h w"]) -> Float[Tensor, "3 h w"]:
    """Read `frame` at x + flow(x) with a cubic kernel of a = -3/4; beyond the edge its pixels repeat."""
    return warp_cubic(frame[None], flow)[0].clamp(0, 1)


def _enlarge(frames: Frames, scale: int, tile: Tile | None) -> Large:
    """Bicubic enlargement in [0, 1]; of a tile, with the pixels around it that it needs."""
    if tile is None:
        return upsample(frames, scale).clamp_(0, 1)
    top, left = max(tile.top - _KERNEL_PX, 0), max(tile.left - _KERNEL_PX, 0)
    large = upsample(frames[..., top : tile.bottom + _KERNEL_PX, left : tile.right + _KERNEL_PX], scale).clamp_(0, 1)
    down, right = (tile.top - top) * scale, (tile.left - left) * scale
    return large[..., down : down + tile.height * scale, right : right + tile.width * scale]
