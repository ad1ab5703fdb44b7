"""Terms are zero where they should be, weighted as the settings say, and reach what they judge."""

import pytest
import torch

from stinet.config import LossConfig
from stinet.losses import distance, total


def frames(seed: int, side: int) -> torch.Tensor:
    return torch.rand(1, 3, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_identical_frames_have_no_squared_error() -> None:
    x = frames(0, 8)
    assert distance(x, x, "l2") == 0


def test_charbonnier_is_epsilon_at_zero_and_the_distance_far_away() -> None:
    x = frames(0, 8)
    assert distance(x, x).item() == pytest.approx(1e-3, rel=1e-4)
    assert distance(x, x + 1).item() == pytest.approx(1.0, abs=1e-5)


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    config = LossConfig(kind="l2", draft_low=0.3, draft_high=0.7)
    loss, terms = total(frames(0, 16), frames(1, 4), frames(2, 16), frames(3, 16), frames(4, 4), config)
    expected = terms["reconstruction"] + 0.3 * terms["draft_low"] + 0.7 * terms["draft_high"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["draft_low"].item() == pytest.approx((frames(1, 4) - frames(4, 4)).square().mean().item(), rel=1e-6)


def test_every_part_gets_a_gradient_and_a_weight_of_zero_takes_it_away() -> None:
    made = [frames(seed, side).requires_grad_() for seed, side in ((0, 16), (1, 4), (2, 16))]
    loss, _ = total(made[0], made[1], made[2], frames(3, 16), frames(4, 4), LossConfig(draft_high=0.0))
    loss.backward()
    assert made[0].grad is not None
    assert made[1].grad is not None
    assert made[2].grad is None


def test_a_branch_that_is_not_there_has_no_term() -> None:
    _, terms = total(frames(0, 16), None, frames(2, 16), frames(3, 16), frames(4, 4), LossConfig())
    assert sorted(terms) == ["draft_high", "reconstruction"]
