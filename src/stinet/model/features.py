"""Phase 1, S-SR: low- and high-resolution features of every given frame (paper, section III-A).

`Dbpn` is the back-projection network that the paper takes: stages that go up to the HR grid and back down, each
correcting the error of the one before; H is a 3x3 convolution of all up-projections, L a residual block and a strided
convolution of H. `Compact` makes L with residual blocks on the LR grid and H from L with residual blocks of its own;
H is folded (c channels on the LR grid that reconstruction unfolds) or native (on the HR grid).

Frames in are RGB in [0, 1]. Either branch may be absent (Table I); then nothing of it is computed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.model.blocks import ResidualBlock, conv, downscale_conv, leaky, quieten, residual_blocks, upscale_conv

__all__ = ["Compact", "Dbpn"]


class Compact(nn.Module):
    """L by residual blocks at LR; H from L by residual blocks on the folded or the native grid."""

    def __init__(
        self, *, channels: int, low_blocks: int, high_blocks: int, up: int, has_low: bool, has_high: bool
    ) -> None:
        """`up` is the factor from L's grid to H's: 1 when folded, the network's scale when native."""
        super().__init__()
        self.has_low = has_low
        self.up = up
        self.head = conv(3, channels)
        self.low = residual_blocks(channels, low_blocks)
        self.lift = conv(channels, channels * up * up) if has_high else None
        self.high = residual_blocks(channels, high_blocks) if has_high else None

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor | None, Tensor | None]:
        """L and H of every frame (RGB in [0, 1]); None for a branch that is not there."""
        low = self.low(leaky(self.head(frames)))
        if self.lift is None or self.high is None:
            return low, None
        high = self.high(leaky(functional.pixel_shuffle(self.lift(low), self.up) if self.up > 1 else self.lift(low)))
        return (low if self.has_low else None), high


class Dbpn(nn.Module):
    """Dense deep back-projection: `stages` up-projections and one less down-projections."""

    def __init__(self, *, channels: int, stages: int, scale: int, has_low: bool, has_high: bool) -> None:
        super().__init__()
        self.has_high = has_high
        self.head = nn.Sequential(conv(3, 4 * channels), nn.PReLU(), conv(4 * channels, channels, 1), nn.PReLU())
        self.ups = nn.ModuleList(
            _Projection(channels, scale, upward=True, inputs=max(stage, 1)) for stage in range(stages)
        )
        self.downs = nn.ModuleList(
            _Projection(channels, scale, upward=False, inputs=stage + 1) for stage in range(stages - 1)
        )
        self.high = conv(stages * channels, channels)
        self.low = (
            nn.Sequential(ResidualBlock(channels), downscale_conv(channels, channels, scale)) if has_low else None
        )

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> tuple[Tensor | None, Tensor | None]:
        """L and H of every frame (RGB in [0, 1]); None for a branch that is not there."""
        low_maps: list[Tensor] = []
        high_maps: list[Tensor] = []
        entry = self.head(frames)
        for stage, up in enumerate(self.ups):
            high_maps.append(up([entry] if stage == 0 else low_maps))
            if stage < len(self.downs):
                low_maps.append(self.downs[stage](high_maps))
        high = self.high(torch.cat(high_maps, dim=1))
        low = None if self.low is None else self.low(high)
        return low, (high if self.has_high else None)


class _Projection(nn.Module):
    """One back-projection: project, project back, and add the projected error."""

    def __init__(self, channels: int, scale: int, *, upward: bool, inputs: int) -> None:
        super().__init__()
        there, back = (upscale_conv, downscale_conv) if upward else (downscale_conv, upscale_conv)
        self.merge = nn.Sequential(conv(inputs * channels, channels, 1), nn.PReLU()) if inputs > 1 else nn.Identity()
        self.project = nn.Sequential(there(channels, channels, scale), nn.PReLU())
        self.back = nn.Sequential(back(channels, channels, scale), nn.PReLU())
        self.correct = nn.Sequential(there(channels, channels, scale), nn.PReLU())
        quieten(self.correct)  # nine projections one after the other: each starts near a plain one

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.merge(torch.cat(maps, dim=1) if len(maps) > 1 else maps[0])
        projected = self.project(x)
        return projected + self.correct(self.back(projected) - x)
