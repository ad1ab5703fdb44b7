"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", 2018).

Residual groups of residual blocks, each block's channels weighed by what their means over the picture say (section
3.3). One frame at a time. Inside, values are in 0..255 with the training set's mean taken off; the authors' files hold
that mean.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import conv
from stinet.peers.parts import SCALE, RivalNet

__all__ = ["Rcan", "RcanConfig"]

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of R, G and B over the authors' training set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RcanConfig:
    """Sizes of the network; the defaults are the authors'."""

    channels: Annotated[int, "feature channels"] = 64
    groups: Annotated[int, "residual groups"] = 10
    blocks: Annotated[int, "residual blocks of a group"] = 20
    reduction: Annotated[int, "channels over those between the two layers of channel attention"] = 16


class Rcan(RivalNet):
    """Frames at 4 times the size, each on its own."""

    reach: int = 0
    mean_off: Float[Tensor, "3"]
    mean_on: Float[Tensor, "3"]

    def __init__(self, config: RcanConfig = RcanConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("mean_off", -255 * torch.tensor(DIV2K_MEAN))
        self.register_buffer("mean_on", 255 * torch.tensor(DIV2K_MEAN))
        self.entry = conv(3, c.channels)
        self.groups = nn.Sequential(*(_Group(c.channels, c.blocks, c.reduction) for _ in range(c.groups)))
        self.joint = conv(c.channels, c.channels)
        self.grow = nn.ModuleList(conv(c.channels, 4 * c.channels) for _ in range(SCALE.bit_length() - 1))
        self.last = conv(c.channels, 3)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 sh sw"]:
        """Enlarge frames in [0, 1]; not clamped."""
        x = 255 * frames.contiguous(memory_format=torch.channels_last) + self.mean_off[:, None, None]
        x = self.entry(x)
        x = x + self.joint(self.groups(x))
        for layer in self.grow:
            x = functional.pixel_shuffle(layer(x), 2)
        return (self.last(x).float() + self.mean_on[:, None, None]) / 255


class _Group(nn.Module):
    """Blocks, a convolution, and the input added."""

    def __init__(self, channels: int, count: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(channels, reduction) for _ in range(count)))
        self.last = conv(channels, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.last(self.blocks(x))


class _Block(nn.Module):
    """Two convolutions, channel attention, and the input added."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels, gain=0.1)
        self.squeeze = conv(channels, channels // reduction, 1)
        self.excite = conv(channels // reduction, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        out = self.second(functional.relu_(self.first(x)))
        means = out.mean(dim=(2, 3), keepdim=True)
        return x + out * self.excite(functional.relu_(self.squeeze(means))).sigmoid()
