r"""Backward warping: read a frame where a flow field points.

    J(x) = I(x + F(x)),        x in {0..W-1} x {0..H-1}                            (1)

F is in pixels of the image it is read at, channel 0 = dx (right), channel 1 = dy (down). Sampling is bilinear;
outside the frame the nearest edge pixel is read. Differentiable in I and in F.

Two roads give the same numbers. On the CPU, without gradients and with many channels, the four neighbours of a point
and their weights are one `embedding_bag` over the pixels, seen as rows of channels: several times faster than
`grid_sample`, and free of the rounding of its normalised coordinates. Elsewhere `grid_sample` does it, good to about
1e-5 px. Coordinates are float32 at least, whatever the image is. The first road rounds the four weights to the
image's precision: with bfloat16 a sample is good to about 2^-8 of its size.
"""

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.nn import functional

__all__ = ["bilinear_sample", "pixel_grid", "sample_grid", "sample_rows", "takes_rows", "warp", "warp_cubic"]


def warp(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample `image` at x + flow(x), Eq. (1).

    A flow that is zero everywhere returns the image itself on the CPU when no gradient is asked for, elsewhere its
    values to within rounding.
    """
    flow = _at_least_float32(flow)
    if _runs_plainly(image, flow) and not flow.any():
        return image
    x, y = pixel_grid(flow)
    return bilinear_sample(image, flow[:, 0] + x, flow[:, 1] + y, padding="border")


def warp_cubic(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Sample `image` at x + flow(x) by the cubic kernel with a = -3/4: slower than `warp`, and keeps fine detail.

    Between two pixels a bilinear sample is a mean, so warping small frames with it blurs them; on Vid4 flow + bicubic
    gains 0.16 dB by this kernel. Overshoots are not clamped.
    """
    flow = _at_least_float32(flow)
    x, y = pixel_grid(flow)
    height, width = image.shape[-2:]
    grid = torch.stack(((2 * (flow[:, 0] + x) + 1) / width - 1, (2 * (flow[:, 1] + y) + 1) / height - 1), dim=-1)
    return functional.grid_sample(image.to(grid.dtype), grid, "bicubic", "border", align_corners=False).to(image.dtype)


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

    `padding` is what lies outside: "border" repeats the nearest edge pixel, "zeros" is black, with a ramp of one
    pixel down to it. Differentiable in all three tensors. On the road of many channels a channels_last image
    gives a channels_last result without a copy.
    """
    if takes_rows(image.shape[1], image, x, y):
        rows = sample_rows(image, x.flatten(1).unsqueeze(-1), y.flatten(1).unsqueeze(-1), padding=padding)
        return rows.view(*x.shape, -1).permute(0, 3, 1, 2)
    return sample_grid(image, x, y, padding=padding)


def takes_rows(channels: int, image: Tensor, *places: Tensor) -> bool:
    """Whether `sample_rows` is the faster road for points that read so many channels each (measured from 1 to 64)."""
    enough = 8 if image.dtype in (torch.bfloat16, torch.float16) else 16
    return channels >= enough and _runs_plainly(image, *places)


def _runs_plainly(*tensors: Tensor) -> bool:
    """On the CPU, nobody asks for gradients, and nobody records the operations for another engine."""
    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    needs_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    is_traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return on_cpu and not needs_gradient and not is_traced and not torch.compiler.is_compiling()


def sample_grid(image: Tensor, x: Tensor, y: Tensor, *, padding: str) -> Tensor:
    """`bilinear_sample` by `grid_sample`, in the precision of the coordinates (bfloat16 is slower on the CPU)."""
    height, width = image.shape[-2:]
    dtype = torch.promote_types(_at_least_float32(x).dtype, image.dtype)
    grid = torch.stack(((2 * x.to(dtype) + 1) / width - 1, (2 * y.to(dtype) + 1) / height - 1), dim=-1)
    if grid.device.type == "cpu" and torch.is_grad_enabled() and (grid.requires_grad or image.requires_grad):
        grid = grid.nan_to_num()  # at NaN the backward pass with borders writes outside of memory
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
    points, groups = x.shape[1:]
    table = image.permute(0, 2, 3, 1).reshape(-1, channels // groups)
    left, across = _neighbours(_at_least_float32(x), width, padding)
    top, down = _neighbours(_at_least_float32(y), height, padding)
    if weight is not None:
        down = (down[0] * weight, down[1] * weight)
    first = left.add_(top, alpha=width)
    if batch > 1:
        first += torch.arange(0, batch * height * width, height * width, dtype=torch.int32).view(-1, 1, 1)
    if groups > 1:
        first = first.mul_(groups).add_(torch.arange(groups, dtype=torch.int32))
    right, below = groups * min(width - 1, 1), groups * width * min(height - 1, 1)
    index = torch.stack((first, first + right, first + below, first + (below + right)), dim=-1).view(-1, 4)
    weights = torch.stack([part * side for part in down for side in across], dim=-1).view(-1, 4).to(table.dtype)
    return functional.embedding_bag(index, table, per_sample_weights=weights, mode="sum").view(batch, points, channels)


def _neighbours(at: Tensor, side: int, padding: str) -> tuple[Int32[Tensor, "*n"], tuple[Tensor, Tensor]]:
    """The first of the two pixels that a coordinate of one axis lies between, and the weights of both.

    Both are inside the image: at its end and outside, the pair is the nearest one.
    """
    if padding == "border":
        at = at.clamp(0, side - 1)
    before = at.floor().nan_to_num_(0).clamp_(0, max(side - 2, 0))  # NaN is read somewhere, and its weight stays NaN
    beyond = at - before
    if padding == "border":
        return before.int(), (1 - beyond, beyond)
    of_first = (1 - beyond.abs()).clamp_(min=0)
    of_second = (1 - (beyond - 1).abs()).clamp_(min=0) if side > 1 else torch.zeros_like(beyond)
    return before.int(), (of_first, of_second)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
