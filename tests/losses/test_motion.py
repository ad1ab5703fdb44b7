"""Motion consistency: hand-computed values, gradients that reach the frames, draws whose mean is the whole."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from moving_clips import sliding
from torch import Tensor

from stinet.config import LossConfig
from stinet.losses.motion import (
    absolute,
    choices,
    draws,
    everything,
    limited,
    motion_consistency,
    motion_terms,
    relative,
    relative_strong,
)
from stinet.ops.farneback import farneback

PAPER = LossConfig(motion=0.1, motion_limit=0.0)
VARIANTS = [
    PAPER,
    replace(PAPER, motion_pairs="adjacent"),
    replace(PAPER, motion_absolute="l1", motion_relative="strong"),
    replace(PAPER, motion_absolute="none"),
    replace(PAPER, motion_relative="none"),
]


def flow(dx: float, dy: float, *, side: int = 4) -> Tensor:
    """One flow that is the same everywhere."""
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, side, side)


def shaken(clip: Tensor, size: float = 0.02, seed: int = 0) -> Tensor:
    """The clip with smooth noise on it: what a network might make."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(clip.shape, generator=random, dtype=clip.dtype).flatten(0, 1)
    return clip + size * torch.nn.functional.avg_pool2d(noise, 5, 1, 2).view(clip.shape) * 3


def test_steady_motion_has_no_relative_term() -> None:
    assert relative(flow(1.5, -2.0), flow(3.0, -4.0)).item() == 0
    assert relative(flow(0.0, 0.0), flow(3.0, -4.0)).item() == 0


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [
        ((2.0, 0.0), (0.0, 0.0), 1.0),  # there and back: 2 too far in x, nothing in y
        ((-2.0, 0.0), (0.0, 0.0), 1.0),  # to the left just as well
        ((1.0, 3.0), (2.0, 1.0), 1.0),  # x is steady, y comes back by 2
        ((1.0, -1.0), (-1.0, 1.0), 2.0),  # both turn round
        ((1.0, -4.0), (0.5, -3.0), 0.75),
    ],
)
def test_a_jitter_costs_by_how_far_the_near_frame_overshoots(near: tuple, far: tuple, expected: float) -> None:
    assert relative(flow(*near), flow(*far)).item() == pytest.approx(expected)


def test_the_strong_constraint_is_zero_for_the_true_jitter_and_counts_any_other() -> None:
    jitter = (flow(2.0, 0.0), flow(0.5, 1.0))
    assert relative_strong(*jitter, *jitter).item() == 0
    steady = (flow(1.0, 0.0), flow(2.0, 0.0))
    # (1.5, -1) is made, (-1, 0) is true: (2.5^2 + 1^2) / 2
    assert relative_strong(*jitter, *steady).item() == pytest.approx(3.625)


def test_the_absolute_term_is_a_mean_over_pixels_and_channels() -> None:
    made, truth = flow(1.0, -2.0), flow(1.5, 1.0)
    assert absolute(made, truth, "l2").item() == pytest.approx((0.25 + 9) / 2)
    assert absolute(made, truth, "l1").item() == pytest.approx((0.5 + 3) / 2)


def test_identical_clips_have_no_absolute_term_and_no_strong_one() -> None:
    clip = sliding(5, 32)
    config = replace(PAPER, motion_relative="strong")
    made, truth = clip.clone().requires_grad_(), clip  # made flows are our own, those of the truth may be OpenCV's
    for term in motion_terms(made, truth, [everything(config, 5)], config).values():
        assert term < 1e-8


def test_the_whole_term_is_that_of_a_plain_loop_over_eq_2_and_eq_3() -> None:
    truth = torch.cat([sliding(4, 24, dtype=torch.float64), sliding(4, 24, -1.3, dtype=torch.float64)])
    made = shaken(truth)[:, [0, 2, 1, 3]]  # there, back and on
    found = motion_terms(made, truth, [everything(PAPER, 4)] * 2, PAPER)
    pairs = [(t, p) for t in range(4) for p in range(4) if t != p]
    squares, hinges = [], []
    for ours, theirs in zip(made, truth, strict=True):
        flows = {(t, p): farneback(ours[t : t + 1], ours[p : p + 1]) for t, p in pairs}
        squares += [(flows[t, p] - farneback(theirs[t : t + 1], theirs[p : p + 1])).square().mean() for t, p in pairs]
        for t in (1, 2):
            near, far = flows[t - 1, t], flows[t - 1, t + 1]
            hinges.append((near.sign() * (near - far)).clamp(min=0).mean())
    assert len(squares) == 24
    assert found["motion_absolute"].item() == pytest.approx(torch.stack(squares).mean().item(), rel=1e-6)
    assert found["motion_relative"].item() == pytest.approx(torch.stack(hinges).mean().item(), rel=1e-6)
    assert found["motion_absolute"] > 1e-4
    assert found["motion_relative"] > 1e-4


