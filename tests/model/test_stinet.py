"""What must be true of the whole network, in every published variant and in the ones beyond."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_networks import (
    COMPACT,
    KINDS,
    NO_FLOW,
    PAPER,
    PUBLISHED,
    STEPS_BEYOND,
    VARIANTS,
    build,
    clip,
    mirrored,
    reversed_flows,
    some_flows,
)
from torch import Tensor, nn

from stinet.config import PRESETS, ModelConfig
from stinet.errors import UsageError
from stinet.model.interpolate import Flows
from stinet.model.stinet import Output, STINet, clip_flows
from stinet.ops.farneback import expand, farneback
from stinet.ops.inverse_search import inverse_search
from stinet.ops.resample import upsample


def loss_of(out: Output, seed: int = 0) -> Tensor:
    """Any scalar that every output pixel has a weight of its own in."""
    generator = torch.Generator().manual_seed(seed)
    parts = [part for part in (out.final, out.draft.low, out.draft.high) if part is not None]
    return torch.stack([(part * torch.randn(part.shape, generator=generator)).sum() for part in parts]).sum()


def without_gradient(net: nn.Module) -> list[str]:
    return [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()]


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_runs_and_every_one_of_its_parameters_gets_a_gradient(config: ModelConfig) -> None:
    net = build(config)
    out = net(clip(), (0.5,), some_flows())
    s = config.scale
    assert out.final.shape == (1, 5, 3, 10 * s, 12 * s)
    assert (out.draft.low is None) == (config.branches == "high")
    assert (out.draft.high is None) == (config.branches == "low")
    assert out.draft.low is None or out.draft.low.shape == (1, 5, 3, 10, 12)
    assert out.draft.high is None or out.draft.high.shape == out.final.shape
    loss_of(out).backward()
    assert without_gradient(net) == []


@pytest.mark.parametrize("name", PRESETS)
def test_gradients_reach_every_parameter_of_every_preset(name: str) -> None:
    narrow = {"channels": 8, "graph_channels": 16, "offset_channels": 8, "motion_channels": 8}
    net = build(PRESETS[name] if name == "stinet-s" else replace(PRESETS[name], **narrow))
    loss_of(net(clip(), (0.5,), some_flows())).backward()
    assert without_gradient(net) == []


def test_every_published_row_is_a_network_of_its_own() -> None:
    x, flows = clip(), some_flows()
    for kind, config in KINDS.items():
        with torch.no_grad():
            made = {row: build(replace(config, **edit))(x, (0.5,), flows).final for row, edit in PUBLISHED.items()}
        rows = list(made)
        same = [(a, b) for a in rows for b in rows if a < b and torch.allclose(made[a], made[b], rtol=0, atol=1e-7)]
        assert same == [], kind


@pytest.mark.parametrize("edge", ["edge_frame", "edge_pixel", "edge_time"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_edge_attribute_left_out_changes_the_output_of_the_same_weights(kind: str, edge: str) -> None:
    edit: dict[str, Any] = {edge: False}
    whole, less = (build(config) for config in (KINDS[kind], replace(KINDS[kind], **edit)))
    less.load_state_dict(whole.state_dict())
    with torch.no_grad():
        change = (whole(clip(), flows=some_flows()).final - less(clip(), flows=some_flows()).final).abs().max()
    assert change > 1e-6


def outputs_by_module(net: STINet, frames: Tensor) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of every map that every module gives."""
    seen: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for part in output if isinstance(output, tuple) else (output,):
                if isinstance(part, Tensor) and part.ndim == 4:
                    seen.setdefault(name, []).append(tuple(part.shape))

        return hook

    for name, module in net.named_modules():
        if name:
            module.register_forward_hook(note(name))
    with torch.no_grad():
        net(frames, (0.5,), some_flows())
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_without_hr_nothing_of_it_is_built_or_computed(kind: str) -> None:
    net = build(replace(KINDS[kind], branches="low"))
    # back-projection makes L out of H: its maps are S-SR's own
    own = "features_net." if kind == "paper" else "nothing"
    names = [name for name, _ in net.named_parameters() if not name.startswith(own)]
    assert [name for name in names if {"high", "lift", "stride_down", "stride_up"} & set(name.split("."))] == []
    seen = outputs_by_module(net, clip())
    large = [name for name, shapes in seen.items() if any(shape[-2:] != (10, 12) for shape in shapes)]
    assert [name for name in large if not name.startswith(("reconstruct", "compose", own))] == []
    assert net(clip(), flows=some_flows()).draft.high is None


