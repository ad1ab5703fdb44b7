r"""Backward warping: read a frame where a flow field points.

    J(x) = I(x + F(x)),        x in {0..W-1} x {0..H-1}                            (1)

F is in pixels of the image it is read at, channel 0 = dx (right), channel 1 = dy (down). Sampling is bilinear; outside the
frame the nearest edge pixel is read. Differentiable in I and in F.

Two roads give the same numbers. On the CPU, four neighbours and their weights per point are one `embedding_bag` over the
pixels as rows of channels: several times faster than `grid_sample`, and free of its coordinate rounding. Elsewhere, and for
the gradients, `grid_sample` does it. Coordinates are float32 at least, whatever the image is. On the CPU an image in half
precision has its four weights rounded to that precision, too: the result is good to about 2^-8 of the brightest neighbour.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["bilinear_sample", "pixel_grid", "warp"]


def pixel_grid(like: Float[Tensor, "b 2 h w"]) -> tuple[Float[Tensor, "1 1 w"], Float[Tensor, "1 h 1"]]:
    """Column and row numbers of a field's pixels, in its precision and on its device, ready to broadcast."""
    height, width = like.shape[-2:]
    x = torch.arange(width, dtype=like.dtype, device=like.device)
    y = torch.arange(height, dtype=like.dtype, device=like.device)
    return x.view(1, 1, -1), y.view(1, -1, 1)


def warp(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample `image` at x + flow(x), Eq. (1). On the CPU a flow that is zero everywhere returns the image bit for bit."""
    flow = _at_least_float32(flow)
    x, y = pixel_grid(flow)
    return bilinear_sample(image, flow[:, 0] + x, flow[:, 1] + y, padding="border")


def bilinear_sample(
    image: Float[Tensor, "b c h w"],
    x: Float[Tensor, "b oh ow"],
    y: Float[Tensor, "b oh ow"],
    *,
    padding: str = "border",
) -> Float[Tensor, "b c oh ow"]:
    """Read `image` at columns `x` and rows `y` in pixels (0, 0 is the centre of the first pixel).

    `padding` is what lies outside: "border" repeats the nearest edge pixel, "zeros" is black, with a one-pixel ramp down to
    it. Differentiable in all three tensors. A channels_last image gives a channels_last result without a copy.
    """
    assert padding in ("border", "zeros"), padding
    x, y = _at_least_float32(x), _at_least_float32(y)
    needs_gradient = torch.is_grad_enabled() and (image.requires_grad or x.requires_grad or y.requires_grad)
    if image.device.type == "cpu" and not needs_gradient and not torch.compiler.is_compiling():
        return _sample_by_rows(image, x, y, padding)
    return _sample_by_grid(image, x, y, padding)


def _sample_by_grid(image: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """`grid_sample` in the precision of the coordinates (half precision is three times slower on the CPU)."""
    height, width = image.shape[-2:]
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    dtype = torch.promote_types(image.dtype, grid.dtype)
    sampled = F.grid_sample(image.to(dtype), grid.to(dtype), "bilinear", padding, align_corners=False)
    return sampled.to(image.dtype)


def _sample_by_rows(image: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Weighted sums of four table rows; a row is one pixel with its channels."""
    batch, channels, height, width = image.shape
    if padding == "border":
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    across, down = x - left, y - top
    columns, rows = torch.stack((left, left + 1)), torch.stack((top, top + 1))
    across, down = torch.stack((1 - across, across)), torch.stack((1 - down, down))
    if padding == "zeros":
        across = across * ((columns >= 0) & (columns <= width - 1))
        down = down * ((rows >= 0) & (rows <= height - 1))
    columns, rows = columns.clamp(0, width - 1).int(), rows.clamp(0, height - 1).int()
    first = torch.arange(batch, dtype=torch.int32, device=image.device).view(batch, 1, 1) * (height * width)
    rows = rows * width + first
    index = torch.stack(
        (rows[0] + columns[0], rows[0] + columns[1], rows[1] + columns[0], rows[1] + columns[1]), dim=-1
    )
    weight = torch.stack((down[0] * across[0], down[0] * across[1], down[1] * across[0], down[1] * across[1]), dim=-1)
    table = image.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    sampled = F.embedding_bag(
        index.view(-1, 4), table, per_sample_weights=weight.view(-1, 4).to(table.dtype), mode="sum"
    )
    return sampled.view(*x.shape, channels).permute(0, 3, 1, 2)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
