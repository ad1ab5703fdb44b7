"""Distances of frames are those of their equations."""

import pytest
import torch

from stinet.losses.distance import distance


def frames(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_identical_frames_have_no_squared_error() -> None:
    x = frames(0)
    assert distance(x, x, "l2") == 0


def test_charbonnier_is_epsilon_at_zero_and_the_distance_far_away() -> None:
    x = frames(0)
    assert distance(x, x).item() == pytest.approx(1e-3, rel=1e-4)
    assert distance(x, x + 1).item() == pytest.approx(1.0, abs=1e-5)


def test_l2_is_the_mean_of_squares() -> None:
    made = torch.tensor([0.5, 0.1, 0.0, 1.0])
    truth = torch.tensor([0.1, 0.4, 0.0, 0.5])
    assert distance(made, truth, "l2").item() == pytest.approx((0.16 + 0.09 + 0.25) / 4)


@pytest.mark.parametrize("kind", ["charbonnier", "l2"])
def test_half_precision_frames_lose_nothing_more_than_their_rounding(kind: str) -> None:
    made, truth = frames(1).bfloat16(), frames(2)
    assert torch.equal(distance(made, truth, kind), distance(made.float(), truth, kind))
