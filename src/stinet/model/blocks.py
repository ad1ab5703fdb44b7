"""The small parts that every phase is built from.

Features are (n c h w), n = batch times frames, in channels_last order. Convolutions start from Kaiming's normal
initialisation (paper, section IV-B); the last convolution of a residual branch is scaled down by ten so that a deep
network starts near the identity.

This file knows nothing of the phases and reads no settings: blocks take plain numbers.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "SLOPE",
    "ResidualBlock",
    "conv",
    "downscale_conv",
    "join_times",
    "leaky",
    "put",
    "quieten",
    "residual_blocks",
    "take",
    "upscale_conv",
]

SLOPE = 0.1
"""Negative slope of every leaky ReLU."""


def conv(inputs: int, outputs: int, kernel: int = 3, *, gain: float = 1.0, stride: int = 1) -> nn.Conv2d:
    """Convolve at the same size (divided by `stride`), Kaiming-initialised, scaled by `gain` (0 starts from zero)."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, stride=stride)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    with torch.no_grad():
        layer.weight.mul_(gain)
    nn.init.zeros_(_bias(layer))
    return layer


def upscale_conv(inputs: int, outputs: int, scale: int) -> nn.ConvTranspose2d:
    """Enlarge by `scale` with a transposed convolution of kernel 2 * scale (8, stride 4, padding 2 at scale 4)."""
    layer = nn.ConvTranspose2d(inputs, outputs, 2 * scale, stride=scale, padding=scale // 2)
    # every output pixel is reached by 2 x 2 taps of each input channel
    nn.init.normal_(layer.weight, std=(2 / (4 * inputs)) ** 0.5)
    nn.init.zeros_(_bias(layer))
    return layer


def downscale_conv(inputs: int, outputs: int, scale: int) -> nn.Conv2d:
    """Shrink by `scale` with a strided convolution of kernel 2 * scale."""
    layer = nn.Conv2d(inputs, outputs, 2 * scale, stride=scale, padding=scale // 2)
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    nn.init.zeros_(_bias(layer))
    return layer


def quieten(module: nn.Module, gain: float = 0.1) -> None:
    """Scale the weights (not the biases) of every layer in `module` down: it then adds little at the start."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and parameter.dim() > 1:
                parameter.mul_(gain)


def leaky(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Leaky ReLU in place: `x` must be the fresh output of a convolution."""
    return functional.leaky_relu_(x, SLOPE)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), without normalisation; a `slope` of 0 makes act a ReLU."""

    def __init__(self, channels: int, slope: float = SLOPE) -> None:
        super().__init__()
        self.slope = slope
        self.first = conv(channels, channels)
        self.second = conv(channels, channels, gain=0.1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Refine `x`; same shape."""
        return self.second(functional.leaky_relu_(self.first(x), self.slope)).add_(x)


def residual_blocks(channels: int, count: int, slope: float = SLOPE) -> nn.Sequential:
    """`count` residual blocks one after the other; none is the identity."""
    return nn.Sequential(*(ResidualBlock(channels, slope) for _ in range(count)))


def take(x: Float[Tensor, "bt c h w"], batch: int, index: Sequence[int]) -> Float[Tensor, "bu c h w"]:
    """Frames `index` of every clip of a batch, (b t) c h w -> (b u) c h w, kept in channels_last order."""
    count = x.shape[0] // batch
    if list(index) == list(range(count)):
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(0, (batch, count))
    picked = rows.index_select(1, torch.tensor(index, dtype=torch.long, device=x.device))
    return picked.flatten(0, 1).permute(0, 3, 1, 2)


def put(
    x: Float[Tensor, "bt c h w"], made: Float[Tensor, "bk c h w"], index: Sequence[int]
) -> Float[Tensor, "bt c h w"]:
    """Other frames `index` for every clip of a batch; the reverse of `take`."""
    batch = made.shape[0] // len(index)
    if made.shape[0] == x.shape[0]:
        return made
    rows = x.permute(0, 2, 3, 1).unflatten(0, (batch, -1)).to(made.dtype)
    other = made.permute(0, 2, 3, 1).unflatten(0, (batch, -1))
    places = torch.tensor(index, dtype=torch.long, device=x.device)
    return rows.index_copy(1, places, other).flatten(0, 1).permute(0, 3, 1, 2)


def join_times(
    given: Float[Tensor, "bt c h w"], between: Float[Tensor, "bm c h w"], batch: int, order: Sequence[int]
) -> Float[Tensor, "bu c h w"]:
    """Put given and in-between frames in order of time: `order` indexes into [given frames, in-between frames]."""
    if between.shape[0] == 0:
        return given
    rows = torch.cat(
        [part.permute(0, 2, 3, 1).unflatten(0, (batch, part.shape[0] // batch)) for part in (given, between)], dim=1
    )
    picked = rows.index_select(1, torch.tensor(order, dtype=torch.long, device=given.device))
    return picked.flatten(0, 1).permute(0, 3, 1, 2)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