def test_motion_that_is_wrong_in_x_alone_is_not_taken_for_one_in_y() -> None:
    config = replace(PAPER, motion_relative="none")
    still, right = sliding(3, 48, 0.0), sliding(3, 48, 1.0)  # dx = 1, dy = 1/2 a frame
    found = motion_terms(right, still, [everything(config, 3)], config)["motion_absolute"]
    # four pairs are one frame apart and two are two: (4 * 1 + 2 * 4) / 6 times (dx^2 + dy^2) / 2
    assert found.item() == pytest.approx(2 * (1 + 0.25) / 2, rel=0.1)
    truth = sliding(3, 48, 1.0)
    turned = truth.transpose(-1, -2)  # dx = 1/2, dy = 1
    found = motion_terms(turned, truth, [everything(config, 3)], config)["motion_absolute"]
    assert found.item() == pytest.approx(2 * 0.25, rel=0.1)


@pytest.mark.parametrize("config", VARIANTS, ids=["paper", "adjacent", "l1, strong", "without l_abs", "without l_rel"])
def test_gradients_are_those_of_finite_differences(config: LossConfig) -> None:
    truth = sliding(3, 28, 1.2, dtype=torch.float64)
    made = shaken(truth, 0.01)[:, [0, 2, 1]].requires_grad_()  # there and back: l_rel is not zero
    whole = [everything(config, 3)]

    def inner(frames: Tensor) -> Tensor:
        """The frame of 4 px around the picture stays as it is: there, pixels count as inside or outside at once."""
        edge = torch.ones(28, dtype=torch.bool)
        edge[4:-4] = False
        frames = torch.where(edge[:, None] | edge, frames.detach(), frames)
        return motion_consistency(frames, truth, whole, config)[0]

    assert torch.autograd.gradcheck(inner, (made,), fast_mode=True, eps=1e-7, atol=1e-3, rtol=1e-3)
    (gradient,) = torch.autograd.grad(inner(made), made)
    assert (gradient.abs().amax(dim=(0, 2, 3, 4)) > 1e-6).all()  # every frame


def test_a_step_against_the_gradient_makes_motion_truer() -> None:
    truth = sliding(4, 40)
    made = sliding(4, 40, 1.3).requires_grad_()
    config = replace(PAPER, motion_limit=100.0)
    whole = [everything(config, 4)]
    loss, terms = motion_consistency(made, truth, whole, config)
    (gradient,) = torch.autograd.grad(loss, made)
    moved = made.detach() - 0.02 * gradient / gradient.abs().max()
    after = motion_consistency(moved, truth, whole, config)[1]
    assert after["motion_absolute"] < 0.98 * terms["motion_absolute"]


def test_the_truth_gets_no_gradient() -> None:
    truth = sliding(3, 24).requires_grad_()
    made = sliding(3, 24, 1.2).requires_grad_()
    motion_consistency(made, truth, [everything(PAPER, 3)], PAPER)[0].backward()
    assert truth.grad is None
    assert made.grad is not None


@pytest.mark.parametrize("config", VARIANTS, ids=["paper", "adjacent", "l1, strong", "without l_abs", "without l_rel"])
@pytest.mark.parametrize("frames", [3, 5, 7])
def test_the_mean_of_all_draws_weighs_every_flow_as_the_whole_does(config: LossConfig, frames: int) -> None:
    every = draws(config, frames)
    absolutes: Counter = Counter()
    relatives: Counter = Counter()
    for draw in every:
        absolutes.update({pair: weight / len(every) for pair, weight in draw.absolute.items()})
        relatives.update({first: weight / len(every) for first, weight in draw.relative.items()})
    whole = everything(config, frames)
    assert dict(absolutes) == pytest.approx(dict(whole.absolute))
    assert dict(relatives) == pytest.approx(dict(whole.relative))


