r"""Dense inverse search, DIS (Kroeger, Timofte, Dai, Van Gool, ECCV 2016): optical flow, batched, equal to OpenCV's.

Coarse to fine, each level does three things. Patches of 8 x 8 px, 3 px apart, seek their displacement u in the second
frame (Section 2.1). Gradient descent is *inverse*: slopes and Hessian are those of the first frame, computed once,

    u <- u - H^-1 sum_x grad I1(x) (I2(x + u) - I1(x)),   H = sum_x grad I1(x) grad I1(x)'                (1)

each patch's mean taken off. Then the patches over a pixel vote on its flow, each the less the more the brightness
differs where it points (Section 2.2),

    U(x) = sum_i w_i u_i / sum_i w_i,   w_i = 1 / max(1, |I2(x + u_i) - I1(x)|)                           (2)

and a variational step (Section 2.3) lowers, with psi(s) = sqrt(s + 0.01^2),

    E(U) = sum_x delta psi(brightness changed) + gamma psi(slopes changed) + alpha psi(|grad U|^2)        (3)

The settings are OpenCV's preset MEDIUM, but down to the full size and with two rounds of Eq. (3). A patch also tries
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

ROUNDS = 2
RELAXATIONS = 5
OVERRELAXATION = 1.6
HALF_ALPHA, HALF_GAMMA, HALF_DELTA = 10.0, 5.0, 2.5
EPSILON_SQUARED = 1e-4
ZETA_SQUARED = 0.010000001  # the square of 0.1 in single precision

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
    if _has_opencv():
        return _flow_by_opencv(first, second)
    with torch.autocast(first.device.type, enabled=False):
        return _flow_by_torch(first, second)


@functools.cache
def _has_opencv() -> bool:
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


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
        flow = _refine(a, b, _vote(a, b, _search(a, b, flow)))
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
        flow = _between(before, after, part.to(flow.device))
    return flow


def _between(a: Float[Tensor, "*s"], b: Float[Tensor, "*s"], part: Float[Tensor, "*p"]) -> Float[Tensor, "*s"]:
    """Linear interpolation a + part (b - a): the difference and the result are rounded, the product is not."""
    return (a.double() + part.double() * (b - a).double()).float()


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


def _refine(first: Frames, second: Frames, flow: Flow) -> Flow:
    """Lower Eq. (3) by a change of the flow: in each round weights stand for its roots, and it is quadratic."""
    slopes = _slopes(first[:, 0], _warp(second, flow)[:, 0])
    change = torch.zeros_like(flow)
    for _ in range(ROUNDS):
        change = _relax(_system(slopes, flow, change), change)
    return flow + change


def _warp(second: Frames, flow: Flow) -> Frames:
    """I2(x + U(x)), bilinear, along the rows first; beyond the edge the outermost pixels are read."""
    height, width = second.shape[-2:]
    across, down = pixel_grid(flow)
    x, y = across + flow[:, 0], down + flow[:, 1]
    left, top = x.floor(), y.floor()
    columns = [(left + more).clamp(0, width - 1).long() for more in (0, 1)]
    rows = [(top + more).clamp(0, height - 1).long() * width for more in (0, 1)]
    pixels = second.flatten(1)
    seen = [[pixels.gather(1, (row + column).flatten(1)).view_as(x) for column in columns] for row in rows]
    upper, lower = (_between(before, after, x - left) for before, after in seen)
    return _between(upper, lower, y - top)[:, None]


def _slopes(first: Map, second: Map) -> tuple[Map, ...]:
    """Derivatives of the mean of both frames and of their difference: x, y, t, xx, xy, yy, xt, yt."""
    mean, t = 0.5 * first + 0.5 * second, second - first
    x, y = _slope(mean, 2), _slope(mean, 1)
    return x, y, t, _slope(x, 2), _slope(x, 1), _slope(y, 1), _slope(t, 2), _slope(t, 1)


def _slope(maps: Map, axis: int) -> Map:
    """The pixel after less the pixel before, the edge repeated outside."""
    padded = functional.pad(maps, (1, 1, 0, 0) if axis == 2 else (0, 0, 1, 1), "replicate")
    side = maps.shape[axis]
    return padded.narrow(axis, 2, side) - padded.narrow(axis, 0, side)


@dataclass(frozen=True)
class _System:
    """Linear equations for the change (u, v) of the flow, two for each pixel and tied to those of its neighbours.

    diagonal (u, v) + cross (v, u) = pull + sum of tie times change of each of four neighbours. The ties to the right
    are 0 in the last column, those down in the last row.
    """

    diagonal: Flow
    cross: Map
    pull: Flow
    right: Frames
    down: Frames


def _system(slopes: tuple[Map, ...], flow: Flow, change: Flow) -> _System:
    """The minimum of Eq. (3) with the weights of the flow as changed so far. Each tie counts at both its ends."""
    diagonal, cross, pull = _data_term(slopes, change)
    to_right, to_below = _growth(flow + change, 3), _growth(flow + change, 2)
    energy = to_right[:, :1].square() + to_right[:, 1:].square() + to_below[:, :1].square() + to_below[:, 1:].square()
    weight = _root_weight(HALF_ALPHA, energy)
    right, down = functional.pad(weight[..., :-1], (0, 1)), functional.pad(weight[..., :-1, :], (0, 0, 0, 1))
    for axis, tie in ((3, right), (2, down)):
        diagonal = _add_by_colour(diagonal, tie, _before(tie, axis))
        tension = tie * _growth(flow, axis)
        pull = _add_by_colour(pull, tension, -_before(tension, axis))
    return _System(diagonal, cross, pull, right, down)


def _data_term(slopes: tuple[Map, ...], change: Flow) -> tuple[Flow, Map, Flow]:
    """What constancy of brightness, then of its slopes asks: diagonal, cross and pull of the system.

    Each is normalised by the squared slope, so that steep places do not outweigh all others.
    """
    x, y, t, xx, xy, yy, xt, yt = slopes
    u, v = change.unbind(1)
    norm = x * x + y * y + ZETA_SQUARED
    weight = _root_weight(HALF_DELTA, (t + x * u + y * v).square() / norm) / norm
    diagonal = [weight * (x * x) + ZETA_SQUARED, weight * (y * y) + ZETA_SQUARED]
    cross = weight * (x * y)
    pull = [-weight * (t * x), -weight * (t * y)]

    norm_x, norm_y = xx * xx + xy * xy + ZETA_SQUARED, yy * yy + xy * xy + ZETA_SQUARED
    error_x, error_y = xt + xx * u + xy * v, yt + xy * u + yy * v
    weight = _root_weight(HALF_GAMMA, error_x.square() / norm_x + error_y.square() / norm_y)
    diagonal[0] = diagonal[0] + weight * (xx * xx / norm_x + xy * xy / norm_y)
    diagonal[1] = diagonal[1] + weight * (xy * xy / norm_x + yy * yy / norm_y)
    cross = cross + weight * (xx * xy / norm_x + xy * yy / norm_y)
    pull[0] = pull[0] - weight * (xx * xt / norm_x + xy * yt / norm_y)
    pull[1] = pull[1] - weight * (xy * xt / norm_x + yy * yt / norm_y)
    return torch.stack(diagonal, 1), cross, torch.stack(pull, 1)


def _root_weight(half: float, squares: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Slope of 2 half psi: the weight of a squared error that stands for its root.

    By way of double precision: the single root of vector instructions is now and then a bit off.
    """
    return torch.full_like(squares, half) / (squares + EPSILON_SQUARED).double().sqrt().float()


