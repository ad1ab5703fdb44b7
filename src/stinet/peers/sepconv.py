r"""SepConv (Niklaus et al., "Video Frame Interpolation via Adaptive Separable Convolution", 2017).

The frame in the middle of two is read from both through kernels of 51x51 that are a column times a row, of every pixel
its own (section 3):

    I(y, x) = sum over both frames k and over i, j of  v_k(y, x)[i]  h_k(y, x)[j]  I_k(y + i - 25, x + j - 25)

Beyond the edge the nearest pixel is read. Its authors trained it on B, G, R; here frames are R, G, B and turned on
entry. Sides are filled up to multiples of 32 at the right and the bottom (five halvings; the authors fill up to 128).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stinet.errors import ConfigError
from stinet.model.blocks import conv
from stinet.peers.parts import RivalNet

__all__ = ["SepConv", "SepConvConfig", "separable_sum"]

WIDTHS = (32, 64, 128, 256, 512)
DEEPEST = 2 ** len(WIDTHS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SepConvConfig:
    """Sizes of the network; the defaults are the authors'."""

    taps: Annotated[int, "side of a kernel, odd"] = 51
    widths: Annotated[tuple[int, ...], "channels at full size, and after every halving"] = WIDTHS

    def __post_init__(self) -> None:
        """Refuse a kernel without a centre, and a network of another depth."""
        if self.taps < 1 or self.taps % 2 == 0 or len(self.widths) != len(WIDTHS):
            raise ConfigError(f"{self.taps} taps and {len(self.widths)} widths: use an odd number and {len(WIDTHS)}")


class SepConv(RivalNet):
    """The frame in the middle of two."""

    scale: int = 1
    reach: int = 0

    def __init__(self, config: SepConvConfig = SepConvConfig()) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.down = nn.ModuleList(_Three(a, b) for a, b in zip((6, *widths[:-1]), widths, strict=True))
        deep = (widths[-1], *widths[:0:-1])
        self.up = nn.ModuleList(_Three(a, b) for a, b in pairwise(deep))
        self.grow = nn.ModuleList(conv(b, b) for b in deep[1:])
        self.kernels = nn.ModuleList(_Kernel(widths[1], config.taps) for _ in range(4))
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] (missing in the stubs)

    def forward(self, before: Float[Tensor, "n 3 h w"], after: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The frame in the middle, of frames in [0, 1]; not clamped."""
        height, width = before.shape[-2:]
        filled = [
            functional.pad(x, (0, -width % DEEPEST, 0, -height % DEEPEST), mode="replicate") for x in (before, after)
        ]
        x = torch.cat([frame.flip(1) for frame in filled], dim=1).contiguous(memory_format=torch.channels_last)
        seen = []
        for down in self.down:
            seen.append(down(x))
            x = functional.avg_pool2d(seen[-1], 2)
        for up, grow in zip(self.up, self.grow, strict=True):
            x = functional.relu_(grow(_doubled(up(x)))) + seen.pop()
        columns, rows = [self.kernels[i](x) for i in (0, 1)], [self.kernels[i](x) for i in (2, 3)]
        made = [separable_sum(*part) for part in zip(filled, columns, rows, strict=True)]
        return (made[0] + made[1])[..., :height, :width]


class _Three(nn.Module):
    """Three convolutions, each with a ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(inputs, outputs), conv(outputs, outputs), conv(outputs, outputs)])

    def forward(self, x: Float[Tensor, "n _ h w"]) -> Float[Tensor, "n c h w"]:
        for layer in self.layers:
            x = functional.relu_(layer(x))
        return x


class _Kernel(nn.Module):
    """A column or a row for every pixel, of features at half the size."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        widths = (channels, channels, channels)
        self.layers = nn.ModuleList([*(conv(channels, width) for width in widths[:2]), conv(channels, taps)])
        self.last = conv(taps, taps)

    def forward(self, x: Float[Tensor, "n c hh hw"]) -> Float[Tensor, "n k h w"]:
        for layer in self.layers:
            x = functional.relu_(layer(x))
        return self.last(_doubled(x))


def separable_sum(
    frame: Float[Tensor, "n c h w"], column: Float[Tensor, "n k h w"], row: Float[Tensor, "n k h w"]
) -> Float[Tensor, "n c h w"]:
    """Every pixel's own kernel, its column times its row, on what lies around it; line by line, for memory's sake."""
    taps = column.shape[1]
    around = functional.pad(frame.to(column.dtype), [taps // 2] * 4, mode="replicate")
    lines = []
    for y in range(frame.shape[2]):
        seen = around[:, :, y : y + taps].unfold(3, taps, 1)  # n c k w j
        across = torch.einsum("nckwj,njw->nckw", seen, row[:, :, y])
        lines.append(torch.einsum("nckw,nkw->ncw", across, column[:, :, y]))
    return torch.stack(lines, dim=2)


def _doubled(x: Float[Tensor, "n c hh hw"]) -> Float[Tensor, "n c h w"]:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