def test_the_mean_of_the_terms_of_all_draws_is_the_whole_term() -> None:
    truth = sliding(4, 20, dtype=torch.float64)
    made = shaken(truth)
    every = draws(PAPER, 4)
    mean = motion_terms(made.repeat(len(every), 1, 1, 1, 1), truth.repeat(len(every), 1, 1, 1, 1), every, PAPER)
    whole = motion_terms(made, truth, [everything(PAPER, 4)], PAPER)
    assert {name: term.item() for name, term in mean.items()} == pytest.approx(
        {name: term.item() for name, term in whole.items()}, rel=1e-9
    )


def test_the_paper_takes_42_flows_of_7_frames_and_a_draw_3() -> None:
    assert len(everything(PAPER, 7).pairs) == 42
    assert {len(draw.pairs) for draw in draws(PAPER, 7)} == {3}
    assert len(draws(PAPER, 7)) == 5 * 32
    assert len(everything(VARIANTS[1], 7).absolute) == 12


@given(seed=st.integers(0, 2**32), step=st.integers(0, 10**6), cut=st.integers(0, 6))
def test_a_clips_draw_does_not_depend_on_who_has_the_others(seed: int, step: int, cut: int) -> None:
    config = replace(PAPER, motion_sampling="sampled")
    whole = choices(config, 7, seed=seed, step=step, items=range(6))
    parts = [choices(config, 7, seed=seed, step=step, items=items) for items in (range(cut), range(cut, 6))]
    assert whole == [*parts[0], *parts[1]]


def test_draws_of_many_clips_reach_every_pair() -> None:
    config = replace(PAPER, motion_sampling="sampled")
    seen = {pair for choice in choices(config, 5, seed=0, step=3, items=range(300)) for pair in choice.pairs}
    assert len(seen) == 20


def test_a_limit_shortens_long_pixels_alone_and_turns_none() -> None:
    gradient = torch.zeros(1, 2, 3, 2, 2)  # 8 pixels
    gradient[0, 0, :, 0, 0] = torch.tensor([3.0, 0.0, 4.0])
    gradient[0, 1, :, 1, 1] = torch.tensor([0.0, 0.3, 0.0])
    cut = limited(gradient, 8.0)  # no pixel longer than 8 / 8
    assert cut[0, 0, :, 0, 0].tolist() == pytest.approx([0.6, 0.0, 0.8])
    assert torch.equal(cut[0, 1], gradient[0, 1])
    assert torch.equal(limited(gradient, 0.0), gradient)


def test_a_limit_changes_the_gradient_and_not_the_value() -> None:
    truth = sliding(3, 40)
    truth[..., 20:] = 0.5 + 0.002 * truth[..., 20:]  # nearly flat: flows are wild there
    found = {}
    for limit in (0.0, 10.0):
        made = shaken(truth).requires_grad_()
        config = replace(PAPER, motion_limit=limit)
        loss, _ = motion_consistency(made, truth, [everything(config, 3)], config)
        (gradient,) = torch.autograd.grad(3 * loss, made)
        found[limit] = loss.item(), (gradient.norm(dim=2) * 3 * 40 * 40).max().item()
    assert found[0.0][0] == found[10.0][0]
    assert found[10.0][1] == pytest.approx(3 * 10.0, rel=1e-4)
    assert found[0.0][1] > 100 * 10.0


def test_clips_a_few_at_a_time_give_what_all_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = torch.cat([sliding(3, 24, step, dtype=torch.float64) for step in (0.5, 1.0, 1.5)])
    made = shaken(truth).requires_grad_()
    whole = [everything(PAPER, 3)] * 3

    def result() -> tuple[Tensor, ...]:
        loss, terms = motion_consistency(made, truth, whole, PAPER)
        return loss, *terms.values(), *torch.autograd.grad(loss, made)

    together = result()
    monkeypatch.setattr("stinet.losses.motion.PIXELS_AT_ONCE", 2 * 6 * 24 * 24)
    for one, other in zip(result(), together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_without_gradients_the_terms_are_the_same() -> None:
    truth = sliding(3, 24)
    made = shaken(truth)
    whole = [everything(PAPER, 3)]
    ours = motion_consistency(made.clone().requires_grad_(), truth, whole, PAPER)[0]
    with torch.no_grad():
        theirs = motion_consistency(made, truth, whole, PAPER)[0]
    assert not theirs.requires_grad
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-3)