@pytest.mark.parametrize("kind", KINDS)
def test_without_lr_nothing_of_it_is_built_or_computed_after_s_sr(kind: str) -> None:
    net = build(replace(KINDS[kind], branches="high"))
    names = [name for name, _ in net.named_parameters() if not name.startswith("features_net.")]
    assert [name for name in names if "low" in name.split(".")] == []
    assert net.features(clip()[0]).low is None
    assert net(clip(), flows=some_flows()).draft.low is None


@pytest.mark.parametrize(("times", "mirror"), [((0.5,), (0.5,)), ((0.25, 0.5), (0.5, 0.75))])
@pytest.mark.parametrize(
    "row", ["complete", "I without HR", "I without LR", "III without flow adaption", "IV ST-GR -> BDCL"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_clip_in_reverse_gives_the_output_in_reverse_when_directions_are_swapped(
    kind: str, row: str, times: tuple[float, ...], mirror: tuple[float, ...]
) -> None:
    net = build(replace(KINDS[kind], **PUBLISHED[row]))
    x, flows = clip(), some_flows()
    with torch.no_grad():
        forwards = net(x, times, flows).final
        backwards = mirrored(net)(x.flip(1), mirror, reversed_flows(flows)).final
        unswapped = net(x.flip(1), mirror, reversed_flows(flows)).final
    torch.testing.assert_close(backwards.flip(1), forwards, rtol=1e-4, atol=1e-4 * float(forwards.abs().max()))
    assert not torch.allclose(unswapped.flip(1), forwards, rtol=1e-2, atol=1e-2 * float(forwards.std()))


@pytest.mark.parametrize("config", [
    replace(PAPER, align_at="native", **dict.fromkeys(STEPS_BEYOND, True)),
    replace(PAPER, shared_at="low"),
    replace(COMPACT, flow_refined=True),
    replace(COMPACT, local_modules=2, offsets_from="low", fusion="pointwise"),
    replace(COMPACT, **NO_FLOW),
    replace(COMPACT, flow="none", aligned=False, flow_guided=False, composed=False),
], ids=["native and guided", "shared at low", "refined", "two modules", "no flow", "no flow, on a blend"])  # fmt: skip
def test_time_reversal_holds_beyond_the_paper_too(config: ModelConfig) -> None:
    net = build(config)
    x, flows = clip(), some_flows()
    with torch.no_grad():
        forwards = net(x, (0.3,), flows).final
        backwards = mirrored(net)(x.flip(1), (0.7,), reversed_flows(flows)).final
    torch.testing.assert_close(backwards.flip(1), forwards, rtol=1e-4, atol=1e-4 * float(forwards.abs().max()))


def places(net: STINet, sources: int, times: tuple[float, ...]) -> list[float]:
    taus = [0.0, *times]
    return [index + tau for index in range(sources - 1) for tau in taus] + [sources - 1.0]


@pytest.mark.parametrize("times", [(0.5,), (), (0.25, 0.5, 0.75)])
@pytest.mark.parametrize("modules", [0, 1, 2, 3, 4])
def test_without_st_gr_a_frame_beyond_the_reach_changes_nothing(modules: int, times: tuple[float, ...]) -> None:
    net = build(replace(COMPACT, relate="none", local_modules=modules))
    sources = 8
    changed = clip(sources, (6, 5))
    changed[:, -1] = clip(1, (6, 5), seed=9)[:, 0]
    with torch.no_grad():
        before, after = (net(x, times).final[0] for x in (clip(sources, (6, 5)), changed))
    touched = (before - after).flatten(1).abs().amax(1) > 0
    for place, is_touched in zip(places(net, sources, times), touched.tolist(), strict=True):
        if math.ceil(place) < sources - 1 - net.reach:
            assert not is_touched, f"frame {place} saw frame {sources - 1}"
    assert touched[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_far_away_changes_another_only_through_st_gr(kind: str) -> None:
    sources = 5
    changed = clip(sources, (6, 5))
    changed[:, -1] = clip(1, (6, 5), seed=9)[:, 0]
    seen = {}
    for relate in ("none", "graph", "lstm"):
        net = build(replace(KINDS[kind], relate=relate))  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            before, after = (net(x).final[0, 0] for x in (clip(sources, (6, 5)), changed))
        seen[relate] = float((before - after).abs().max())
    assert seen["none"] == 0
    assert seen["graph"] > 1e-8
    assert seen["lstm"] > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (7, 5), (3, 2), (9, 16)])
@pytest.mark.parametrize("config", [
    PAPER, COMPACT, replace(COMPACT, flow_refined=True), VARIANTS["paper: all guided, H aligned natively"],
    replace(COMPACT, relate="lstm"), replace(PAPER, shared_at="low"), replace(PAPER, scale=2),
], ids=["paper", "compact", "refined", "native", "lstm", "shared at low", "scale 2"])  # fmt: skip
def test_any_frame_size_comes_out_scale_times_as_large(config: ModelConfig, size: tuple[int, int]) -> None:
    with torch.no_grad():
        out = build(config)(clip(2, size)).final
    assert out.shape == (1, 3, 3, config.scale * size[0], config.scale * size[1])
    assert out.isfinite().all()


def test_an_odd_size_of_a_real_clip_runs() -> None:
    with torch.no_grad():
        assert build(COMPACT)(clip(3, (63, 47))).final.shape == (1, 5, 3, 252, 188)


@pytest.mark.parametrize("times", [(0.5,), (), (0.25, 0.5, 0.75)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_frame_is_pure_super_resolution(kind: str, times: tuple[float, ...]) -> None:
    net = build(KINDS[kind])
    out = net(clip(1), times)
    assert out.final.shape == (1, 1, 3, 40, 48)
    loss_of(out).backward()
    assert all(
        p.grad is None for n, p in net.named_parameters() if n.startswith(("interpolate.motion", "interpolate.pnet"))
    )


@pytest.mark.parametrize(("sources", "times", "count"), [
    (2, (0.5,), 3), (3, (0.5,), 5), (6, (0.5,), 11), (2, (0.25, 0.5, 0.75), 5), (3, (), 3),
    (4, ((0.25,), (0.5, 0.75), ()), 7),
])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_frames_and_times(kind: str, sources: int, times: Any, count: int) -> None:
    with torch.no_grad():
        out = build(KINDS[kind])(clip(sources, (6, 5), batch=2), times)
    assert out.final.shape == (2, count, 3, 24, 20)


@pytest.mark.parametrize("times", [(0.0,), (1.0,), (0.5, 0.25), (0.5, 0.5), (float("nan"),), ((0.5,), (0.5,))])
def test_times_that_cannot_be_are_refused(times: Any) -> None:
    with pytest.raises(UsageError):
        build(COMPACT)(clip(2, (4, 4)), times)


def test_given_frames_do_not_depend_on_which_times_are_asked_for_without_neighbours() -> None:
    net = build(replace(COMPACT, local_modules=0, relate="none"))
    with torch.no_grad():
        one, three = (net(clip(), times, some_flows()).final for times in ((0.5,), (0.25, 0.5, 0.75)))
    torch.testing.assert_close(one[:, ::2], three[:, ::4])
    torch.testing.assert_close(one[:, 1::2], three[:, 2::4])


def moving_bar(at: int, size: tuple[int, int] = (12, 40)) -> Tensor:
    frame = torch.zeros(3, *size)
    frame[:, :, at : at + 2] = 1
    return frame


def test_three_times_give_three_frames_in_order_along_a_constant_motion() -> None:
    frames = torch.stack([moving_bar(8), moving_bar(24)]).unsqueeze(0)
    ahead = torch.zeros(1, 1, 2, 12, 40)
    ahead[:, :, 0] = 16
    with torch.no_grad():
        out = build(PRESETS["stinet-s"], awake=False)(frames, (0.25, 0.5, 0.75), Flows(ahead, -ahead)).final[0]
    profile = (out.mean(dim=(1, 2)) - 0.3).clamp_min(0)
    columns = (profile * torch.arange(160)).sum(1) / profile.sum(1)
    torch.testing.assert_close(columns, 4 * torch.tensor([8.0, 12.0, 16.0, 20.0, 24.0]) + 3.5, rtol=0, atol=4)


def test_the_residual_base_of_a_still_clip_is_its_bicubic_enlargement() -> None:
    net = build(COMPACT, awake=False)
    for name, parameter in net.named_parameters():
        if name.startswith("reconstruct"):
            nn.init.zeros_(parameter)
    x = clip(1).expand(1, 3, 3, 10, 12)
    with torch.no_grad():
        out = net(x, flows=Flows(*torch.zeros(2, 1, 2, 2, 10, 12))).final
    torch.testing.assert_close(out[0], upsample(x[0, :1], 4).expand(5, -1, -1, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_its_clips_one_by_one(kind: str) -> None:
    net, x = build(KINDS[kind]), clip(batch=3)
    with torch.no_grad():
        together = net(x, (0.3, 0.6)).final
        alone = torch.cat([net(one, (0.3, 0.6)).final for one in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_flows_are_between_neighbours_both_ways() -> None:
    x = clip(3, (20, 24), batch=2)
    flows = clip_flows(x, "farneback")
    assert flows.forward.shape == flows.backward.shape == (2, 2, 2, 20, 24)
    torch.testing.assert_close(flows.forward[:, 1], farneback(x[:, 1], x[:, 2]))
    torch.testing.assert_close(flows.backward[:, 0], farneback(x[:, 1], x[:, 0]))
    net = build(replace(COMPACT, flow_by="farneback"))
    with torch.no_grad():
        torch.testing.assert_close(net(x).final, net(x, (0.5,), flows).final)


def test_flows_are_made_as_the_network_asks_for() -> None:
    x = clip(3, (20, 24))
    flows = clip_flows(x, "dis")
    torch.testing.assert_close(flows.forward[:, 1], inverse_search(*(expand(x[:, place]).gray for place in (1, 2))))
    net = build(replace(COMPACT, flow_by="dis"))
    with torch.no_grad():
        torch.testing.assert_close(net(x).final, net(x, (0.5,), flows).final)
        assert not torch.equal(net(x).final, net(x, (0.5,), clip_flows(x, "farneback")).final)


def test_real_time_stamps_reach_the_graph_and_only_their_ratios_count() -> None:
    net, x, flows = build(COMPACT), clip(), some_flows()
    with torch.no_grad():
        even = net(x, flows=flows).final
        tens = net(x, flows=flows, stamps=(0.0, 10.0, 20.0)).final
        uneven = net(x, flows=flows, stamps=(0.0, 1.0, 9.0)).final
    torch.testing.assert_close(even, tens)
    assert (even - uneven).abs().max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_restore_equals_the_final_of_forward(kind: str) -> None:
    from stinet.model.timeline import Timeline

    net, x, flows = build(KINDS[kind]), clip(batch=2), some_flows(batch=2)
    with torch.no_grad():
        short = net.restore(x, net.features(x.flatten(0, 1)), flows, Timeline.of(3))
        torch.testing.assert_close(short, net(x, flows=flows).final)


@pytest.mark.parametrize("config", [PAPER, COMPACT, replace(COMPACT, relate="lstm")], ids=["paper", "compact", "lstm"])
def test_bfloat16_autocast_stays_close_and_gives_float32(config: ModelConfig) -> None:
    net, x, flows = build(config, awake=False), clip(), some_flows()
    with torch.no_grad():
        exact = net(x, flows=flows).final
        with torch.autocast("cpu", torch.bfloat16):
            fast = net(x, flows=flows).final
    assert fast.dtype == torch.float32
    assert (fast - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(("name", "least", "most"), [
    ("stinet", 0.9 * 11.8e6, 1.1 * 11.8e6), ("stinet-m", 1.5e6, 2.6e6), ("stinet-s", 0.3e6, 0.7e6),
    ("stinet-xs", 0, 0.3e6),
])  # fmt: skip
def test_presets_have_the_size_they_are_known_for(name: str, least: float, most: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in STINet(PRESETS[name]).parameters())
    assert least <= count <= most


def test_one_training_step_of_the_papers_network_lowers_its_loss() -> None:
    net = build(replace(PRESETS["stinet"], channels=16, graph_channels=32), awake=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    x, flows, truth = clip(4, (8, 8)), some_flows(4, (8, 8)), torch.full((1, 7, 3, 32, 32), 0.5)
    losses = []
    for _ in range(3):
        loss = (net(x, flows=flows).final - truth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[1] < losses[0]
