"""Bicubic resampling as MATLAB's `imresize` does it: the one definition of "low resolution" in this project.

Output pixel i (from 0) of a side scaled by s reads around u = (i + 1/2)/s - 1/2 with the cubic kernel of a = -1/2
(Keys); when the side shrinks, the kernel is stretched by 1/s, which is the antialiasing. The weights of an output
pixel sum to 1. Beyond the edge the image is mirrored with its edge pixel repeated. The two sides are independent: two
banded matrices, applied in blocks of rows so that their zeros cost little (half the time of whole matrices at
180x144 x4).

Two roads lead to 8-bit low resolution. The default computes on floats and rounds once at the end:
`quantize(downsample(x))`. `downsample_uint8` computes on 8-bit values and rounds after the first direction (height),
too, as MATLAB does when given a uint8 image.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["add_resized", "crop_to_multiple", "downsample", "downsample_uint8", "quantize", "resize", "upsample"]

BLOCK = 32
"""Output pixels of a side that are computed by one dense block of its matrix."""


class _Band(NamedTuple):
    """Weights of some neighbouring output pixels and the span of input pixels that they read."""

    weights: Float[Tensor, "outputs inputs"]
    start: int
    stop: int


def resize(
    image: Float[Tensor, "b c h w"], size: tuple[int, int], *, antialias: bool = True
) -> Float[Tensor, "b c oh ow"]:
    """Resize to (height, width), each by any ratio. Differentiable.

    Not clamped: a cubic kernel overshoots at edges by up to a tenth. Half-precision images are computed in float32,
    under autocast too, and returned in their own precision.
    """
    dtype = torch.promote_types(image.dtype, torch.float32)
    (height, width), device = image.shape[-2:], image.device
    with torch.autocast(device.type, enabled=False):
        down = _bands(height, size[0], dtype, device, antialias=antialias)
        across = _bands(width, size[1], dtype, device, antialias=antialias)
        resized = image.to(dtype)
        if size[0] * width < height * size[1]:  # the side that shrinks first leaves less to do
            resized = _across_rows(_down_columns(resized, down), across)
        else:
            resized = _down_columns(_across_rows(resized, across), down)
        return resized.to(image.dtype)


def downsample(image: Float[Tensor, "b c sh sw"], factor: int) -> Float[Tensor, "b c h w"]:
    """Our low resolution: crop to a multiple of `factor` (at the right and below), then shrink with antialiasing.

    Neither clamped nor rounded: `quantize` does both for pictures in [0, 1].
    """
    image = crop_to_multiple(image, factor)
    return resize(image, (image.shape[-2] // factor, image.shape[-1] // factor))


def upsample(image: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c sh sw"]:
    """Enlarge both sides by `factor`. Not clamped."""
    return resize(image, (image.shape[-2] * factor, image.shape[-1] * factor))


def add_resized(pixels: Float[Tensor, "sh sw c"], image: Float[Tensor, "c h w"]) -> None:
    """Add an image, resized, to pixels whose colours lie innermost, in place. Passes no gradient."""
    height, width, channels = pixels.shape
    across = _bands(image.shape[-1], width, pixels.dtype, pixels.device, antialias=True)
    wide = _across_rows(image.to(pixels.dtype), across).permute(1, 2, 0).reshape(-1, width * channels)
    lines = pixels.view(height, width * channels)
    start = 0
    for band in _bands(image.shape[-2], height, pixels.dtype, pixels.device, antialias=True):
        lines[start : start + len(band.weights)].addmm_(band.weights, wide[band.start : band.stop])
        start += len(band.weights)


def quantize(image: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Clamp to [0, 1] and round half up to the values k/255 that 8 bits hold. Passes no gradient."""
    return torch.floor(image.detach().clamp(0, 1) * 255 + 0.5) / 255


def downsample_uint8(image: UInt8[Tensor, "b c sh sw"], factor: int) -> UInt8[Tensor, "b c h w"]:
    """MATLAB's road for uint8: rounded half up and clipped to 0..255 after the height and again after the width."""
    image = crop_to_multiple(image, factor)
    height, width = image.shape[-2:]
    down = _bands(height, height // factor, torch.float64, image.device, antialias=True)
    across = _bands(width, width // factor, torch.float64, image.device, antialias=True)
    shorter = torch.floor(_down_columns(image.double(), down) + 0.5).clamp(0, 255)
    return torch.floor(_across_rows(shorter, across) + 0.5).clamp(0, 255).to(torch.uint8)


def crop_to_multiple(image: Tensor, factor: int) -> Tensor:
    """Drop the last rows and columns so that `factor` divides both sides."""
    height, width = image.shape[-2:]
    return image[..., : height - height % factor, : width - width % factor]


def _down_columns(image: Tensor, bands: tuple[_Band, ...]) -> Tensor:
    image = image.contiguous()
    return torch.cat([band.weights @ image[..., band.start : band.stop, :] for band in bands], dim=-2)


def _across_rows(image: Tensor, bands: tuple[_Band, ...]) -> Tensor:
    image = image.contiguous()
    return torch.cat([image[..., band.start : band.stop] @ band.weights.T for band in bands], dim=-1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a kept tensor must serve a later call with gradients, too
def _bands(source: int, target: int, dtype: torch.dtype, device: torch.device, *, antialias: bool) -> tuple[_Band, ...]:
    """The matrix of one side, target x source, cut into bands of rows without the columns that are all zero."""
    scale = target / source
    shrink = min(scale, 1.0) if antialias else 1.0
    bands = []
    for first in range(0, target, BLOCK):
        pixel = torch.arange(first, min(first + BLOCK, target), dtype=torch.float64, device="cpu")
        centre = (pixel + 0.5) / scale - 0.5
        taps = torch.arange(math.ceil(4 / shrink) + 2, dtype=torch.float64, device="cpu")
        position = torch.floor(centre - 2 / shrink)[:, None] + taps
        weight = _cubic((centre[:, None] - position) * shrink)
        weight = weight / weight.sum(dim=1, keepdim=True)
        mirrored = position.long() % (2 * source)
        mirrored = torch.where(mirrored < source, mirrored, 2 * source - 1 - mirrored)
        read = mirrored[weight != 0]
        start, stop = int(read.min()), int(read.max()) + 1
        dense = torch.zeros(len(pixel), source, dtype=torch.float64, device="cpu").scatter_add_(1, mirrored, weight)
        bands.append(_Band(dense[:, start:stop].to(dtype=dtype, device=device).contiguous(), start, stop))
    return tuple(bands)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2."""
    x = x.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, inner, torch.where(x <= 2, outer, 0.0))
