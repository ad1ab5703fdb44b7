r"""Backward warping: read a frame where a flow field points.

    J(x) = I(x + F(x)),        x in {0..W-1} x {0..H-1}                            (1)

F is in pixels of the image it is read at, channel 0 = dx (right), channel 1 = dy (down). Sampling is bilinear; outside
the frame the nearest edge pixel is read. Differentiable in I and in F.

Two roads give the same numbers. On the CPU and without gradients, the four neighbours of a point and their weights are one
`embedding_bag` over the pixels, seen as rows of channels: several times faster than `grid_sample`, and free of the rounding
of its normalised coordinates. Elsewhere `grid_sample` does it. Coordinates are float32 at least, whatever the image is.
The first road rounds the four weights to the image's precision: with bfloat16 a sample is good to about 2^-8 of its size.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = ["bilinear_sample", "pixel_grid", "sample_grid", "sample_rows", "takes_rows", "warp"]


def warp(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample `image` at x + flow(x), Eq. (1). A flow that is zero everywhere returns the image itself."""
    flow = _at_least_float32(flow)
    x, y = pixel_grid(flow)
    return bilinear_sample(image, flow[:, 0] + x, flow[:, 1] + y, padding="border")


def pixel_grid(like: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "1 1 w"], Float[Tensor, "1 h 1"]]:
    """Column and row numbers of a map's pixels, in its precision and on its device, ready to broadcast."""
    height, width = like.shape[-2:]
    x = torch.arange(width, dtype=like.dtype, device=like.device)
    y = torch.arange(height, dtype=like.dtype, device=like.device)
    return x.view(1, 1, -1), y.view(1, -1, 1)


def bilinear_sample(
    image: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b oh ow"],
    y: Float[Tensor, "b oh ow"],
    *,
    padding: str = "border",
) -> Float[Tensor, "b c oh ow"]:
    """Read `image` at columns `x` and rows `y` in pixels (0, 0 is the centre of the first pixel).

    `padding` is what lies outside: "border" repeats the nearest edge pixel, "zeros" is black, with a ramp of one pixel
    down to it. Differentiable in all three tensors. A channels_last image gives a channels_last result without a copy.
    """
    if takes_rows(image, x, y):
        rows = sample_rows(image, x.flatten(1).unsqueeze(-1), y.flatten(1).unsqueeze(-1), padding=padding)
        return rows.view(*x.shape, -1).permute(0, 3, 1, 2)
    return sample_grid(image, x, y, padding=padding)


def takes_rows(*tensors: Tensor) -> bool:
    """Whether `sample_rows` is the faster road: on the CPU, and nobody asks for gradients."""
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return on_cpu and not needs_gradient and not torch.compiler.is_compiling()


def sample_grid(image: Tensor, x: Tensor, y: Tensor, *, padding: str) -> Tensor:
    """`bilinear_sample` by `grid_sample`, in the precision of the coordinates (bfloat16 is slower on the CPU)."""
    height, width = image.shape[-2:]
    dtype = torch.promote_types(_at_least_float32(x).dtype, image.dtype)
    grid = torch.stack(((2 * x.to(dtype) + 1) / width - 1, (2 * y.to(dtype) + 1) / height - 1), dim=-1)
    return functional.grid_sample(image.to(dtype), grid, "bilinear", padding, align_corners=False).to(image.dtype)


def sample_rows(
    image: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b n g"],
    y: Float[Tensor, "b n g"],
    *,
    padding: str,
    weight: Float[Tensor, "b n g"] | None = None,
) -> Float[Tensor, "b n c"]:
    """Read each of `g` groups of channels at `n` points of its own, times `weight`, by one sum over four table rows.

    A row is one pixel's channels of one group: exactly how a channels_last image lies in memory.
    """
    assert padding in ("border", "zeros"), padding
    batch, channels, height, width = image.shape
    groups = x.shape[-1]
    x, y = _at_least_float32(x), _at_least_float32(y)
    (left, right), across = _neighbours(x, width, padding)
    (top, bottom), down = _neighbours(y, height, padding)
    if weight is not None:
        down = (down[0] * weight, down[1] * weight)
    first = torch.arange(batch, dtype=torch.int32, device=x.device).view(batch, 1, 1) * (height * width)
    group = torch.arange(groups, dtype=torch.int32, device=x.device)
    top, bottom = top * width + first, bottom * width + first
    index = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1)
    weights = torch.stack((down[0] * across[0], down[0] * across[1], down[1] * across[0], down[1] * across[1]), dim=-1)
    if groups > 1:
        index = index * groups + group.unsqueeze(-1)
    table = image.permute(0, 2, 3, 1).reshape(batch * height * width * groups, channels // groups)
    weights = weights.to(table.dtype)
    rows = functional.embedding_bag(index.view(-1, 4), table, per_sample_weights=weights.view(-1, 4), mode="sum")
    return rows.view(batch, -1, channels)


def _neighbours(at: Tensor, side: int, padding: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two pixels around a coordinate of one axis, inside the image, and their weights."""
    if padding == "border":
        at = at.clamp(0, side - 1)
        before = at.floor()
        after_weight = at - before
        before_weight = 1 - after_weight
    else:
        at = at.clamp(-1, side)  # further out both weights are zero, too
        before = at.floor()
        after_weight = at - before
        before_weight = (1 - after_weight) * (before >= 0) * (before < side)
        after_weight = after_weight * (before < side - 1)
    near = before.clamp(0, side - 1).int()
    far = (before + 1).clamp(0, side - 1).int()
    return (near, far), (before_weight, after_weight)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