def _relax(system: _System, change: Flow) -> Flow:
    """Successive over-relaxation: all red pixels of a checkerboard, then all black ones, several times."""
    left, upper = _before(system.right, 3), _before(system.down, 2)
    red = _is_red(change)
    u, v = change.unbind(1)
    for colour in (red, ~red) * RELAXATIONS:
        near = left * _before(change, 3) + system.right * _after(change, 3)
        near = near + upper * _before(change, 2) + system.down * _after(change, 2)
        pull_u, pull_v = (near + system.pull).unbind(1)
        u = torch.where(colour, _overrelaxed(u, (pull_u - v * system.cross) / system.diagonal[:, 0]), u)
        v = torch.where(colour, _overrelaxed(v, (pull_v - u * system.cross) / system.diagonal[:, 1]), v)
        change = torch.stack((u, v), 1)
    return change


def _overrelaxed(before: Map, solved: Map) -> Map:
    """As far as an equation asks, and then some."""
    return before + OVERRELAXATION * (solved - before)


def _add_by_colour(total: Flow, own: Float[Tensor, "b c h w"], others: Float[Tensor, "b c h w"]) -> Flow:
    """Add the ties that begin at a pixel and those that end there, in the order in which red and black are visited."""
    red = _is_red(total)
    return total + torch.where(red, own, others) + torch.where(red, others, own)


def _is_red(maps: Float[Tensor, "b c h w"]) -> Bool[Tensor, "1 h w"]:
    """The squares of a checkerboard that have the colour of the upper left one."""
    x, y = pixel_grid(maps)
    return (x + y) % 2 == 0


def _after(maps: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, "b c h w"]:
    """Each pixel's follower along an axis; 0 after the last."""
    return functional.pad(maps.narrow(axis, 1, maps.shape[axis] - 1), (0, 1) if axis == 3 else (0, 0, 0, 1))


def _before(maps: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, "b c h w"]:
    """Each pixel's predecessor along an axis; 0 before the first."""
    return functional.pad(maps.narrow(axis, 0, maps.shape[axis] - 1), (1, 0) if axis == 3 else (0, 0, 1, 0))


def _growth(maps: Float[Tensor, "b c h w"], axis: int) -> Float[Tensor, "b c h w"]:
    """Each pixel's follower less the pixel itself; 0 for the last."""
    return functional.pad(maps.diff(dim=axis), (0, 1) if axis == 3 else (0, 0, 0, 1))
