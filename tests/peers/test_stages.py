"""Either order of two stages: who sees which frames, how often, and what becomes of tiles."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from stinet.config import ClipFunction, Tile
from stinet.peers.pairs import ENLARGERS, INTERPOLATORS, PEERS
from stinet.peers.stages import EnlargeFirst, InterpolateFirst


class Means:
    """Makes time-weighted means, and notes the sizes that it sees."""

    identity = "means"

    def __init__(self) -> None:
        self.prepared: list[tuple[int, ...]] = []
        self.pairs: list[tuple[float, ...]] = []

    def prepare(self, frame: Tensor) -> Tensor:
        self.prepared.append(tuple(frame.shape))
        return frame

    def between(self, before: Tensor, after: Tensor, taus: Sequence[float]) -> list[Tensor]:
        self.pairs.append(tuple(taus))
        return [torch.lerp(before, after, tau) for tau in taus]


class Blurred:
    """Every pixel twice in each direction, blurred by a mean of 3x3: it reads one source pixel around."""

    identity, scale, halo_px, reach = "blurred", 2, 1, 0

    def __call__(self, frames: Tensor) -> Tensor:
        large = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return torch.nn.functional.avg_pool2d(large, 3, 1, 1, count_include_pad=False)


def upscale(fn: ClipFunction, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> Tensor:
    states = [fn.prepare(frame) for frame in frames]
    return fn.run(states, times, fn.context(states, times), tile)


@pytest.mark.parametrize(("order", "seen"), [(InterpolateFirst, (3, 6, 7)), (EnlargeFirst, (3, 12, 14))])
def test_the_first_stage_feeds_the_second(order: type, seen: tuple[int, ...]) -> None:
    means = Means()
    made = upscale(order(means, Blurred()), torch.rand(3, 3, 6, 7), ((0.25, 0.5), ()))
    assert made.shape == (5, 3, 12, 14)
    assert means.prepared == [seen] * 3
    assert means.pairs == [(0.25, 0.5)]  # nothing is due in the second interval, so nobody is asked


@pytest.mark.parametrize("order", [InterpolateFirst, EnlargeFirst])
def test_given_frames_are_the_enlargers_own(order: type) -> None:
    frames = torch.rand(3, 3, 6, 7)
    made = upscale(order(Means(), Blurred()), frames, ((0.5,), (0.1, 0.9)))
    torch.testing.assert_close(made[[0, 2, 5]], Blurred()(frames))


@pytest.mark.parametrize("order", [InterpolateFirst, EnlargeFirst])
def test_a_tile_is_the_crop_of_the_whole_frame(order: type) -> None:
    frames = torch.rand(2, 3, 9, 8)
    whole = upscale(order(Means(), Blurred()), frames, ((0.5,),))
    tile = upscale(order(Means(), Blurred()), frames, ((0.5,),), Tile(top=3, left=0, bottom=8, right=5))
    torch.testing.assert_close(tile, whole[..., 6:16, :10])


def test_both_orders_have_names_of_their_own() -> None:
    forth, back = InterpolateFirst(Means(), Blurred()), EnlargeFirst(Means(), Blurred())
    assert (forth.identity, back.identity) == ("means+blurred x2", "blurred+means x2")
    assert isinstance(forth, ClipFunction)
    assert forth.reach == 0


def test_a_name_does_first_what_it_says_first() -> None:
    assert len(PEERS) == 2 * len(INTERPOLATORS) * len(ENLARGERS)
    assert isinstance(PEERS["flow+bicubic"](4), InterpolateFirst)
    assert isinstance(PEERS["bicubic+flow"](4), EnlargeFirst)
