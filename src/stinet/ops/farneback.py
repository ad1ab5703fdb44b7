r"""Dense optical flow by Farneback's polynomial expansion: batched, differentiable, and equal to OpenCV's.

Around every pixel a frame is fitted by a quadratic, I(x) ~ x' A x + b' x + c, under a Gaussian of 11 taps, sigma 1.2.
Where I2(x) = I1(x - d), the quadratics give A d = db, summed over a 15 x 15 window and solved for d = (dx, dy):

    A = (A1(x) + A2(x + d0)) / 2,   db = (b1(x) - b2(x + d0)) / 2 + A d0                (1)
    d = (sum A'A)^-1 sum A'db                                                           (2)

with d0 the flow so far: three rounds on each level of a pyramid of up to four. All constants are those of the paper's
call, cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0), and so are the details: blurs and borders,
the down-weighted frame of 5 pixels, and the last row and column counting as outside.

Conventions: frames in [0, 1], RGB or gray; inside, gray in 0..255 as 0.299 R + 0.587 G + 0.114 B, **not rounded** to
8 bits. Flow in pixels from the first frame to the second, channel 0 = dx (right), channel 1 = dy (down): second(x +
flow(x)) looks like first(x). Flows are float32 at least, whatever the frames are, and autocast does not change that.

Differentiable but for the floor of a coordinate and the test whether it lies inside. Flat areas give about zero flow
and about zero gradient. What needs one frame only is done once per frame (`expand`) and serves every pair it is in.

On the CPU and without gradients OpenCV itself does the work if it is installed; the test suite holds both equal.
"""

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from stinet.ops.opencv import has_opencv
from stinet.ops.warp import bilinear_sample, pixel_grid

__all__ = ["Expansion", "expand", "farneback", "flow_between"]

LEVELS = 3
SMALLEST_SIDE_PX = 32
WINDOW_PX = 15
ROUNDS = 3
POLY_RADIUS = 5
POLY_SIGMA = 1.2
BORDER_WEIGHTS = (0.14, 0.14, 0.4472, 0.4472, 0.4472)


@dataclass(frozen=True)
class Expansion:
    """What flow needs to know of each frame of a batch; made by `expand`."""

    gray: Float[Tensor, "b 1 h w"]
    """Brightness in 0..255."""

    @functools.cached_property
    def levels(self) -> tuple[Float[Tensor, "b 5 _ _"], ...]:
        """Coefficients (b_y, b_x, A_yy, A_xx, 2 A_xy) of every pixel, the finest level first."""
        with torch.autocast(self.gray.device.type, enabled=False):
            return tuple(_polynomials(_level_image(self.gray, level)) for level in range(_level_count(self.gray)))

    def of(self, frames: Int64[Tensor, "p"]) -> "Expansion":
        """The frames of these numbers, in this order and as often as they are named: firsts or seconds of pairs."""
        part = Expansion(self.gray.index_select(0, frames))
        if not _goes_to_opencv(self.gray):
            part.__dict__["levels"] = tuple(level.index_select(0, frames) for level in self.levels)
        return part


