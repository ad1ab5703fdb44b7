r"""Dense inverse search, DIS (Kroeger, Timofte, Dai, Van Gool, ECCV 2016): optical flow, batched, equal to OpenCV's.

Coarse to fine, each level does three things. Patches of 8 x 8 px, 3 px apart, seek their displacement u in the second
frame (Section 2.1). Gradient descent is *inverse*: slopes and Hessian are those of the first frame, computed once,

    u <- u - H^-1 sum_x grad I1(x) (I2(x + u) - I1(x)),   H = sum_x grad I1(x) grad I1(x)'                (1)

each patch's mean taken off. Then the patches over a pixel vote on its flow, each the less the more the brightness
differs where it points (Section 2.2),

    U(x) = sum_i w_i u_i / sum_i w_i,   w_i = 1 / max(1, |I2(x + u_i) - I1(x)|)                           (2)

and a variational step (Section 2.3; ops/variational.py) smooths it where nothing speaks against that.

The settings are OpenCV's preset MEDIUM, but down to the full size and with two rounds of that step. A patch also tries
the displacements of two neighbours, in raster order there and back within each of eight horizontal stripes. What the
patches of one anti-diagonal need is known before, so here a diagonal, of all stripes and pairs, is one step.

OpenCV does the work wherever it is installed, for frames on a GPU, too: it is far faster than hundreds of small steps.
Elsewhere torch does. A last bit may decide which displacement a patch takes, and its neighbours after it, so sums here
have OpenCV's order and interpolations its single rounding: on the CPU both give **the same bits** (OpenCV 5 for x86
with AVX2 and IPP). Other builds and devices may round otherwise; then a patch here and there differs.

Conventions: gray in 0..255, **rounded** half up to 8 bits. Flow in pixels from the first frame to the second, channel
0 = dx (right), channel 1 = dy (down): second(x + flow(x)) looks like first(x). Always float32; no gradient passes.
"""

import functools
import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from stinet.ops.farneback import Expansion, flow_between
from stinet.ops.opencv import has_opencv
from stinet.ops.variational import ROUNDS, between, refine
from stinet.ops.warp import pixel_grid

__all__ = ["LEAST_PX", "inverse_search"]

LEAST_PX = (8, 12)
"""Least short and least long side of a frame: OpenCV refuses smaller ones. Theirs is Farneback's flow."""

PATCH_PX = 8
STRIDE_PX = 3
STRIPES = 8
DESCENT_STEPS = 12  # down the frame, and as many up: half of 25
BORDER_PX = 16
NEARLY_ZERO = 0.001  # a Hessian's least determinant; in Eq. (2), how far the last row and column stay out of reach

Frames = Float[Tensor, "b 1 h w"]
Flow = Float[Tensor, "b 2 h w"]
Map = Float[Tensor, "b h w"]

_OWN = threading.local()


