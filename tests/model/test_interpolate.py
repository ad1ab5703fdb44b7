"""ST-FI: Eq. (1), Mnet, Pnet with its shared blocks, and flows between output frames."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import COMPACT, KINDS, NO_FLOW, PAPER, build, clip, some_flows
from torch import Tensor, nn

from stinet.config import ModelConfig
from stinet.model.interpolate import Flows, Interpolated, enlarge_flow
from stinet.model.stinet import STINet
from stinet.model.timeline import Timeline
from stinet.ops.warp import warp_cubic


def interpolated(net: STINet, frames: Tensor, flows: Flows | None, line: Timeline) -> Interpolated:
    flat = frames.flatten(0, 1)
    with torch.no_grad():
        features = net.features(flat)
        return net.interpolate(flat, features.low, features.high, flows, line)


def seen_by(module: nn.Module | None) -> list[tuple[Any, ...]]:
    """Collect the inputs of a module while it runs."""
    calls: list[tuple[Any, ...]] = []
    assert module is not None
    module.register_forward_hook(lambda _m, inputs, _o: calls.append(inputs))
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_equation_1_at_any_time(kind: str) -> None:
    net, flows = build(KINDS[kind]), some_flows(3, batch=2)
    calls = seen_by(net.interpolate.motion)
    interpolated(net, clip(batch=2), flows, Timeline.of(3, ((0.25,), (0.5, 0.9))))
    to_left, to_right = calls[0][:2]
    for index, (interval, tau) in enumerate([(0, 0.25), (1, 0.5), (1, 0.9)] * 2):
        which = index // 3
        # t' = t - 1 + 2 tau
        expected_left = (2 * tau) / 2 * flows.backward[which, interval]
        expected_right = (2 - 2 * tau) / 2 * flows.forward[which, interval]
        torch.testing.assert_close(to_left[index], expected_left)
        torch.testing.assert_close(to_right[index], expected_right)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_flows_are_not_scaled(kind: str) -> None:
    net, flows = build(replace(KINDS[kind], flow="raw")), some_flows()
    calls = seen_by(net.interpolate.motion)
    interpolated(net, clip(), flows, Timeline.of(3, (0.25,)))
    torch.testing.assert_close(calls[0][0], flows.backward[0])
    torch.testing.assert_close(calls[0][1], flows.forward[0])


@pytest.mark.parametrize("kind", KINDS)
def test_without_flows_there_is_no_mnet_and_pnet_takes_two_features(kind: str) -> None:
    with_flow, without = build(KINDS[kind]), build(replace(KINDS[kind], **NO_FLOW))
    assert without.interpolate.motion is None
    assert not [name for name, _ in without.named_parameters() if "motion" in name]
    for net, count in ((with_flow, 3), (without, 2)):
        for branch in (net.interpolate.pnet.low, net.interpolate.pnet.high):
            assert branch is not None
            entry = branch.entry
            assert isinstance(entry, nn.Conv2d | nn.ConvTranspose2d)
            assert entry.in_channels == count * 8
    made = interpolated(without, clip(), None, Timeline.of(3))
    assert made.to_previous is None
    with torch.no_grad():
        torch.testing.assert_close(without(clip(), flows=some_flows()).final, without(clip()).final)


@pytest.mark.parametrize("kind", KINDS)
def test_given_features_pass_unchanged(kind: str) -> None:
    net, frames = build(KINDS[kind]), clip()
    made = interpolated(net, frames, some_flows(), Timeline.of(3, (0.3, 0.6)))
    with torch.no_grad():
        given = net.features(frames[0])
    assert made.low is not None
    assert made.high is not None
    torch.testing.assert_close(made.low[::3], given.low)
    torch.testing.assert_close(made.high[::3], given.high)
    torch.testing.assert_close(made.base[::3], frames[0])


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_are_not_shared_double_the_shared_parameters(kind: str) -> None:
    def count(config: ModelConfig) -> int:
        return sum(p.numel() for p in STINet(config).interpolate.pnet.parameters())

    shared = sum(p.numel() for p in STINet(KINDS[kind]).interpolate.pnet.shared.parameters())
    assert count(replace(KINDS[kind], blocks_shared=False)) - count(KINDS[kind]) == shared > 0


@pytest.mark.parametrize(("shared_at", "grids"), [
    ("native", [(10, 12), (40, 48)]), ("low", [(10, 12)] * 2), ("high", [(40, 48)] * 2),
])  # fmt: skip
def test_both_branches_pass_the_same_blocks_on_the_grid_that_is_set(
    shared_at: Any, grids: list[tuple[int, int]]
) -> None:
    net = build(replace(PAPER, shared_at=shared_at))
    calls = seen_by(net.interpolate.pnet.shared)
    made = interpolated(net, clip(2), some_flows(2), Timeline.of(2))
    assert [tuple(call[0].shape[-2:]) for call in calls] == grids
    assert made.low is not None
    assert made.high is not None
    assert (made.low.shape[-2:], made.high.shape[-2:]) == ((10, 12), (40, 48))


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_output_of_the_shared_blocks_are_concatenated(kind: str) -> None:
    net = build(KINDS[kind])
    pnet = net.interpolate.pnet
    entered = seen_by(pnet.shared)
    left: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        left.append(output)

    pnet.shared.register_forward_hook(keep)
    for branch in (pnet.low, pnet.high):
        assert branch is not None
        calls = seen_by(branch.after)
        entered.clear()
        left.clear()
        interpolated(net, clip(2), some_flows(2), Timeline.of(2))
        which = 0 if branch is pnet.low else 1
        torch.testing.assert_close(calls[0][0], torch.cat([entered[which][0], left[which]], dim=1))


def test_mnet_is_two_convolutions_around_residual_blocks_on_the_two_flows() -> None:
    motion = STINet(ModelConfig()).interpolate.motion
    assert motion is not None
    assert (motion.entry.in_channels, motion.entry.out_channels, motion.exit.out_channels) == (4, 32, 64)
    assert len(motion.blocks) == 2
    assert sum(p.numel() for p in motion.parameters()) == 56_672  # as published


def test_the_base_is_the_blend_of_both_warped_neighbours_by_time() -> None:
    net, frames, flows = build(COMPACT, awake=False), clip(2), some_flows(2)
    base = interpolated(net, frames, flows, Timeline.of(2, (0.25,))).base[1:2]
    left = warp_cubic(frames[:, 0], 0.25 * flows.backward[:, 0])
    right = warp_cubic(frames[:, 1], 0.75 * flows.forward[:, 0])
    torch.testing.assert_close(base, 0.75 * left + 0.25 * right)


def test_aligned_interpolation_of_still_equal_frames_starts_near_their_features() -> None:
    net = build(COMPACT, awake=False)
    for part in (net.interpolate.pnet.low, net.interpolate.pnet.high):
        assert part is not None
        assert isinstance(part.exit, nn.Conv2d)
        nn.init.zeros_(part.exit.weight)
    frames = clip(1).expand(1, 2, 3, 10, 12)
    made = interpolated(net, frames, Flows(*torch.zeros(2, 1, 1, 2, 10, 12)), Timeline.of(2, (0.3,)))
    assert made.low is not None
    torch.testing.assert_close(made.low[1], made.low[0], rtol=1e-4, atol=1e-5)


def test_flows_between_output_frames_add_up_to_those_between_source_frames() -> None:
    """Along a motion that is the same everywhere, the steps of an interval sum to the flow across it."""
    net = build(COMPACT, awake=False)
    ahead = torch.tensor([[3.0, -1.0], [2.0, 4.0]]).view(1, 2, 2, 1, 1).expand(1, 2, 2, 6, 5)
    made = interpolated(net, clip(3, (6, 5)), Flows(ahead, -ahead), Timeline.of(3, ((0.2, 0.7), (0.5,))))
    assert made.to_following is not None
    assert made.to_previous is not None
    steps = made.to_following[:, :, 0, 0]
    torch.testing.assert_close(steps[0:3].sum(0), ahead[0, 0, :, 0, 0])
    torch.testing.assert_close(steps[3:5].sum(0), ahead[0, 1, :, 0, 0])
    torch.testing.assert_close(steps[1], 0.5 * ahead[0, 0, :, 0, 0])
    assert not steps[5].any()
    torch.testing.assert_close(made.to_previous[1:], -made.to_following[:-1])
    assert not made.to_previous[0].any()


def test_flows_between_source_frames_alone_are_whole() -> None:
    flows = some_flows()
    made = interpolated(build(COMPACT), clip(), flows, Timeline.of(3, ()))
    assert made.to_following is not None
    assert made.to_previous is not None
    torch.testing.assert_close(made.to_following[:2], flows.forward[0])
    torch.testing.assert_close(made.to_previous[1:], flows.backward[0])


def test_an_enlarged_flow_points_as_far_in_finer_pixels() -> None:
    flow = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    large = enlarge_flow(flow, 4)
    assert large.shape == (1, 2, 12, 16)
    torch.testing.assert_close(large[..., 0, 0], torch.tensor([[6.0, -8.0]]))
    assert enlarge_flow(flow, 1) is flow


@pytest.mark.parametrize(("logit", "side"), [(50.0, 1), (-50.0, 0)])
def test_a_refined_blend_is_a_share_that_can_choose_either_neighbour(logit: float, side: int) -> None:
    net = build(replace(COMPACT, flow_refined=True), awake=False)
    motion = net.interpolate.motion
    assert motion is not None
    assert motion.correction is not None
    assert motion.correction.bias is not None
    with torch.no_grad():
        motion.correction.bias.copy_(torch.tensor([1.0, 0.0, 0.0, -1.0, logit]))
    frames, flows = clip(2), some_flows(2)
    base = interpolated(net, frames, flows, Timeline.of(2, (0.3,))).base[1:2]
    corrected = (
        0.3 * flows.backward[:, 0] + torch.tensor([1.0, 0.0]).view(1, 2, 1, 1),
        0.7 * flows.forward[:, 0] + torch.tensor([0.0, -1.0]).view(1, 2, 1, 1),
    )
    torch.testing.assert_close(base, warp_cubic(frames[:, side], corrected[side]))
