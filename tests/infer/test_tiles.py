"""Tiles: they cover the frame, change nothing for a local function, and fit in memory."""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from stinet.config import Tile
from stinet.infer.tiles import by_tiles, fitting_size_px, plan_tiles

BIG = 1 << 40


def local(image: Tensor, scale: int) -> Callable[[Tile | None], Tensor]:
    """A blur that looks 2 px far, enlarged; zero outside what it is shown."""

    def run(tile: Tile | None) -> Tensor:
        part = image if tile is None else image[..., tile.top : tile.bottom, tile.left : tile.right]
        blurred = functional.avg_pool2d(part, 5, 1, 2)
        return blurred.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    return run


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(20, 60), st.sampled_from([1, 2, 4]))
def test_tiled_equals_whole_for_a_local_function(height: int, width: int, side: int, scale: int) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    run = local(image, scale)
    tiled = by_tiles(run, (height, width), scale=scale, side_px=side, halo_px=4, count=2)
    assert (tiled - run(None)).abs().max() < 1e-6


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(20, 80), st.integers(0, 8))
def test_tiles_cover_every_pixel_and_stay_inside(height: int, width: int, side: int, halo: int) -> None:
    seen = torch.zeros(height, width)
    for tile in plan_tiles((height, width), side, halo):
        assert 0 <= tile.top < tile.bottom <= height
        assert 0 <= tile.left < tile.right <= width
        assert max(tile.height, tile.width) <= side
        seen[tile.top : tile.bottom, tile.left : tile.right] += 1
    assert seen.min() >= 1


def test_a_frame_that_fits_is_one_tile_and_one_that_does_not_is_cut() -> None:
    assert fitting_size_px((100, 200), 6, 16, BIG) == 200
    side = fitting_size_px((1000, 2000), 6, 16, 6 * 4000 * 2 * 500 * 500)
    assert 490 <= side <= 500
    assert fitting_size_px((1000, 2000), 6, 16, 0) > 2 * 16


def test_memory_that_does_not_grow_with_the_clip_counts_too() -> None:
    budget = 2 * 500 * 500 * (6 * 4000 + 10_000)
    side = fitting_size_px((1000, 2000), 6, 16, budget, working_bytes_per_pixel=10_000)
    assert 490 <= side <= 500