@torch.no_grad()
def inverse_search(first: Float[Tensor, "b 1 h w"], second: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Flow from the frames of `first` to those of `second`, pair by pair, in pixels.

    Gray in 0..255, of any size from 1 x 1 up (below `LEAST_PX` the flow is Farneback's); float32, on their device.
    """
    first, second = (frames.float().add(0.5).floor().clamp(0, 255) for frames in (first, second))
    short, long = sorted(first.shape[-2:])
    if short < LEAST_PX[0] or long < LEAST_PX[1]:
        return flow_between(Expansion(first), Expansion(second))
    if has_opencv():
        return _flow_by_opencv(first, second)
    place = torch.device("cpu") if first.device.type == "mps" else first.device  # MPS has no double precision
    with torch.autocast(place.type, enabled=False):
        return _flow_by_torch(first.to(place), second.to(place)).to(first.device)


def _flow_by_opencv(first: Frames, second: Frames) -> Flow:
    """The same flow by OpenCV, on the CPU."""
    firsts, seconds = (frames.to("cpu", torch.uint8).contiguous().numpy() for frames in (first, second))
    flow = np.empty((len(firsts), *firsts.shape[-2:], 2), np.float32)
    for index, (a, b) in enumerate(zip(firsts, seconds, strict=True)):
        flow[index] = _opencv_search().calc(a[0], b[0], None)  # a flow to begin with would be one more candidate
    return torch.from_numpy(flow).permute(0, 3, 1, 2).to(first.device)


def _opencv_search() -> Any:
    """A search for this thread alone: it keeps buffers from call to call, though no result depends on them."""
    import cv2

    if not hasattr(_OWN, "search"):
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        search.setVariationalRefinementIterations(ROUNDS)
        _OWN.search = search
    return _OWN.search


def _flow_by_torch(first: Frames, second: Frames) -> Flow:
    """Coarse to fine: search, vote, refine on each level."""
    firsts, seconds = _pyramid(first), _pyramid(second)
    flow = torch.zeros_like(firsts[-1]).repeat(1, 2, 1, 1)
    for a, b in zip(reversed(firsts), reversed(seconds), strict=True):
        if flow.shape[-2:] != a.shape[-2:]:
            flow = 2 * _enlarge(flow, *a.shape[-2:])
        flow = refine(a, b, _vote(a, b, _search(a, b, flow)))
    return flow


def _pyramid(frames: Frames) -> list[Float[Tensor, "b 1 _ _"]]:
    """The frames at full size, at half, at a quarter ...: until 8 px are left, or a patch is a quarter of a frame."""
    short, long = sorted(frames.shape[-2:])
    halvings = min(int(math.log2(long / (4 * PATCH_PX)) + 0.5), (short // PATCH_PX).bit_length() - 1)
    levels = [frames]
    for _ in range(halvings):
        levels.append(_halve(levels[-1]))
    return levels


def _halve(frames: Frames) -> Float[Tensor, "b 1 _ _"]:
    """Mean over each smaller pixel's area, rounded to 8 bits: halves upwards, but to even if a side is odd."""
    height, width = frames.shape[-2:]
    if height % 2 == width % 2 == 0:
        return functional.avg_pool2d(frames, 2).add(0.5).floor()
    return _area_mean(_area_mean(frames, 3), 2).round()


def _area_mean(frames: Frames, axis: int) -> Float[Tensor, "b 1 _ _"]:
    """Half as many pixels along an axis; of an odd side each is the mean of two and a bit, parts of up to four."""
    side = frames.shape[axis]
    scale = side / (side // 2)
    left = torch.arange(side // 2, dtype=torch.float64) * scale
    total = torch.zeros_like(frames.narrow(axis, 0, side // 2))
    for tap in range(4):
        pixel = left.floor() + tap
        share = (torch.minimum(left + scale, pixel + 1) - torch.maximum(left, pixel)).clamp(min=0)
        share = torch.where(share > 1e-3, share / scale, 0).float().to(frames.device)
        taken = frames.index_select(axis, pixel.long().clamp(max=side - 1).to(frames.device))
        total = total + taken * share.view([-1, 1] if axis == 2 else [1, -1])
    return total


def _enlarge(flow: Float[Tensor, "b 2 _ _"], height: int, width: int) -> Flow:
    """Bilinear, along the rows first."""
    for axis, side in ((3, width), (2, height)):
        there = flow.shape[axis]
        at = ((torch.arange(side, dtype=torch.float64) + 0.5) * there / side - 0.5).clamp(0, there - 1)
        part = (at - at.floor()).float().view([-1, 1] if axis == 2 else [1, -1])
        before, after = (flow.index_select(axis, pixel.long().to(flow.device)) for pixel in (at.floor(), at.ceil()))
        flow = between(before, after, part.to(flow.device))
    return flow


@dataclass(frozen=True)
class _Ground:
    """The second frames as patches are cut from them: pixel after pixel, each edge repeated for `BORDER_PX` outside.

    `furthest` is the column and row of the last corner that is cut at; `square` numbers the pixels of a patch, and of
    a row and a column more, at the first corner of each frame.
    """

    pixels: Float[Tensor, "all"]
    width: int
    furthest: Float[Tensor, "2"]
    square: Int64[Tensor, "b 1 9 9"]

    @classmethod
    def of(cls, second: Frames) -> "_Ground":
        """Lay the frames out."""
        padded = functional.pad(second, (BORDER_PX,) * 4, "replicate")
        height, width = padded.shape[-2:]
        frame = torch.arange(len(second), device=second.device).view(-1, 1, 1, 1) * (height * width)
        furthest = second.new_tensor([width, height]) - (BORDER_PX + 1)
        return cls(padded.flatten(), width, furthest, frame + _square(PATCH_PX + 1, width, second.device))

    def cut(self, corner: Float[Tensor, "*c b n 2"]) -> Float[Tensor, "*c b n 8 8"]:
        """A patch at every corner, bilinear; n corners in each frame, column and row in pixels."""
        at = (corner + BORDER_PX).clamp(min=BORDER_PX - PATCH_PX + 1).minimum(self.furthest)
        whole = at.floor()
        part = torch.stack((whole + 1 - at, at - whole))
        weights = (part[:, None, ..., 1] * part[None, :, ..., 0])[..., None, None]
        x, y = whole.long().unbind(-1)
        seen = self.pixels[(y * self.width + x)[..., None, None] + self.square]
        upper, lower = seen[..., :-1, :], seen[..., 1:, :]
        total = weights[0, 0] * upper[..., :-1] + weights[0, 1] * upper[..., 1:]
        return total + weights[1, 0] * lower[..., :-1] + weights[1, 1] * lower[..., 1:]


@dataclass(frozen=True)
class _Patches:
    """The patches of one step, at the same n corners (column and row) in each pair: I1, its gradient, and all of I2."""

    corner: Float[Tensor, "n 2"]
    first: Float[Tensor, "b n 8 8"]
    slopes: Float[Tensor, "2 b n 8 8"]
    slope_sums: Float[Tensor, "b n 2"]
    inverse_hessian: Float[Tensor, "b n 2 2"]
    ground: _Ground

    def differences(self, u: Float[Tensor, "*c b n 2"]) -> Float[Tensor, "*c b n 8 8"]:
        """I2(x + u) - I1(x) of every pixel, for one displacement of each patch or for several."""
        return self.ground.cut(self.corner + u) - self.first


def _search(first: Frames, second: Frames, flow: Flow) -> Float[Tensor, "b ph pw 2"]:
    """Section 2.1: where each patch went, begun from the flow at its middle, once down the frame and once up."""
    width = first.shape[-1]
    rows, columns = (1 + (side - PATCH_PX) // STRIDE_PX for side in first.shape[-2:])
    middles = flow[..., PATCH_PX // 2 :: STRIDE_PX, PATCH_PX // 2 :: STRIDE_PX][..., :rows, :columns]
    u = middles.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
    slopes = _sobel(first)
    slope_sums, inverse_hessian = (each.flatten(1, 2) for each in _hessian(*slopes))
    pixels = torch.stack((first[:, 0], *slopes)).flatten(2)
    ground, square = _Ground.of(second), _square(PATCH_PX, width, u.device)
    for patches, candidates in _steps(rows, columns, u.device):
        corner = STRIDE_PX * torch.stack((patches % columns, patches // columns), dim=-1)
        cut = pixels[..., (corner[:, 1] * width + corner[:, 0])[:, None, None] + square]
        step = _Patches(corner.float(), cut[0], cut[1:], slope_sums[:, patches], inverse_hessian[:, patches], ground)
        u[:, patches] = _descend(step, _best(step, u[:, candidates].movedim(1, 0)))
    return u.unflatten(1, (rows, columns))


def _steps(rows: int, columns: int, device: torch.device) -> Iterator[tuple[Int64[Tensor, "n"], Int64[Tensor, "3 n"]]]:
    """Patches that are searched at once, numbered in raster order, and whose displacements they try.

    Going down these are the patch's own, that of its left neighbour and that of the upper one if it is in the same
    stripe; going up, those of the right and of the lower one. One that lacks a neighbour tries its own again.
    """
    number = torch.arange(rows * columns).view(rows, columns)
    row, column = number // columns, number % columns
    stripe_rows = -(-rows // STRIPES)
    row_in_stripe = row % stripe_rows
    is_lowest = (row_in_stripe == stripe_rows - 1) | (row == rows - 1)
    diagonal = (row_in_stripe + column).flatten()
    steps = diagonal.argsort(stable=True).to(device).split(diagonal.bincount().tolist())
    left, upper = number - (column > 0).long(), number - columns * (row_in_stripe > 0)
    right, lower = number + (column < columns - 1).long(), number + columns * ~is_lowest
    for neighbours, order in (((number, left, upper), steps), ((number, right, lower), reversed(steps))):
        candidates = torch.stack(neighbours).flatten(1).to(device)
        for patches in order:
            yield patches, candidates[:, patches]


def _best(patches: _Patches, candidates: Float[Tensor, "c b n 2"]) -> Float[Tensor, "b n 2"]:
    """Of several displacements of each patch the one with the least distance, among equals the first."""
    difference = patches.differences(candidates)
    best = _distance(*_patch_sums(difference, difference * difference)).argmin(dim=0)
    return candidates.gather(0, best[None, ..., None].expand(1, -1, -1, 2))[0]


def _descend(patches: _Patches, start: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
    """Eq. (1) until a step no longer lowers the distance; what ends further than a patch from its start is undone."""
    u, distance = start, torch.full_like(start[..., 0], math.inf)
    goes_on = distance > 0
    for _ in range(DESCENT_STEPS):
        difference = patches.differences(u)
        sums = _patch_sums(difference, difference * difference, *(difference * patches.slopes))
        total, squares, moment = sums[0], sums[1], sums[2:].movedim(0, -1)
        moment = moment - total[..., None] * patches.slope_sums / PATCH_PX**2
        step = patches.inverse_hessian * moment[..., None, :]
        u = torch.where(goes_on[..., None], u - (step[..., 0] + step[..., 1]), u)
        before, distance = distance, _distance(total, squares)
        goes_on = goes_on & (distance < before)
        if not goes_on.any():
            break
    is_near = (u - start).square().sum(-1, keepdim=True) <= PATCH_PX**2
    return torch.where(is_near, u, start)


def _distance(total: Float[Tensor, "*c b n"], squares: Float[Tensor, "*c b n"]) -> Float[Tensor, "*c b n"]:
    """Sum of squared differences of two patches without their means, from the sums with them."""
    return squares - total * total / PATCH_PX**2


def _patch_sums(*maps: Float[Tensor, "*c b n 8 8"]) -> Float[Tensor, "m *c b n"]:
    """Sums over the pixels of each patch, in the order of a loop over rows with four lanes."""
    stacked = torch.stack(maps)
    lanes = functools.reduce(torch.add, (stacked[..., :4] + stacked[..., 4:]).unbind(-2))
    return (lanes[..., 0] + lanes[..., 2]) + (lanes[..., 1] + lanes[..., 3])


def _square(side: int, width: int, device: torch.device) -> Int64[Tensor, "side side"]:
    """Numbers of a square's pixels in a frame of that width, from its corner on."""
    along = torch.arange(side, device=device)
    return along[:, None] * width + along


def _sobel(frames: Frames) -> tuple[Map, Map]:
    """Slopes to the right and down, eight times as steep, the frame mirrored about its outermost pixels.

    Eq. (1) therefore goes an eighth of the way in each step.
    """
    padded = functional.pad(frames, (1, 1, 1, 1), "reflect")[:, 0]
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    along = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return down[..., 2:] - down[..., :-2], along[:, 2:] - along[:, :-2]


def _hessian(x: Map, y: Map) -> tuple[Float[Tensor, "b ph pw 2"], Float[Tensor, "b ph pw 2 2"]]:
    """Sum of the slopes of every patch, and H^-1 of Eq. (1)."""
    sum_x, sum_y, xx, xy, yy = _window_sums(torch.stack((x, y, x * x, x * y, y * y)))
    determinant = xx * yy - xy * xy
    determinant = torch.where(determinant.abs() < NEARLY_ZERO, NEARLY_ZERO, determinant)
    inverse = torch.stack((yy, -xy, -xy, xx), dim=-1) / determinant[..., None]
    return torch.stack((sum_x, sum_y), dim=-1), inverse.unflatten(-1, (2, 2))


def _window_sums(maps: Float[Tensor, "m b h w"]) -> Float[Tensor, "m b ph pw"]:
    """Sums over every patch of whole numbers: exact below 2^24, and beyond as a running sum down the frame rounds."""
    rows = maps.unfold(-1, PATCH_PX, STRIDE_PX).sum(-1)
    changes = torch.cat((rows[..., :PATCH_PX, :], rows[..., PATCH_PX:, :] - rows[..., :-PATCH_PX, :]), dim=-2)
    running = tuple(itertools.accumulate(changes.unbind(-2), torch.add))
    return torch.stack(running[PATCH_PX - 1 :: STRIDE_PX], dim=-2)


def _vote(first: Frames, second: Frames, u: Float[Tensor, "b ph pw 2"]) -> Flow:
    """Eq. (2): from displacements of patches to a flow of pixels, of which up to 3 x 3 patches cover each."""
    rows, columns = (_covering(side, count) for side, count in zip(first.shape[-2:], u.shape[1:3], strict=True))
    total, weights = torch.zeros_like(first), torch.zeros_like(first)
    for (row, has_row), (column, has_column) in itertools.product(rows, columns):
        there = u[:, row.to(u.device)[:, None], column.to(u.device)].permute(0, 3, 1, 2)
        difference = _read(second, there) - first
        weight = difference.abs().clamp(min=1).reciprocal() * (has_row[:, None] & has_column).to(u.device)
        total, weights = total + weight * there, weights + weight
    return total / weights


def _covering(side: int, count: int) -> list[tuple[Int64[Tensor, "side"], Bool[Tensor, "side"]]]:
    """Number of the first, second and third patch over each pixel along a side, and whether there is one.

    Pixels after the last patch count as its own.
    """
    pixel = torch.arange(side)
    last = (pixel // STRIDE_PX).clamp(max=count - 1)
    first = ((pixel - PATCH_PX) // STRIDE_PX + 1).clamp(min=0).minimum(last)
    return [((first + more).minimum(last), first + more <= last) for more in range(3)]


def _read(second: Frames, u: Flow) -> Frames:
    """I2(x + u), bilinear; beyond the edge the outermost pixels are read, or nearly."""
    height, width = second.shape[-2:]
    across, down = pixel_grid(second)
    x, y = (across + u[:, 0]).clamp(0, width - 1 - NEARLY_ZERO), (down + u[:, 1]).clamp(0, height - 1 - NEARLY_ZERO)
    left, top = x.floor(), y.floor()
    pixels, corner = second.flatten(1), (top * width + left).long().flatten(1)
    upper_left, upper_right, lower_left, lower_right = (
        pixels.gather(1, corner + more).view_as(x) for more in (0, 1, width, width + 1)
    )
    part = (x - left) * (y - top) * lower_right + (left + 1 - x) * (y - top) * lower_left
    return (part + (x - left) * (top + 1 - y) * upper_right + (left + 1 - x) * (top + 1 - y) * upper_left)[:, None]
