r"""The variational step of dense inverse search: a flow is changed a little to fit two frames and to be smooth.

It lowers, with psi(s) = sqrt(s + 0.01^2),

    E(U) = sum_x delta psi(brightness changed) + gamma psi(slopes changed) + alpha psi(|grad U|^2)        (1)

by rounds in which weights stand for the roots, so that the minimum solves linear equations; these are relaxed a few
times. Equal to OpenCV's VariationalRefinement to the bit, as ops/inverse_search.py says and with its conventions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from stinet.ops.warp import pixel_grid

__all__ = ["ROUNDS", "between", "refine"]

ROUNDS = 2
RELAXATIONS = 5
OVERRELAXATION = 1.6
HALF_ALPHA, HALF_GAMMA, HALF_DELTA = 10.0, 5.0, 2.5
EPSILON_SQUARED = 1e-4
ZETA_SQUARED = 0.010000001  # the square of 0.1 in single precision

Frames = Float[Tensor, "b 1 h w"]
Flow = Float[Tensor, "b 2 h w"]
Map = Float[Tensor, "b h w"]


def refine(first: Frames, second: Frames, flow: Flow) -> Flow:
    """Lower Eq. (1) by a change of the flow: in each round weights stand for its roots, and it is quadratic."""
    slopes = _slopes(first[:, 0], _warp(second, flow)[:, 0])
    change = torch.zeros_like(flow)
    for _ in range(ROUNDS):
        change = _relax(_system(slopes, flow, change), change)
    return flow + change


def between(a: Float[Tensor, "*s"], b: Float[Tensor, "*s"], part: Float[Tensor, "*p"]) -> Float[Tensor, "*s"]:
    """Linear interpolation a + part (b - a): the difference and the result are rounded, the product is not."""
    return (a.double() + part.double() * (b - a).double()).float()


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
    upper, lower = (between(before, after, x - left) for before, after in seen)
    return between(upper, lower, y - top)[:, None]


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
    """The minimum of Eq. (1) with the weights of the flow as changed so far. Each tie counts at both its ends."""
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
