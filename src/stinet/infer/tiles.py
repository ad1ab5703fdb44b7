r"""A frame in overlapping tiles, each with a halo of real context that is computed and then faded out.

Neighbouring tiles overlap by two halos. Along one axis a tile's weight is 0 for the outer half halo, rises linearly
over one halo, and is 1 inside; at the frame's own edge it is 1. The output is

    V = sum_k w_k V_k / sum_k w_k,

so a function that looks no further than half a halo gives exactly the frame it gives without tiles. What looks further
(ST-GR pools over all it sees) differs by what docs/memory.md says.

One tile is the whole frame when that fits in the memory at hand. This file knows no model: `run` gives the frames of
one tile.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from stinet.config import Tile

__all__ = ["BYTES_PER_PIXEL", "by_tiles", "fitting_size_px", "plan_tiles", "smallest_size_px"]

BYTES_PER_PIXEL = 4_000
"""Memory of a clip function that does not say: bytes per source pixel and source frame."""

_SHARE = 0.5
"""Part of the free memory that a clip may take."""

_SMALLEST_PX = 32
"""A tile's interior below this costs more halo than picture."""


def by_tiles(
    run: Callable[[Tile | None], Float[Tensor, "k 3 th tw"]],
    size: tuple[int, int],
    *,
    scale: int,
    side_px: int,
    halo_px: int,
    count: int,
) -> Float[Tensor, "k 3 sh sw"]:
    """The `count` frames of `run`, whole frames of `size` = (h, w) source pixels: on the CPU, float32."""
    tiles = plan_tiles(size, side_px, halo_px)
    if len(tiles) == 1:
        return run(None)
    return _blend(run, tiles, size, scale=scale, halo_px=halo_px, count=count)


def smallest_size_px(halo_px: int) -> int:
    """The smallest tile that is not nearly all halo."""
    return 2 * halo_px + _SMALLEST_PX


def fitting_size_px(
    size: tuple[int, int], sources: int, halo_px: int, budget_bytes: int, *,
    bytes_per_pixel: int = BYTES_PER_PIXEL, working_bytes_per_pixel: int = 0,
) -> int:  # fmt: skip
    """Side of the largest square tile whose clip of `sources` frames fits in half of `budget_bytes`.

    The longer side if all does.
    """
    pixels = budget_bytes * _SHARE / (bytes_per_pixel * max(sources, 1) + working_bytes_per_pixel)
    if size[0] * size[1] <= pixels:
        return max(size)
    return max(int(math.sqrt(pixels)), smallest_size_px(halo_px))


def plan_tiles(size: tuple[int, int], side: int, halo_px: int) -> list[Tile]:
    """Tiles of at most `side` px that cover (h, w), neighbours overlapping by at least two halos, in reading order."""
    return [
        Tile(top=top, left=left, bottom=bottom, right=right)
        for top, bottom in _spans(size[0], side, halo_px)
        for left, right in _spans(size[1], side, halo_px)
    ]


def _spans(length: int, side: int, halo_px: int) -> list[tuple[int, int]]:
    """Equal spans from 0 to `length`, evenly spread."""
    if side >= length:
        return [(0, length)]
    count = math.ceil((length - 2 * halo_px) / (side - 2 * halo_px))
    starts = [round(k * (length - side) / (count - 1)) for k in range(count)]
    assert all(b - a <= side - 2 * halo_px for a, b in pairwise(starts))
    return [(start, start + side) for start in starts]


def _blend(
    run: Callable[[Tile | None], Float[Tensor, "k 3 th tw"]],
    tiles: list[Tile],
    size: tuple[int, int],
    *,
    scale: int,
    halo_px: int,
    count: int,
) -> Float[Tensor, "k 3 sh sw"]:
    height, width = size[0] * scale, size[1] * scale
    total = torch.zeros(count, 3, height, width)
    weights = torch.zeros(height, width)
    for tile in tiles:
        down = _ramp(tile.top, tile.bottom, size[0], halo_px, scale)
        across = _ramp(tile.left, tile.right, size[1], halo_px, scale)
        weight = down[:, None] * across[None, :]
        rows = slice(tile.top * scale, tile.bottom * scale)
        columns = slice(tile.left * scale, tile.right * scale)
        total[..., rows, columns].addcmul_(run(tile), weight)
        weights[rows, columns] += weight
    return total.div_(weights)


def _ramp(start: int, stop: int, length: int, halo_px: int, scale: int) -> Float[Tensor, "n"]:
    """Weights along one axis of a tile, in output pixels; 1 on a side that is the frame's own edge."""
    halo = halo_px * scale
    place = torch.arange((stop - start) * scale) + 0.5
    weight = torch.ones_like(place)
    if halo and start > 0:
        weight = weight * ((place - halo / 2) / halo).clamp(0, 1)
    if halo and stop < length:
        weight = weight * ((place.flip(0) - halo / 2) / halo).clamp(0, 1)
    return weight
