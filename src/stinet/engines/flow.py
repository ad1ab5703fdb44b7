r"""Farneback's optical flow (ops/farneback.py) in OpenVINO's operations, for frames of any size.

The pyramid always has four levels here, because a graph cannot choose: below the size at which ops/farneback.py stops,
a level's flow is multiplied by zero, and the finer one starts from nothing as it would there. Sizes are whole numbers.
Flows are (dy, dx) inside. Sides below 10 px are too small for the widest blur.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from openvino import opset13 as op

from stinet.ops import farneback

__all__ = ["LEAST_PX", "flow_graph", "pixels", "whole", "wholes"]

LEAST_PX = 10
"""The widest blur mirrors nine pixels."""

Node = Any
"""An OpenVINO operation or one of its outputs."""


class _Level(NamedTuple):
    """What is known of one level of the pyramid for all frames."""

    size: Node
    """Height and width."""
    expansion: Node
    """(t 5 h w): b_y, b_x, A_yy, A_xx, 2 A_xy."""
    is_used: Node
    """1.0, or 0.0 where the frame is too small for this level."""


def flow_graph(frames: Node, count: int) -> Node:
    """Flows (2 (count - 1) 2 h w; dx, dy) of `count` frames (RGB in [0, 1]): to each following one, then back."""
    gray = _conv(frames, np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1) * 255)
    sides = op.gather(op.shape_of(frames, "i64"), wholes(2, 3), whole(0))
    levels = [_level(gray, sides, depth) for depth in range(farneback.LEVELS + 1)]
    before, after = list(range(count - 1)), list(range(1, count))
    flow = None
    for level in reversed(levels):
        first, second = (
            op.gather(level.expansion, wholes(*index), whole(0)) for index in (before + after, after + before)
        )
        flow = _refined(first, second, _start(flow, first, level.size), level.size)
        flow = op.multiply(flow, level.is_used)
    return op.gather(flow, wholes(1, 0), whole(1))


def pixels(sides: Node) -> Node:
    """(y, x) of every pixel as whole numbers (1 2 h w), for sides (h, w)."""
    rows, columns = (op.range(whole(0), op.gather(sides, whole(axis), whole(0)), whole(1), "i64") for axis in (0, 1))
    column, row = op.unsqueeze(rows, wholes(0, 1, 3)), op.unsqueeze(columns, wholes(0, 1, 2))
    return op.concat([op.add(column, op.multiply(row, whole(0))), op.add(row, op.multiply(column, whole(0)))], 1)


def _level(gray: Node, sides: Node, depth: int) -> _Level:
    kernel = farneback._blur(depth, torch.float64, torch.device("cpu")).numpy()
    reach = len(kernel) // 2
    image = _conv(_padded(gray, reach, 0, "reflect"), kernel.reshape(1, 1, -1, 1))
    image = _conv(_padded(image, 0, reach, "reflect"), kernel.reshape(1, 1, 1, -1))
    size, parts = sides, 2**depth
    if depth > 0:
        # rounded half to even, as Python does
        down = op.divide(sides, whole(parts))
        odd = op.subtract(down, op.multiply(op.divide(down, whole(2)), whole(2)))
        size = op.divide(op.add(op.add(sides, odd), whole(parts // 2 - 1)), whole(parts))
        size = op.maximum(size, whole(1))
        image = _resized(image, size)
    down, across = farneback._moments(torch.float64, torch.device("cpu"))
    image = _padded(op.add(image, _number(-128.0)), farneback.POLY_RADIUS, farneback.POLY_RADIUS, "edge")
    expansion = _conv(_conv(image, down.numpy()), across.numpy())
    least = op.reduce_min(sides, wholes(0), keep_dims=False)
    is_used = op.greater_equal(least, whole(farneback.SMALLEST_SIDE_PX * parts if depth else 0))
    return _Level(size, expansion, op.convert(is_used, "f32"))


def _start(coarser: Node | None, first: Node, size: Node) -> Node:
    """The flow of the level above, enlarged, or none."""
    if coarser is None:
        return op.multiply(op.gather(first, wholes(0, 1), whole(1)), _number(0.0))
    return op.multiply(_resized(coarser, size), _number(2.0))


def _refined(first: Node, second: Node, flow: Node, size: Node) -> Node:
    """Eq. (1) and (2) of ops/farneback.py, three times."""
    at = pixels(size)
    ends = op.unsqueeze(op.add(size, whole(-1)), wholes(0, 2, 3))
    lowest, highest = op.multiply(at, whole(-1)), op.subtract(ends, at)
    bounds = op.convert(lowest, "f32"), op.convert(highest, "f32")
    # how far a pixel is from the nearest border, and what that is worth
    table = op.constant(np.array([*farneback.BORDER_WEIGHTS, 1.0], np.float32))
    near = op.minimum(op.minimum(at, op.subtract(ends, at)), whole(len(farneback.BORDER_WEIGHTS)))
    weights = op.gather(table, near, whole(0))
    weight = op.multiply(_channel(weights, 0), _channel(weights, 1))
    for _ in range(farneback.ROUNDS):
        flow = _solved(_window_mean(_normal_equations(first, second, flow, bounds, weight)))
    return flow


def _normal_equations(first: Node, second: Node, flow: Node, bounds: tuple[Node, Node], weight: Node) -> Node:
    lowest, highest = bounds
    clamped = op.minimum(op.maximum(flow, lowest), highest)
    eye = op.constant(np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1))
    there = op.deformable_convolution(
        second, clamped, eye, [1, 1], [0, 0], [0, 0], [1, 1],
        auto_pad="EXPLICIT", group=1, deformable_group=1, bilinear_interpolation_pad=True,
    )  # fmt: skip
    within = op.logical_and(op.greater_equal(flow, lowest), op.less(flow, highest))
    inside = op.logical_and(_channel(within, 0), _channel(within, 1))
    nowhere = op.multiply(first, op.constant(np.array([0, 0, 1, 1, 1], np.float32).reshape(1, 5, 1, 1)))
    there = op.select(inside, there, nowhere)
    change = op.multiply(op.subtract(first, there), _number(0.5))
    mean = op.multiply(op.add(first, there), op.constant(np.array([0, 0, 2, 2, 1], np.float32).reshape(1, 5, 1, 1) / 4))
    (by, bx), (a, c, e) = (
        [_channel(x, index) for index in which] for x, which in ((change, (0, 1)), (mean, (2, 3, 4)))
    )
    dy, dx = _channel(flow, 0), _channel(flow, 1)
    by = op.add(op.add(by, op.multiply(a, dy)), op.multiply(e, dx))
    bx = op.add(op.add(bx, op.multiply(e, dy)), op.multiply(c, dx))
    a, c, e, by, bx = (op.multiply(x, weight) for x in (a, c, e, by, bx))
    return op.concat(
        [
            op.add(op.multiply(a, a), op.multiply(e, e)),
            op.multiply(op.add(a, c), e),
            op.add(op.multiply(c, c), op.multiply(e, e)),
            op.add(op.multiply(a, by), op.multiply(e, bx)),
            op.add(op.multiply(e, by), op.multiply(c, bx)),
        ],
        1,
    )


def _window_mean(maps: Node) -> Node:
    reach, side = farneback.WINDOW_PX // 2, farneback.WINDOW_PX
    maps = _padded(maps, reach, reach, "edge")
    for kernel in ([side, 1], [1, side]):
        maps = op.avg_pool(maps, [1, 1], [0, 0], [0, 0], kernel, exclude_pad=True)
    return maps


def _solved(maps: Node) -> Node:
    g11, g12, g22, h1, h2 = (_channel(maps, index) for index in range(5))
    determinant = op.add(op.subtract(op.multiply(g11, g22), op.multiply(g12, g12)), _number(1e-3))
    dy = op.subtract(op.multiply(g22, h1), op.multiply(g12, h2))
    dx = op.subtract(op.multiply(g11, h2), op.multiply(g12, h1))
    return op.divide(op.concat([dy, dx], 1), determinant)


def _padded(x: Node, rows: int, columns: int, mode: str) -> Node:
    around = wholes(0, 0, rows, columns)
    return op.pad(x, around, around, mode)


def _resized(x: Node, size: Node) -> Node:
    """Bilinear, as `torch.nn.functional.interpolate` without aligned corners."""
    return op.interpolate(
        x, size, "linear_onnx", "sizes", axes=wholes(2, 3), coordinate_transformation_mode="half_pixel"
    )


def _conv(x: Node, kernel: np.ndarray) -> Node:
    return op.convolution(x, op.constant(kernel.astype(np.float32)), [1, 1], [0, 0], [0, 0], [1, 1])


def _channel(x: Node, index: int) -> Node:
    return op.slice(x, wholes(index), wholes(index + 1), wholes(1), wholes(1))


def whole(value: int) -> Node:
    """A whole number."""
    return op.constant(np.array(value, np.int64))


def wholes(*values: int) -> Node:
    """A row of whole numbers."""
    return op.constant(np.array(values, np.int64))


def _number(value: float) -> Node:
    return op.constant(np.array(value, np.float32))
