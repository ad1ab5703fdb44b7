"""The network as a clip function: the same numbers as the network, whole or by tiles, and no work done twice."""

from dataclasses import replace
from typing import Any

import cv2
import pytest
import torch
from small_networks import COMPACT, KINDS, PAPER, build, clip
from torch import Tensor

from stinet.config import ClipFunction, Movable, Tile
from stinet.errors import DeviceError
from stinet.model import clip as clip_module
from stinet.model.clip import NetworkClip
from stinet.model.stinet import STINet
from stinet.ops.flow import FlowMethod

CPU = torch.device("cpu")


def test_it_can_be_had_elsewhere_and_stays_as_it_is() -> None:
    net = build(COMPACT)
    fn = NetworkClip(net, CPU, torch.float32, "small")
    assert isinstance(fn, Movable)
    before = ran(fn, clip()[0], [[0.5]] * 2)
    half = fn.at(precision="bfloat16", device="cpu")
    assert (half.precision, half.device, fn.precision) == ("bfloat16", CPU, "float32")
    assert half.net is fn.net  # weights are not doubled where memory is short
    away = fn.at(precision="float32", device="meta")
    assert {parameter.device.type for parameter in away.net.parameters()} == {"meta"}
    assert {parameter.device.type for parameter in fn.net.parameters()} == {"cpu"}
    assert torch.equal(ran(fn, clip()[0], [[0.5]] * 2), before)
    assert not torch.equal(ran(half, clip()[0], [[0.5]] * 2), before)
    back = half.at(precision="float32", device="cpu")
    assert torch.equal(ran(back, clip()[0], [[0.5]] * 2), before)
    with pytest.raises(DeviceError, match="precision 'int8' is unknown"):
        fn.at(precision="int8", device="cpu")


def test_identity_follows_from_weights_and_settings_alone() -> None:
    one = NetworkClip(build(COMPACT), CPU, torch.float32, "small")
    assert one.identity == NetworkClip(build(COMPACT), CPU, torch.bfloat16, "small").identity
    assert one.identity.startswith("small ")
    assert one.at(precision="bfloat16", device="cpu").identity == one.identity
    changed = build(COMPACT)
    next(changed.parameters()).data.add_(1e-3)
    assert NetworkClip(changed, CPU, torch.float32, "small").identity != one.identity
    other = replace(COMPACT, max_offset_px=COMPACT.max_offset_px + 1)
    assert NetworkClip(build(other), CPU, torch.float32, "small").identity != one.identity


@pytest.mark.bad_input(33)
def test_an_overflow_is_not_clamped_to_white() -> None:
    net = build(COMPACT)
    fn = NetworkClip(net, CPU, torch.float32)
    real = net.restore
    net.restore = lambda *given: real(*given).index_fill_(1, torch.tensor([1]), torch.inf)  # pyright: ignore
    made = ran(fn, clip()[0], [[0.5]] * 2)
    assert made[1].isnan().all()
    assert made[0].isfinite().all()


def ran(fn: NetworkClip, frames: Tensor, times: list[list[float]], tile: Tile | None = None) -> Tensor:
    states = [fn.prepare(frame) for frame in frames]
    return fn.run(states, times, fn.context(states, times), tile)


def test_it_is_a_clip_function() -> None:
    net = build(COMPACT)
    fn = NetworkClip(net, CPU, torch.float32)
    assert isinstance(fn, ClipFunction)
    assert (fn.scale, fn.reach) == (4, net.reach)


@pytest.mark.parametrize("times", [[[0.5], [0.5]], [[0.25, 0.75], []]])
@pytest.mark.parametrize("config", [*KINDS.values(), replace(PAPER, flow="none")], ids=[*KINDS, "no flow"])
def test_a_clip_equals_the_networks_own_output_clamped(config: object, times: list[list[float]]) -> None:
    net = build(config)  # pyright: ignore[reportArgumentType]
    frames = clip(3, (14, 18))
    with torch.no_grad():
        expected = net(frames, times).final[0].clamp(0, 1)
    torch.testing.assert_close(ran(NetworkClip(net, CPU, torch.float32), frames[0], times), expected)


