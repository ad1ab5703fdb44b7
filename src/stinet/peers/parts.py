"""Parts that several published networks share: EDVR's entry and exit, which Zooming Slow-Mo, TMNet and RSTT took over.

Frames are RGB in [0, 1]; nothing is clamped. Residual blocks have plain ReLUs, other activations a slope of 0.1. Every
network here enlarges by 4.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.config import Times
from stinet.errors import UsageError
from stinet.model.blocks import conv, leaky, residual_blocks, take
from stinet.model.interpolate import Flows
from stinet.model.stinet import Draft, Output
from stinet.model.timeline import Timeline

__all__ = ["SCALE", "Enlarge", "Extract", "RivalClipNet", "RivalNet", "blocks", "enlarged", "pairs_of"]

SCALE = 4


class RivalNet(nn.Module):
    """What is known of every network here."""

    scale: int = SCALE
    reach: int = 1
    """Source frames of context on either side that an output frame needs."""
    config: Any
    """Its settings, a frozen dataclass."""


class RivalClipNet(RivalNet):
    """One that takes whole clips: flows play no part, stamps go to the line."""

    title: str
    """What messages call it."""

    @property
    def any_time(self) -> bool:
        """Whether it makes frames at other times than 0.5."""
        return False

    def forward(
        self,
        frames: Float[Tensor, "b t 3 h w"],
        times: Times = (0.5,),
        flows: Flows | None = None,
        stamps: Sequence[float] | None = None,
    ) -> Output:
        """All given frames and the ones at `times`, in order.

        Raises:
            UsageError: a time outside (0, 1), or another than 0.5 where the network makes no other.

        """
        del flows
        line = Timeline.of(frames.shape[1], times, stamps)
        if not self.any_time:
            _refuse_other_times(line, self.title)
        return Output(Draft(None, None), self.made(frames, line))

    def made(self, frames: Float[Tensor, "b t 3 h w"], line: Timeline) -> Float[Tensor, "b u 3 sh sw"]:
        """The frames of `line`, not clamped."""
        raise NotImplementedError


def blocks(channels: int, count: int) -> nn.Sequential:
    """Residual blocks with ReLUs."""
    return residual_blocks(channels, count, slope=0.0)


class Extract(nn.Module):
    """A convolution and residual blocks: what is done once for every frame."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.entry = conv(3, channels)
        self.blocks = blocks(channels, count)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Features at the frames' own size."""
        return self.blocks(leaky(self.entry(frames.contiguous(memory_format=torch.channels_last))))


class Enlarge(nn.Module):
    """Two doublings by PixelShuffle and two convolutions; from the second doubling on there are `inner` channels."""

    def __init__(self, channels: int, inner: int = 64) -> None:
        super().__init__()
        self.first = conv(channels, 4 * channels)
        self.second = conv(channels, 4 * inner)
        self.mix = conv(inner, inner)
        self.last = conv(inner, 3)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 sh sw"]:
        """Frames at 4 times the size."""
        x = leaky(functional.pixel_shuffle(self.first(x), 2))
        x = leaky(functional.pixel_shuffle(self.second(x), 2))
        return self.last(leaky(self.mix(x)))


def pairs_of(levels: Sequence[Tensor], batch: int, line: Timeline) -> list[list[Tensor]]:
    """The levels of a pyramid before every in-between frame of `line`, and those after it."""
    left = [interval for interval, _ in line.between]
    return [[take(level, batch, [i + after for i in left]) for level in levels] for after in (0, 1)]


def enlarged(net: Callable[[Tensor], Tensor], x: Float[Tensor, "n c _ _"]) -> Float[Tensor, "n 3 sh sw"]:
    """What `net` makes of `x`, frame by frame where no gradient is wanted: large features fill the memory."""
    if torch.is_grad_enabled():
        return net(x).float()
    return torch.cat([net(frame).float() for frame in x.split(1)])


def _refuse_other_times(line: Timeline, name: str) -> None:
    """Raise where an in-between frame is due at another time than 0.5.

    Raises:
        UsageError: there is one.

    """
    if other := [at for _, at in line.between if abs(at - 0.5) > 1e-6]:
        raise UsageError(f"{name} makes only the frame in the middle of two, at 0.5; {other[0]:g} was asked for")
