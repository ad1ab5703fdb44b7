"""The terms are weighted as the settings say, come when they are due, and reach what they judge."""

import pytest
import torch
from moving_clips import sliding
from torch import Tensor

from stinet.config import LossConfig
from stinet.errors import ConfigError
from stinet.losses.total import Losses

CPU = torch.device("cpu")


def frames(seed: int, side: int) -> Tensor:
    return torch.rand(2, 3, 3, side, side, generator=torch.Generator().manual_seed(seed))


def clips(count: int, *, length: int = 5) -> tuple[Tensor, Tensor]:
    """Made and true clips, no two alike."""
    truth = torch.cat([sliding(length, 24, 0.4 + 0.3 * index) for index in range(count)])
    return truth + 0.02 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)), truth


def motion(**settings: object) -> Losses:
    return Losses(LossConfig(**{"motion": 0.1, "draft_low": 0.0, "draft_high": 0.0, **settings}), CPU)  # pyright: ignore[reportArgumentType]


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    losses = Losses(LossConfig(kind="l2", draft_low=0.3, draft_high=0.7, motion=0.2, motion_every=2), CPU)
    loss, terms = losses.total(frames(0, 16), frames(1, 4), frames(2, 16), frames(3, 16), frames(4, 4), step=4)
    expected = terms["reconstruction"] + 0.3 * terms["draft_low"] + 0.7 * terms["draft_high"]
    expected = expected + 0.4 * (terms["motion_absolute"] + terms["motion_relative"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["draft_low"].item() == pytest.approx((frames(1, 4) - frames(4, 4)).square().mean().item(), rel=1e-6)


def test_every_part_gets_a_gradient_and_a_weight_of_zero_takes_it_away() -> None:
    made = [frames(seed, side).requires_grad_() for seed, side in ((0, 16), (1, 4), (2, 16))]
    losses = Losses(LossConfig(draft_high=0.0), CPU)
    losses.total(made[0], made[1], made[2], frames(3, 16), frames(4, 4))[0].backward()
    assert made[0].grad is not None
    assert made[1].grad is not None
    assert made[2].grad is None


def test_a_branch_that_is_not_there_has_no_term() -> None:
    _, terms = Losses(LossConfig(), CPU).total(frames(0, 16), None, frames(2, 16), frames(3, 16), frames(4, 4))
    assert sorted(terms) == ["draft_high", "reconstruction"]


def test_identical_clips_have_no_loss_but_what_a_relative_term_says_of_the_truth() -> None:
    _, truth = clips(2)
    loss, terms = motion(kind="l2", motion_relative="none").total(truth, None, None, truth, truth)
    assert sorted(terms) == ["motion_absolute", "reconstruction"]
    assert loss < 1e-9  # made flows are ours, true ones OpenCV's: equal to 1e-5 px


def test_half_precision_frames_are_judged_in_single_precision_under_autocast_too() -> None:
    made, truth = clips(1)
    losses = motion(motion_sampling="sampled")
    found = []
    for dtype in (torch.float16, torch.float32):
        frames = made.half().to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            loss, terms = losses.total(frames, None, None, truth, truth)
        assert {value.dtype for value in (loss, *terms.values())} == {torch.float32}
        (2**10 * loss).backward()  # scaled, as the loop does for float16
        assert frames.grad is not None
        found.append((loss.item(), frames.grad.float()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert (found[0][1] - found[1][1]).norm() < 1e-3 * found[1][1].norm()


@pytest.mark.parametrize("every", [1, 3])
def test_motion_comes_on_every_kth_step_and_weighs_k_times_as_much(every: int) -> None:
    made, truth = clips(1)
    losses = motion(motion_every=every, motion_sampling="sampled")
    for step in range(4):
        loss, terms = losses.total(made, None, None, truth, truth, step=step)
        assert ("motion_absolute" in terms) == ("motion_relative" in terms) == (step % every == 0)
        extra = sum(0.1 * every * term.item() for name, term in terms.items() if name.startswith("motion"))
        assert loss.item() == pytest.approx(terms["reconstruction"].item() + extra, rel=1e-6)


def test_a_batch_in_parts_draws_the_flows_of_the_whole() -> None:
    made, truth = clips(4)
    losses = motion(motion_sampling="sampled")

    def total(*items: int) -> Tensor:
        own = list(items)
        return losses.total(made[own], None, None, truth[own], truth[own], seed=3, step=8, items=items)[0]

    whole = losses.total(made, None, None, truth, truth, seed=3, step=8)[0]
    torch.testing.assert_close(total(0, 1, 2, 3), whole)
    torch.testing.assert_close((total(0, 1) + total(2, 3)) / 2, whole)
    torch.testing.assert_close((total(3, 0) + total(1, 2)) / 2, whole)


def test_a_batch_in_parts_has_the_gradient_of_the_whole_limit_included() -> None:
    made, truth = clips(4)
    losses = motion(motion_sampling="sampled", motion_limit=20.0)

    def gradient(*items: int) -> Tensor:
        own, frames = list(items), made.clone().requires_grad_()
        losses.total(frames[own], None, None, truth[own], truth[own], items=items)[0].backward()
        assert frames.grad is not None
        return frames.grad

    whole = gradient(0, 1, 2, 3)
    torch.testing.assert_close((gradient(0, 1) + gradient(2, 3)) / 2, whole, rtol=1e-4, atol=1e-7)


def test_another_seed_or_step_draws_other_flows() -> None:
    made, truth = clips(3)
    losses = motion(motion_sampling="sampled")
    drawn = [
        losses.total(made, None, None, truth, truth, seed=seed, step=step)[1]["motion_absolute"].item()
        for seed, step in ((0, 0), (1, 0), (0, 1))
    ]
    assert len(set(drawn)) == 3


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must not be negative.*'motion_limit': -1"):
        motion(motion_limit=-1.0)


def test_a_perceptual_term_without_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vgg19-dcbb9e9d\.pth.*loss\.vgg=FILE"):
        LossConfig(perceptual=0.1)
    with pytest.raises(ConfigError, match=r"nowhere\.pth.*no such file.*loss\.vgg=FILE"):
        Losses(LossConfig(perceptual=0.1, vgg="nowhere.pth"), CPU)