def farneback(first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Flow from `first` to `second` (c is 3 or 1, values in [0, 1]), in pixels; any size from 1 x 1 up."""
    return flow_between(expand(first), expand(second))


def expand(frame: Float[Tensor, "b c h w"]) -> Expansion:
    """Do what concerns one frame alone, for a batch of frames (c is 3 or 1, values in [0, 1])."""
    channels = frame.shape[1]
    assert channels in (1, 3), f"{channels} channels are neither RGB nor gray"
    frame = frame if frame.dtype == torch.float64 else frame.float()
    if channels == 3:
        frame = 0.299 * frame[:, :1] + 0.587 * frame[:, 1:2] + 0.114 * frame[:, 2:]
    expansion = Expansion(frame * 255)
    if expansion.gray.requires_grad:
        _ = expansion.levels  # now, while gradients are on: it is kept for every later pair
    return expansion


def flow_between(first: Expansion, second: Expansion) -> Float[Tensor, "b 2 h w"]:
    """Flow from the frames of `first` to those of `second`, pair by pair, in pixels."""
    if _goes_to_opencv(first.gray, second.gray):
        return _flow_by_opencv(first.gray, second.gray)
    with torch.autocast(first.gray.device.type, enabled=False):
        return _flow_by_torch(first, second)


def _goes_to_opencv(*grays: Float[Tensor, "b 1 h w"]) -> bool:
    """On the CPU, in single precision, nobody asks for gradients, and OpenCV is installed."""
    if torch.is_grad_enabled() and any(gray.requires_grad for gray in grays):
        return False
    return all(gray.device.type == "cpu" and gray.dtype == torch.float32 for gray in grays) and has_opencv()


def _flow_by_opencv(first: Float[Tensor, "b 1 h w"], second: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """The same flow by OpenCV."""
    import cv2

    flow = torch.empty(first.shape[0], *first.shape[-2:], 2)
    settings = (0.5, LEVELS, WINDOW_PX, ROUNDS, POLY_RADIUS, POLY_SIGMA, 0)
    for index, (a, b) in enumerate(zip(first.detach(), second.detach(), strict=True)):
        cv2.calcOpticalFlowFarneback(
            a[0].contiguous().numpy(), b[0].contiguous().numpy(), flow[index].numpy(), *settings
        )
    return flow.permute(0, 3, 1, 2)


def _flow_by_torch(first: Expansion, second: Expansion) -> Float[Tensor, "b 2 h w"]:
    """Coarse to fine: Eq. (1) and (2), three times on each level."""
    coarsest = first.levels[-1]
    flow = coarsest.new_zeros(coarsest.shape[0], 2, *coarsest.shape[-2:])
    for of_first, of_second in zip(reversed(first.levels), reversed(second.levels), strict=True):
        if flow.shape[-2:] != of_first.shape[-2:]:
            flow = 2 * functional.interpolate(flow, of_first.shape[-2:], mode="bilinear", align_corners=False)
        for _ in range(ROUNDS):
            flow = _solve(_window_mean(_normal_equations(of_first, of_second, flow)))
    return flow


def _normal_equations(
    first: Float[Tensor, "b 5 h w"], second: Float[Tensor, "b 5 h w"], flow: Float[Tensor, "b 2 h w"]
) -> Float[Tensor, "b 5 h w"]:
    """A'A and A'db of Eq. (1) at every pixel: (g11, g12, g22, h1, h2), with 1 for y and 2 for x."""
    height, width = flow.shape[-2:]
    dx, dy = flow[:, 0], flow[:, 1]
    x, y = pixel_grid(flow)
    x, y = x + dx, y + dy
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    there = bilinear_sample(second, x, y, padding="border")
    nowhere = torch.cat((torch.zeros_like(first[:, :2]), first[:, 2:]), dim=1)
    there = torch.where(inside.unsqueeze(1), there, nowhere)
    by, bx = ((first[:, :2] - there[:, :2]) / 2).unbind(1)
    a, c, e = ((first[:, 2:] + there[:, 2:]) / 2).unbind(1)
    e = e / 2
    by, bx = by + a * dy + e * dx, bx + e * dy + c * dx
    weight = _border_weight(height, width, flow.dtype, flow.device)
    a, c, e, by, bx = a * weight, c * weight, e * weight, by * weight, bx * weight
    return torch.stack((a * a + e * e, (a + c) * e, c * c + e * e, a * by + e * bx, e * by + c * bx), dim=1)


def _window_mean(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Mean over a square window, the edge pixels repeated outside. Sums of 15 are built from sums of 8, 4, 2 and 1."""
    reach = WINDOW_PX // 2
    for axis, padding in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        side = maps.shape[axis]
        ones = functional.pad(maps, padding, "replicate")
        twos = ones.narrow(axis, 0, side + 13) + ones.narrow(axis, 1, side + 13)
        fours = twos.narrow(axis, 0, side + 11) + twos.narrow(axis, 2, side + 11)
        eights = fours.narrow(axis, 0, side) + fours.narrow(axis, 4, side)
        rest = fours.narrow(axis, 8, side) + twos.narrow(axis, 12, side) + ones.narrow(axis, 14, side)
        maps = (eights + rest) / WINDOW_PX
    return maps


def _solve(maps: Float[Tensor, "b 5 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Eq. (2); 1e-3 keeps flat areas at zero."""
    g11, g12, g22, h1, h2 = maps.unbind(1)
    determinant = g11 * g22 - g12 * g12 + 1e-3
    return torch.stack((g11 * h2 - g12 * h1, g22 * h1 - g12 * h2), dim=1) / determinant.unsqueeze(1)


def _level_count(gray: Float[Tensor, "b 1 h w"]) -> int:
    """Levels of the pyramid, the full size included: both sides stay at 32 px or more."""
    side = min(gray.shape[-2:])
    return 1 + sum(side * 0.5**level >= SMALLEST_SIDE_PX for level in range(1, LEVELS + 1))


def _level_image(gray: Float[Tensor, "b 1 h w"], level: int) -> Float[Tensor, "b 1 _ _"]:
    """Blur for the level's size (the full size is blurred, too), then shrink."""
    kernel = _blur(level, gray.dtype, gray.device)
    reach = kernel.numel() // 2
    for axis in (2, 3):
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        mode = "reflect" if gray.shape[axis] > reach else "replicate"  # 1 px: there is nothing to reflect
        gray = functional.conv2d(functional.pad(gray, padding, mode), kernel.view(shape))
    if level == 0:
        return gray
    size = [round(side * 0.5**level) for side in gray.shape[-2:]]
    return functional.interpolate(gray, size, mode="bilinear", align_corners=False)


def _polynomials(image: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 5 h w"]:
    """Fit the quadratics: weighted moments down the columns, then along the rows and into coefficients.

    A constant leaves no trace in the coefficients, so mid-gray is taken off first: float32 then rounds less.
    """
    down, across = _moments(image.dtype, image.device)
    image = functional.pad(image - 128, (POLY_RADIUS,) * 4, "replicate")
    return functional.conv2d(functional.conv2d(image, down), across)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _blur(level: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "taps"]:
    sigma = (2**level - 1) / 2
    if sigma == 0:
        return torch.tensor([0.25, 0.5, 0.25], dtype=dtype, device=device)
    taps = max(round(5 * sigma) | 1, 3)
    at = torch.arange(taps, dtype=torch.float64) - taps // 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    return (kernel / kernel.sum()).to(dtype=dtype, device=device)


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _moments(
    dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "3 1 taps 1"], Float[Tensor, "5 3 1 taps"]]:
    """Kernels from an image to its moments in y, and from those to the five coefficients.

    With B and C the second and fourth moment of the Gaussian, the fit weighs x by 1/B, xy by 1/B^2 and x^2 - B by
    1/(C - B^2).
    """
    x = torch.arange(-POLY_RADIUS, POLY_RADIUS + 1, dtype=torch.float64)
    g = torch.exp(-(x**2) / (2 * POLY_SIGMA**2))
    g = g / g.sum()
    second, fourth = float((x**2 * g).sum()), float((x**4 * g).sum())
    slope, curve = x * g / second, (x**2 - second) * g / (fourth - second**2)
    down = torch.stack((g, slope, curve))
    across = torch.zeros(5, 3, 2 * POLY_RADIUS + 1, dtype=torch.float64)
    across[0, 1] = g  # b_y
    across[1, 0] = slope  # b_x
    across[2, 2] = g  # A_yy
    across[3, 0] = curve  # A_xx
    across[4, 1] = slope  # 2 A_xy
    return down[:, None, :, None].to(dtype=dtype, device=device), across[:, :, None].to(dtype=dtype, device=device)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _border_weight(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "h w"]:
    """Pixels near the edge count less: their quadratics were fitted to repeated pixels.

    OpenCV finds these pixels by comparing unsigned numbers. On sides below 10 px they wrap around and some pixels
    keep the weight 1; so do ours.
    """
    weights, near = [], []
    margin = len(BORDER_WEIGHTS)
    for side in (height, width):
        at = torch.arange(side)
        weight = torch.ones(side, dtype=torch.float64)
        few = min(side, margin)
        weight[:few] *= torch.tensor(BORDER_WEIGHTS[:few], dtype=torch.float64)
        weight[side - few :] *= torch.tensor(BORDER_WEIGHTS[:few], dtype=torch.float64).flip(0)
        weights.append(weight)
        near.append((at - margin) % 2**32 >= (side - 2 * margin) % 2**32)
    product = weights[0][:, None] * weights[1]
    return torch.where(near[0][:, None] | near[1], product, 1.0).to(dtype=dtype, device=device)
