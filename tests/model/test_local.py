"""ST-LR: motion offsets, Inet, the deformable convolution and its start, and fusion."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import COMPACT, KINDS, PAPER, build, clip, some_flows, wake
from torch import Tensor, nn
from torch.nn import functional

from stinet.config import ModelConfig
from stinet.model.interpolate import Interpolated, enlarge_flow
from stinet.model.local import Align, Fusion, Local, MotionOffsets, OffsetExchange
from stinet.model.stinet import STINet
from stinet.ops.warp import warp


def align(kernel: int, groups: int = 2) -> Align:
    torch.manual_seed(0)
    module = Align(channels=8, width=6, kernel=kernel, groups=groups, max_offset_px=4.0)
    assert module.weight.bias is not None
    nn.init.normal_(module.weight.bias)
    return module


def plain(module: Align, x: Tensor) -> Tensor:
    """Half the convolution, whole bias."""
    return functional.conv2d(x, module.weight.weight / 2, module.weight.bias, padding=module.kernel // 2)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_alignment_starts_as_half_a_plain_convolution(kernel: int, groups: int) -> None:
    module = align(kernel, groups)
    x, s = torch.randn(2, 8, 7, 9), torch.randn(2, 6, 7, 9)
    torch.testing.assert_close(module(x, s, None), plain(module, x), rtol=1e-4, atol=1e-5)


def test_with_a_flow_it_starts_as_that_on_the_warped_neighbour() -> None:
    module = align(1)
    x, s = torch.randn(1, 8, 9, 11), torch.randn(1, 6, 9, 11)
    flow = torch.rand(1, 2, 9, 11) * 4 - 2
    # outside the frame the convolution reads zeros and the warp repeats the edge: the middle is compared
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(module(x, s, flow)[inner], plain(module, warp(x, flow))[inner], rtol=1e-4, atol=1e-5)


def test_a_wider_kernel_starts_on_the_neighbour_moved_by_the_flow_too() -> None:
    module = align(3)
    x, s = torch.randn(1, 8, 12, 12), torch.randn(1, 6, 12, 12)
    flow = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(1, 2, 12, 12).contiguous()
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(module(x, s, flow)[inner], plain(module, warp(x, flow))[inner], rtol=1e-4, atol=1e-5)


def test_learned_offsets_reach_up_to_their_bound_and_never_beyond() -> None:
    module = align(1)
    nn.init.normal_(module.offsets.weight[: 2 * 2], std=100.0)
    x = torch.zeros(1, 8, 30, 40)
    x[..., 20:] = 1e6
    assert module.weight.bias is not None
    moved = module(x, torch.randn(1, 6, 30, 40), None) - module.weight.bias.view(1, -1, 1, 1)
    reached = moved.abs().amax((0, 1, 2)) > 1
    # 4 px, and one more for the bilinear foot
    assert reached.tolist()[:20] == [False] * 16 + [True] * 4


def test_offsets_are_two_convolutions_of_the_concatenated_pair() -> None:
    torch.manual_seed(0)
    module = wake(MotionOffsets(8, 6))
    x = torch.randn(3, 8, 5, 7)
    made = module(x, x[[0, 0, 1]], "previous", None)
    centre, neighbour = module.centre["previous"], module.neighbour["previous"]
    first = functional.conv2d(
        torch.cat([x, x[[0, 0, 1]]], dim=1), torch.cat([centre.weight, neighbour.weight], dim=1),
        centre.bias + neighbour.bias, padding=1,
    )  # fmt: skip
    expected = module.second["previous"](functional.leaky_relu(first, 0.1))
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


def test_inet_is_a_joint_convolution_and_one_each_on_the_original_and_the_joint() -> None:
    torch.manual_seed(0)
    module = wake(OffsetExchange(6, 1))
    low, high = torch.randn(2, 2, 6, 5, 7)
    joint = functional.leaky_relu(module.joint(torch.cat([low, high], dim=1)), 0.1)
    made = module(low, high)
    torch.testing.assert_close(made[0], module.low(torch.cat([low, joint], dim=1)))
    torch.testing.assert_close(made[1], module.high(torch.cat([high, joint], dim=1)))


def test_inet_brings_h_down_by_area_and_the_joint_up_bilinearly_with_scaled_values() -> None:
    torch.manual_seed(0)
    module = wake(OffsetExchange(6, 4))
    low, high = torch.randn(1, 6, 3, 5), torch.randn(1, 6, 12, 20)
    down = high.unflatten(2, (3, 4)).unflatten(4, (5, 4)).mean(dim=(3, 5)) / 4
    joint = functional.leaky_relu(module.joint(torch.cat([low, down], dim=1)), 0.1)
    up = 4 * functional.interpolate(joint, (12, 20), mode="bilinear")
    made = module(low, high)
    torch.testing.assert_close(made[0], module.low(torch.cat([low, joint], dim=1)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made[1], module.high(torch.cat([high, up], dim=1)), rtol=1e-4, atol=1e-5)


def steering(net: STINet) -> dict[str, list[Tensor]]:
    """The motion offsets that steer the alignment of L and then of H, per direction, as they are used."""
    seen: dict[str, list[Tensor]] = {"previous": [], "following": []}
    local = net.local[0]
    assert isinstance(local, Local)
    for weights in local.weights.values():
        for side, module in weights.align.items():  # pyright: ignore
            module.register_forward_hook(lambda _m, inputs, _o, side=side: seen[side].append(inputs[1]))
    with torch.no_grad():
        net(clip(), flows=some_flows())
    return seen


@pytest.mark.parametrize("source", ["low", "high"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_set_of_offsets_serves_both_branches_and_turns_inet_off(kind: str, source: Any) -> None:
    net = build(replace(KINDS[kind], offsets_from=source))
    assert net.local[0].exchange is None
    for low, high in steering(net).values():
        torch.testing.assert_close(low, high)


def test_one_set_is_resampled_and_scaled_between_the_native_grids() -> None:
    for source in ("low", "high"):
        for low, high in steering(build(replace(PAPER, align_at="native", offsets_from=source))).values():  # pyright: ignore
            assert high.shape[-2:] == (40, 48)
            if source == "low":
                torch.testing.assert_close(high, 4 * functional.interpolate(low, scale_factor=4.0, mode="bilinear"))
            else:
                torch.testing.assert_close(low, functional.avg_pool2d(high, 4) / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_inet_each_branch_keeps_its_own_offsets(kind: str) -> None:
    net = build(replace(KINDS[kind], offset_interaction=False))
    assert not [name for name, _ in net.named_parameters() if "exchange" in name]
    local = net.local[0]
    assert isinstance(local, Local)
    found: list[Tensor] = []
    for weights in local.weights.values():
        weights.offsets.register_forward_hook(lambda _m, _i, output: found.append(output))  # pyright: ignore
    used = steering(net)
    for index, side in enumerate(("previous", "following")):
        torch.testing.assert_close(used[side], found[2 * index : 2 * index + 2])


def test_weights_per_branch_double_what_both_share() -> None:
    def count(*, is_shared: bool) -> int:
        local = STINet(replace(COMPACT, branch_shared=is_shared)).local[0]
        assert isinstance(local, Local)
        return sum(p.numel() for p in local.weights.parameters())

    assert count(is_shared=False) == 2 * count(is_shared=True)


@pytest.mark.parametrize(("at", "grid"), [("low", (10, 12)), ("native", (40, 48))])
def test_h_is_aligned_on_the_grid_that_is_set(at: Any, grid: tuple[int, int]) -> None:
    low, high = steering(build(replace(PAPER, align_at=at)))["previous"]
    assert (low.shape[-2:], high.shape[-2:]) == ((10, 12), grid)


def test_the_papers_fusion_is_four_1x1_convolutions_added_to_the_centre() -> None:
    torch.manual_seed(0)
    fusion = Fusion(8, "pointwise", 0)
    layers = [layer for layer in fusion.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in layers] == [(24, 24, (1, 1))] * 3 + [
        (24, 8, (1, 1))
    ]
    before, centre, after = torch.randn(3, 1, 8, 4, 5)
    body = fusion.body(torch.cat([before, centre, after], dim=1))
    torch.testing.assert_close(fusion(before, centre, after), body + centre)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_and_last_frame_are_their_own_neighbours(kind: str) -> None:
    """A clip of one frame gives what the same frame between two copies of itself gives, without a flow."""
    net = build(replace(KINDS[kind], flow_guided=False))
    local = net.local[0]
    low, high = torch.randn(1, 8, 5, 6), torch.randn(1, 8, *((20, 24) if kind == "paper" else (5, 6)))
    with torch.no_grad():
        alone = local(low, high, None, {"previous": [0], "following": [0]})
        three = local(
            low.expand(3, -1, -1, -1), high.expand(3, -1, -1, -1), None, {"previous": [0, 0, 1], "following": [1, 2, 2]}
        )
    for one, of_three in zip(alone, three, strict=True):
        torch.testing.assert_close(of_three[1:2], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_of_some_frames_the_others_stay_as_they_are(kind: str) -> None:
    torch.manual_seed(0)
    net = build(replace(KINDS[kind], flow_guided=False))
    low, high = torch.randn(6, 8, 5, 6), torch.randn(6, 8, *((20, 24) if kind == "paper" else (5, 6)))
    index = {"previous": [0, 0, 1], "following": [1, 2, 2]}
    with torch.no_grad():
        every, some = net.local[0](low, high, None, index), net.local[0](low, high, None, index, [0, 2])
    for given, all_made, made in zip((low, high), every, some, strict=True):
        torch.testing.assert_close(made[[0, 2, 3, 5]], all_made[[0, 2, 3, 5]])
        assert torch.equal(made[[1, 4]], given[[1, 4]])


def test_frames_in_between_can_be_left_to_st_fi() -> None:
    frames, flows = clip(), some_flows()
    made: dict[str, list[Tensor]] = {"all": [], "given": []}
    for which, seen in made.items():
        net = build(replace(COMPACT, local_frames=which, relate="none", composed=False))  # pyright: ignore
        net.interpolate.register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output.low))  # pyright: ignore
        net.local[0].register_forward_hook(lambda _m, _i, output, seen=seen: seen.append(output[0]))  # pyright: ignore
        with torch.no_grad():
            net(frames, (0.3,), flows)
    torch.testing.assert_close(made["given"][1][::2], made["all"][1][::2])
    assert torch.equal(made["given"][1][1::2], made["given"][0][1::2])
    assert not torch.equal(made["all"][1][1::2], made["given"][0][1::2])


def test_each_neighbour_is_seen() -> None:
    net = build(COMPACT)
    local = net.local[0]
    low, high = torch.randn(2, 3, 8, 5, 6)
    index = {"previous": [0, 0, 1], "following": [1, 2, 2]}
    with torch.no_grad():
        before = local(low, high, None, index)[0]
        for changed in (0, 2):
            other = low.clone()
            other[changed] += 1
            after = local(other, high, None, index)[0]
            assert (before[1] - after[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("config", "up"), [
    (replace(COMPACT, local_frames="all"), 1), (replace(PAPER, flow_guided=True), 1),
    (replace(PAPER, flow_guided=True, align_at="native"), 4),
    (replace(COMPACT, flow_guided=False, local_frames="all"), None), (PAPER, None),
], ids=["compact", "paper guided", "paper guided natively", "compact unguided", "paper"])  # fmt: skip
def test_guided_sampling_starts_at_the_flow_to_the_neighbour_on_the_grid_it_is_used_on(
    config: ModelConfig, up: int | None
) -> None:
    net = build(config)
    made: list[Interpolated] = []

    def keep(_module: nn.Module, _inputs: Any, output: Interpolated) -> None:
        made.append(output)

    net.interpolate.register_forward_hook(keep)
    starts: dict[str, list[Tensor | None]] = {"previous": [], "following": []}
    local = net.local[0]
    assert isinstance(local, Local)
    for weights in local.weights.values():
        for side, module in weights.align.items():  # pyright: ignore
            module.register_forward_hook(lambda _m, inputs, _o, side=side: starts[side].append(inputs[2]))
    with torch.no_grad():
        net(clip(), (0.3,), some_flows())
    for side, flow in (("previous", made[0].to_previous), ("following", made[0].to_following)):
        assert flow is not None
        low, high = starts[side]
        if up is None:
            assert low is None
            assert high is None
        else:
            assert low is not None
            assert high is not None
            torch.testing.assert_close(low, flow)
            torch.testing.assert_close(high, enlarge_flow(flow, up))
