r"""PSNR and SSIM on the Y channel, as papers on video super-resolution measure them, and on RGB.

    Y = (65.481 R + 128.553 G + 24.966 B) / 255 + 16        R, G, B in 0..255, rounded to 8 bit first; Y is not rounded
    PSNR = 10 log10(255^2 / mean((Y_a - Y_b)^2))
    SSIM = mean over x of (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2))

Means m and (co)variances s are weighted by a Gaussian of 11x11 pixels, sigma 1.5, and taken only where that
window lies inside the frame; C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2 (Wang et al. 2004, single scale). No
border is cropped. All in float64.

On RGB the error is averaged over pixels and channels, and SSIM is the mean of the three channels' own.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from stinet.errors import UsageError

__all__ = ["PEAK", "PSNR_CAP_DB", "levels", "luma", "psnr", "rgb_psnr", "rgb_ssim", "ssim"]

PEAK = 255.0
PSNR_CAP_DB = 100.0
"""What identical frames (infinite PSNR) count as in a mean."""

_WINDOW_PX = 11
_SIGMA_PX = 1.5
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_BLOCK_PX = 16


def levels(rgb: Float[Tensor, "*b 3 sh sw"]) -> Float64[Tensor, "*b 3 sh sw"]:
    """Frames in [0, 1] as the levels 0..255 of 8 bit: clamped and rounded half up."""
    return torch.floor(rgb.double().clamp(0, 1) * 255 + 0.5)


def luma(rgb: Float[Tensor, "*b 3 sh sw"]) -> Float64[Tensor, "*b sh sw"]:
    """Y (16..235) of frames in [0, 1], which are clamped and rounded half up to 8 bit first."""
    red, green, blue = levels(rgb).unbind(-3)
    return (65.481 * red + 128.553 * green + 24.966 * blue) / 255 + 16


def psnr(a: Float64[Tensor, "*b sh sw"], b: Float64[Tensor, "*b sh sw"]) -> Float64[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB of every frame of `a` against `b`, both Y; infinite where they are identical."""
    return 10 * torch.log10(PEAK**2 / (a - b).square().mean((-2, -1)))


def ssim(a: Float64[Tensor, "*b sh sw"], b: Float64[Tensor, "*b sh sw"]) -> Float64[Tensor, "*b"]:
    """Structural similarity of every frame of `a` with `b`, both Y; 1 where they are identical.

    Raises:
        UsageError: a side shorter than the window of 11 pixels.

    """
    height, width = a.shape[-2:]
    if min(height, width) < _WINDOW_PX:
        raise UsageError(f"SSIM needs frames of at least {_WINDOW_PX} px a side; these are {width}x{height}")
    mean_a, mean_b, mean_square, mean_product = (_smooth(field) for field in (a, b, a * a + b * b, a * b))
    product = mean_a * mean_b
    square = mean_a * mean_a + mean_b * mean_b
    structure = (2 * (mean_product - product) + _C2) / (mean_square - square + _C2)
    return ((2 * product + _C1) / (square + _C1) * structure).mean((-2, -1))


def rgb_psnr(a: Float64[Tensor, "*b 3 sh sw"], b: Float64[Tensor, "*b 3 sh sw"]) -> Float64[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB over all channels, both in `levels`; infinite where frames are identical."""
    return psnr(a.flatten(-3, -2), b.flatten(-3, -2))


def rgb_ssim(a: Float64[Tensor, "*b 3 sh sw"], b: Float64[Tensor, "*b 3 sh sw"]) -> Float64[Tensor, "*b"]:
    """Structural similarity, the mean of the three channels, both in `levels`.

    Raises:
        UsageError: a side shorter than the window of 11 pixels.

    """
    return ssim(a, b).mean(-1)


def _smooth(field: Tensor) -> Tensor:
    """Gaussian mean where the whole window is inside: h w -> h - 10, w - 10."""
    return _smooth_last(_smooth_last(field).mT).mT


def _smooth_last(field: Tensor) -> Tensor:
    """Smooth the last axis, in blocks of outputs that are one small matrix product each (far faster than 11 passes)."""
    length = field.shape[-1] - _WINDOW_PX + 1
    blocks = -(-length // _BLOCK_PX)
    needed = blocks * _BLOCK_PX + _WINDOW_PX - 1
    padded = torch.nn.functional.pad(field, (0, needed - field.shape[-1]))
    pieces = padded.unfold(-1, _BLOCK_PX + _WINDOW_PX - 1, _BLOCK_PX)
    return (pieces @ _band(field)).flatten(-2)[..., :length]


def _band(like: Tensor) -> Tensor:
    """The matrix that takes a piece of inputs to its block of weighted means."""
    offset = torch.arange(_WINDOW_PX, dtype=like.dtype, device=like.device) - _WINDOW_PX // 2
    weight = torch.exp(-0.5 * (offset / _SIGMA_PX) ** 2)
    weight = weight / weight.sum()
    band = like.new_zeros(_BLOCK_PX + _WINDOW_PX - 1, _BLOCK_PX)
    for output in range(_BLOCK_PX):
        band[output : output + _WINDOW_PX, output] = weight
    return band
