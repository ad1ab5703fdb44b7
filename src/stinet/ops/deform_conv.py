r"""Modulated deformable convolution (DCNv2): every tap of the kernel reads at a place and with a weight of its own.

    y(p) = sum_k  W_k . sigmoid(m_k(p)) . x(p + p_k + o_k(p) + F(p)),     p_k = (i - r, j - r), k = K i + j

K is the side of an odd kernel, r = (K - 1) / 2; the channels of x fall into `groups` that have their own offsets and
masks; F is an optional flow that is added to all of them. x is sampled bilinearly and is zero outside, with a ramp of
one pixel down to it. Stride and dilation are 1; the size is kept.

Channel layout: `offset` holds, for each group and in it for each tap, dy and then dx; `mask_logits` a value for each
group and in it for each tap. F has dx first, as every flow here. A mask logit of zero halves the convolution.

Nothing here bounds an offset: one that runs away reads zeros and gets no gradient back. `bound_offsets` is for the
caller.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stinet.ops.warp import pixel_grid, sample_grid, sample_rows, takes_rows

__all__ = ["bound_offsets", "deform_conv"]


def deform_conv(
    x: Float[Tensor, "b c h w"],
    offset: Float[Tensor, "b offsets h w"],
    mask_logits: Float[Tensor, "b masks h w"],
    weight: Float[Tensor, "o c k k"],
    bias: Float[Tensor, "o"] | None = None,
    *,
    groups: int,
    base_flow: Float[Tensor, "b 2 h w"] | None = None,
) -> Float[Tensor, "b o h w"]:
    """Convolve `x` with `weight`, reading at p + p_k + offset + base_flow; see the module's equation.

    Differentiable in every tensor. Under autocast the products run in the lower precision, the coordinates do not.
    """
    batch, channels, height, width = x.shape
    taps = weight.shape[-1] ** 2
    assert channels % groups == 0, f"{channels} channels in {groups} groups"
    assert offset.shape[1] == 2 * groups * taps, f"{offset.shape[1]} offset channels, not 2 * {groups} * {taps}"
    assert mask_logits.shape[1] == groups * taps, f"{mask_logits.shape[1]} mask channels, not {groups} * {taps}"
    at_x, at_y = _places(offset, groups, weight.shape[-1], base_flow)  # b g k h w
    mask = mask_logits.sigmoid().view(batch, groups, taps, height, width)
    if takes_rows(channels // groups, x, at_x, mask):
        points = [part.permute(0, 3, 4, 2, 1).reshape(batch, -1, groups) for part in (at_x, at_y, mask)]
        sampled = sample_rows(x, points[0], points[1], padding="zeros", weight=points[2])  # b (h w k) c
        matrix = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
        out = functional.linear(sampled.view(batch, height, width, taps * channels), matrix, bias)
        return out.permute(0, 3, 1, 2)
    folded = (batch * groups, taps * height, width)
    plain = x.to(torch.promote_types(at_x.dtype, x.dtype), memory_format=torch.contiguous_format)
    plain = plain.contiguous()  # `to` gives a frame of a clip back as it is, with the clip's strides
    groups_of_x = plain.view(batch * groups, channels // groups, height, width)
    sampled = sample_grid(groups_of_x, at_x.reshape(folded), at_y.reshape(folded), padding="zeros")
    sampled = sampled * mask.reshape(folded).unsqueeze(1).to(sampled.dtype)
    # one pass for precision and order: the convolution, and all that follows it, then stays channels_last
    packed = sampled.view(batch, channels * taps, height, width).to(_precision(x), memory_format=torch.channels_last)
    return functional.conv2d(packed, weight.reshape(-1, channels * taps, 1, 1), bias)


def _precision(x: Tensor) -> torch.dtype:
    """Precision of a product of `x`: autocast's, or its own."""
    kind = x.device.type
    if kind == "meta":  # shapes alone; autocast does not know it
        return x.dtype
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def bound_offsets(raw: Float[Tensor, "*shape"], max_px: float) -> Float[Tensor, "*shape"]:
    """Squash offsets smoothly into (-max_px, max_px), with slope 1 at zero: max_px tanh(raw / max_px)."""
    return max_px * torch.tanh(raw / max_px)


def _places(
    offset: Tensor, groups: int, kernel: int, base_flow: Tensor | None
) -> tuple[Float[Tensor, "b g k h w"], Float[Tensor, "b g k h w"]]:
    """Columns and rows that each tap of each group reads at, float32 at least."""
    batch, _, height, width = offset.shape
    offset = offset if offset.dtype == torch.float64 else offset.float()
    offset = offset.view(batch, groups, kernel * kernel, 2, height, width)
    grid_x, grid_y = pixel_grid(offset[:, 0, 0])
    start_x, start_y = grid_x.unsqueeze(1), grid_y.unsqueeze(1)
    if kernel > 1:
        reach = torch.arange(kernel, dtype=offset.dtype, device=offset.device) - kernel // 2
        start_x = start_x + reach.repeat(kernel).view(1, -1, 1, 1)
        start_y = start_y + reach.repeat_interleave(kernel).view(1, -1, 1, 1)
    if base_flow is not None:
        start_x, start_y = start_x + base_flow[:, :1], start_y + base_flow[:, 1:]
    return offset[:, :, :, 1] + start_x.unsqueeze(1), offset[:, :, :, 0] + start_y.unsqueeze(1)