def test_one_frame_runs() -> None:
    net = build(COMPACT)
    made = ran(NetworkClip(net, CPU, torch.float32), clip(1)[0], [])
    with torch.no_grad():
        torch.testing.assert_close(made, net(clip(1)).final[0].clamp(0, 1))


def gentle(net: STINet) -> STINet:
    """Keep offsets and flow corrections within a pixel, so that the halo is known."""
    for name, parameter in net.named_parameters():
        if "align" in name or "correction" in name:
            parameter.data.clamp_(-0.02, 0.02)
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_a_tile_with_a_halo_equals_the_whole_without_st_gr(kind: str) -> None:
    fn = NetworkClip(gentle(build(replace(KINDS[kind], relate="none"))), CPU, torch.float32)
    side, halo = 64, 24
    smooth = torch.nn.functional.interpolate(clip(1, (4, 4))[0], (side, side), mode="bicubic").clamp(0, 1)
    frames = torch.cat([smooth, smooth.roll(1, -1)])
    whole = ran(fn, frames, [[0.5]])
    tile = Tile(top=0, left=0, bottom=side, right=32 + halo)
    part = ran(fn, frames, [[0.5]], tile)
    assert part.shape == (3, 3, 4 * side, 4 * (32 + halo))
    torch.testing.assert_close(part[..., : 4 * 32], whole[..., : 4 * 32], rtol=0, atol=2e-5)
    assert (part[..., -4:] - whole[..., 4 * (32 + halo) - 4 : 4 * (32 + halo)]).abs().max() > 1e-4  # why the halo


def test_flows_are_computed_once_per_pair_however_many_windows_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: list[tuple[int, int]] = []
    real = clip_module.flow_between

    def counted(first: Any, second: Any, by: FlowMethod) -> Tensor:
        pairs.append((id(first), id(second)))
        return real(first, second, by)

    monkeypatch.setattr(clip_module, "flow_between", counted)
    fn = NetworkClip(build(COMPACT), CPU, torch.float32)
    states = [fn.prepare(frame) for frame in clip(5)[0]]
    for start in range(3):
        fn.context(states[start : start + 3], [[0.5]] * 2)
    assert len(pairs) == len(set(pairs)) == 2 * 4


def test_opencv_takes_no_more_threads_than_torch() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(1)
        cv2.setNumThreads(3)
        NetworkClip(build(COMPACT), CPU, torch.float32).prepare(clip(1)[0, 0])
        assert cv2.getNumThreads() == 1
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_features_of_a_frame_are_computed_once_where_they_are_small() -> None:
    for kind, config in KINDS.items():
        fn = NetworkClip(build(config), CPU, torch.float32)
        calls: list[int] = []
        fn.net.features_net.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        states = [fn.prepare(frame) for frame in clip(3)[0]]
        nodes = fn.context(states, [[0.5]] * 2)
        assert len(calls) == (3 if kind == "compact" else 0)
        for _ in range(2):
            fn.run(states, [[0.5]] * 2, nodes)
        assert len(calls) == (3 if kind == "compact" else 2)


def test_a_dropped_frame_frees_its_flows() -> None:
    import weakref

    fn = NetworkClip(build(COMPACT), CPU, torch.float32)
    states = [fn.prepare(frame) for frame in clip(3)[0]]
    fn.context(states, [[0.5]] * 2)
    following = states[0].following
    assert following is not None
    kept = weakref.ref(following[1])
    del following, states[0]
    assert kept() is None


def test_bfloat16_stays_close_and_gives_float32() -> None:
    net = build(COMPACT, awake=False)
    exact, fast = (
        ran(NetworkClip(net, CPU, dtype), clip()[0], [[0.5]] * 2) for dtype in (torch.float32, torch.bfloat16)
    )
    assert fast.dtype == torch.float32
    torch.testing.assert_close(exact, fast, rtol=0, atol=0.05)
