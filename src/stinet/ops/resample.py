"""Bicubic resampling as MATLAB's `imresize` does it: the one definition of "low resolution" in this project.

Output pixel i (from 0) of a side scaled by s reads around u = (i + 1/2)/s - 1/2 with the cubic kernel of a = -1/2 (Keys);
when the side shrinks, the kernel is stretched by 1/s, which is the antialiasing. Weights of one output pixel sum to 1. Beyond
the edge the image is mirrored with its edge pixel repeated. Both sides are independent: two small matrices.

Two roads lead to 8-bit low resolution. The default one computes on floats and rounds once at the end (`quantize(downsample(...))`).
`downsample_uint8` computes on 8-bit values and rounds after the first direction (height), too, as MATLAB does when it is given
a uint8 image.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["crop_to_multiple", "downsample", "downsample_uint8", "quantize", "resize", "upsample"]


def resize(
    image: Float[Tensor, "b c h w"], size: tuple[int, int], *, antialias: bool = True
) -> Float[Tensor, "b c oh ow"]:
    """Resize to (height, width) of any ratio. Not clamped: the cubic kernel overshoots at edges by up to a tenth.

    Half-precision images are computed in float32 and returned in their own precision; autocast does not change that.
    """
    dtype = torch.promote_types(image.dtype, torch.float32)
    with torch.autocast(image.device.type, enabled=False):
        down = _matrix(image.shape[-2], size[0], antialias, dtype, image.device)
        across = _matrix(image.shape[-1], size[1], antialias, dtype, image.device)
        return (down @ image.to(dtype) @ across.T).to(image.dtype)


def downsample(image: Float[Tensor, "b c sh sw"], factor: int) -> Float[Tensor, "b c h w"]:
    """Our low resolution: crop to a multiple of `factor` (right and below), then shrink with antialiasing.

    The result is neither clamped nor rounded: `quantize` does both for pictures in [0, 1].
    """
    image = crop_to_multiple(image, factor)
    return resize(image, (image.shape[-2] // factor, image.shape[-1] // factor))


def upsample(image: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c sh sw"]:
    """Enlarge both sides by `factor`. Not clamped."""
    return resize(image, (image.shape[-2] * factor, image.shape[-1] * factor))


def quantize(image: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Clamp to [0, 1] and round half up to the 256 values that 8 bits hold, k/255; stays a float tensor, without gradient."""
    return torch.floor(image.detach().clamp(0, 1) * 255 + 0.5) / 255


def downsample_uint8(image: UInt8[Tensor, "b c sh sw"], factor: int) -> UInt8[Tensor, "b c h w"]:
    """MATLAB's road for uint8 images: rounded half up and clipped to 0..255 after the height and again after the width."""
    image = crop_to_multiple(image, factor)
    height, width = image.shape[-2:]
    down = _matrix(height, height // factor, True, torch.float64, image.device)
    across = _matrix(width, width // factor, True, torch.float64, image.device)
    shorter = torch.floor(down @ image.double() + 0.5).clamp(0, 255)
    return torch.floor(shorter @ across.T + 0.5).clamp(0, 255).to(torch.uint8)


def crop_to_multiple(image: Tensor, factor: int) -> Tensor:
    """Drop the last rows and columns so that `factor` divides both sides."""
    height, width = image.shape[-2:]
    return image[..., : height - height % factor, : width - width % factor]


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2."""
    x = x.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, inner, torch.where(x <= 2, outer, torch.zeros_like(x)))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a cached tensor must also serve a later call that needs gradients
def _matrix(source: int, target: int, antialias: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights of one side, target x source, built in float64."""
    scale = target / source
    shrink = min(scale, 1.0) if antialias else 1.0
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = math.ceil(4 / shrink) + 2
    position = torch.floor(centre - 2 / shrink)[:, None] + torch.arange(taps, dtype=torch.float64)
    weight = _cubic((centre[:, None] - position) * shrink)
    weight = weight / weight.sum(dim=1, keepdim=True)
    mirrored = position.long() % (2 * source)
    mirrored = torch.where(mirrored < source, mirrored, 2 * source - 1 - mirrored)
    matrix = torch.zeros(target, source, dtype=torch.float64).scatter_add_(1, mirrored, weight)
    return matrix.to(dtype=dtype, device=device)
