"""Rival networks: as large as published, callable like ours, trainable, and made of their authors' files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import layouts
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stinet.config import ClipFunction, Movable, Tile
from stinet.errors import CheckpointError, DeviceError, UsageError
from stinet.model.stinet import Output
from stinet.peers.clip import RivalClip
from stinet.peers.networks import RIVALS, build, convert_official, is_rival, load_rival, save_rival
from stinet.peers.official import from_zooming
from stinet.peers.parts import RivalClipNet, RivalNet
from stinet.peers.published import PUBLISHED
from stinet.peers.rstt import RsttConfig
from stinet.peers.tmnet import TmnetConfig
from stinet.peers.videoinr import VideoInrConfig
from stinet.peers.zooming import ZoomingConfig
from stinet.weights import FOLDER

SIZES: dict[str, Any] = {"channels": 8, "groups": 2, "front_blocks": 1, "back_blocks": 1}
SMALL = {
    "zooming-slow-mo": ZoomingConfig(**SIZES),
    "tmnet": TmnetConfig(**SIZES),
    "rstt-s": RsttConfig(channels=16, depth=2),
    "videoinr": VideoInrConfig(**SIZES, hidden=8, wide=16),
}
LAYOUTS: dict[str, Callable[[], layouts.Layout]] = {
    "zooming-slow-mo": layouts.zooming,
    "tmnet": layouts.tmnet,
    "rstt-s": lambda: layouts.rstt(4),
    "rstt-m": lambda: layouts.rstt(6),
    "rstt-l": lambda: layouts.rstt(8),
    "videoinr": layouts.videoinr,
    "sepconv": layouts.sepconv,
    "rcan": layouts.rcan,
    "edvr-l": lambda: layouts.edvr(5),
}


def small(name: str) -> RivalNet:
    torch.manual_seed(0)
    return build(name, SMALL[name])


def as_file(layout: layouts.Layout, path: Path) -> dict[str, Tensor]:
    """A file of the authors' layout with small random weights; gives them."""
    torch.manual_seed(0)
    weights = {
        name: torch.zeros(shape, dtype=torch.long) if name.endswith("_index") else 0.05 * torch.randn(shape)
        for name, shape in layout.items()
    }
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    return weights


def test_everything_published_can_be_built_and_nothing_else() -> None:
    assert list(RIVALS) == list(PUBLISHED)


@pytest.mark.parametrize("name", RIVALS)
def test_a_network_has_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(name).parameters())
    assert count == pytest.approx(1e6 * PUBLISHED[name].millions, rel=0.01)


def test_rstt_costs_a_constant_more_with_every_block() -> None:
    small_, medium, large = (PUBLISHED[f"rstt-{size}"].kilo_macs for size in "sml")
    assert abs(large - 2 * medium + small_) <= 1


@pytest.mark.parametrize(("name", "clips", "shape"), [
    ("tmnet", 1, (1, 4, 3, 32, 32)), ("rstt-s", 1, (1, 4, 3, 32, 32)), ("videoinr", 1, (1, 4, 3, 32, 32)),
    ("sepconv", 2, (1, 3, 32, 32)),
    ("rcan", 1, (1, 3, 32, 32)), ("edvr-l", 1, (5, 3, 32, 32)),
])  # fmt: skip
def test_a_network_costs_what_is_listed(name: str, clips: int, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net, frames = build(name).eval(), [torch.empty(shape)] * clips
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        made = net(*frames)
    pixels = (made.final if isinstance(made, Output) else made).numel() / 3
    assert counter.get_total_flops() / 2 / pixels == pytest.approx(1e3 * PUBLISHED[name].kilo_macs, rel=0.003)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("frames", "times", "due"), [
    (1, (), 1), (2, (0.5,), 3), (3, ((0.5,), ()), 4), (4, (0.5,), 7), (6, (0.5,), 11),
])  # fmt: skip
def test_a_clip_of_any_length_and_size_becomes_every_frame_due(name: str, frames: int, times: Any, due: int) -> None:
    with torch.no_grad():
        made = small(name)(torch.rand(2, frames, 3, 9, 11), times)
    assert isinstance(made, Output)
    assert made.final.shape == (2, due, 3, 36, 44)
    assert made.draft.low is None
    assert made.draft.high is None


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_the_frames_and_the_weights(name: str) -> None:
    net, frames = small(name), torch.rand(1, 4, 3, 16, 16, requires_grad=True)
    for parameter in net.parameters():  # offsets and modulators start at zero, which stops gradients
        if not parameter.any():
            nn.init.normal_(parameter, std=0.01)
    net(frames, (0.5,) if name not in ("tmnet", "videoinr") else (0.3,)).final.square().mean().backward()
    assert frames.grad is not None
    assert bool((frames.grad.abs().amax(dim=(0, 2, 3, 4)) > 0).all())
    still = [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert [key for key in still if not key.startswith(("shrink.3.", "unused."))] == []


@pytest.mark.parametrize("name", SMALL)
def test_clips_of_a_batch_are_kept_apart(name: str) -> None:
    net, frames = small(name).eval(), torch.rand(2, 3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(frames).final[1:], net(frames[1:]).final, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["zooming-slow-mo", "rstt-s"])
def test_another_time_than_the_middle_is_refused_where_it_cannot_be_made(name: str) -> None:
    with pytest.raises(UsageError, match=r"only the frame in the middle of two, at 0\.5; 0\.25 was asked for"):
        small(name)(torch.rand(1, 2, 3, 8, 8), (0.25,))


@pytest.mark.parametrize("name", ["zooming-slow-mo", "tmnet", "rstt-l", "videoinr", "sepconv", "rcan", "edvr-l"])
def test_a_file_of_the_authors_layout_is_taken_whole(name: str, tmp_path: Path) -> None:
    foreign, target = tmp_path / "official.pth", tmp_path / "ours.safetensors"
    theirs = as_file(LAYOUTS[name](), foreign)
    translate = RIVALS[name].translate
    made = convert_official(foreign, target, name)
    assert made.weights == sum(tensor.numel() for key, tensor in theirs.items() if translate(key) is not None)
    assert is_rival(target)
    loaded, net = load_rival(target)
    assert (loaded, net.config, net.training) == (name, RIVALS[name].config, False)
    ours = net.state_dict()
    for key, tensor in theirs.items():
        if (mine := translate(key)) is not None:
            assert torch.equal(ours[mine], tensor), key


def test_names_mean_what_they_say() -> None:
    assert from_zooming("pcd_align.L3_offset_conv1_2.weight") == "pair.back.difference.2.weight"
    assert from_zooming("pcd_align.L3_offset_conv2_1.bias") == "pair.ahead.guide.2.bias"
    assert from_zooming("pcd_align.L1_offset_conv2_1.bias") == "pair.ahead.coarser.0.bias"
    assert from_zooming("pcd_align.L2_dcnpack_1.conv_offset_mask.bias") == "pair.ahead.deform.1.offsets.bias"
    assert (
        from_zooming("ConvBLSTM.forward_net.pcd_c.pcd_align.L2_dcnpack_2.weight")
        == "lstm.cell.pair.back.deform.1.weights.weight"
    )
    assert from_zooming("ConvBLSTM.forward_net.pcd_h.fea_L3_conv1.weight") == "lstm.hidden.pyramid.halve.1.weight"


def test_a_file_of_tmnet_without_modulation_makes_only_the_middle(tmp_path: Path) -> None:
    as_file(layouts.tmnet(modulated=False), tmp_path / "single.pth")
    convert_official(tmp_path / "single.pth", tmp_path / "out.safetensors", "tmnet")
    _, net = load_rival(tmp_path / "out.safetensors")
    assert not net.config.modulated
    with pytest.raises(UsageError, match="TMNet without modulation makes only the frame in the middle"):
        net(torch.rand(1, 2, 3, 8, 8), (0.4,))


def test_another_networks_file_is_refused_by_its_names_and_shapes(tmp_path: Path) -> None:
    foreign, target = tmp_path / "official.pth", tmp_path / "out.safetensors"
    layout = layouts.rstt(4)
    as_file(layout, foreign)
    with pytest.raises(CheckpointError, match="weights do not fit a network"):
        convert_official(foreign, target, "rstt-m")
    as_file({**layout, "input_proj.proj.0.weight": (96, 1, 3, 3)}, foreign)
    with pytest.raises(CheckpointError, match=r"entry\.weight is \(96, 1, 3, 3\), not \(96, 3, 3, 3\)"):
        convert_official(foreign, target, "rstt-s")
    as_file({**layout, "surprise": (1,)}, foreign)
    with pytest.raises(CheckpointError, match="surprise is unknown"):
        convert_official(foreign, target, "rstt-s")
    assert not target.exists()


@pytest.mark.parametrize("name", RIVALS)
def test_a_missing_file_says_where_its_authors_publish_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"no such file; the authors publish .* {PUBLISHED[name].project}"):
        convert_official(tmp_path / "gone.pth", tmp_path / "out.safetensors", name)


def test_a_weights_file_of_ours_is_no_rival(tmp_path: Path) -> None:
    net = small("rstt-s")
    save_rival(tmp_path / "rival.safetensors", "rstt-s", net, net.state_dict(), {})
    assert load_rival(tmp_path / "rival.safetensors")[1].config == SMALL["rstt-s"]
    assert not is_rival(FOLDER / "stinet-xs.safetensors")
    with pytest.raises(CheckpointError, match="holds none of zooming-slow-mo"):
        load_rival(FOLDER / "stinet-xs.safetensors")
    with pytest.raises(CheckpointError, match="no such weights file"):
        is_rival(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("name", SMALL)
def test_a_rival_is_a_clip_function_that_can_be_had_elsewhere(name: str) -> None:
    net = small(name)
    assert isinstance(net, RivalClipNet)
    fn = RivalClip(net, torch.device("cpu"), torch.float32, name)
    assert isinstance(fn, ClipFunction)
    assert isinstance(fn, Movable)
    frames = torch.rand(3, 3, 12, 16)
    states = [fn.prepare(frame) for frame in frames]
    times = ((0.5,), ())
    whole = fn.run(states, times, fn.context(states, times))
    assert whole.shape == (4, 3, 48, 64)
    assert 0 <= whole.min() <= whole.max() <= 1
    tile = Tile(top=2, left=3, bottom=10, right=13)
    assert fn.run(states, times, None, tile).shape == (4, 3, 32, 40)
    assert fn.run(states[:1], (), None).shape == (1, 3, 48, 64)
    half = fn.at(precision="bfloat16", device="cpu")
    assert (half.identity, half.precision) == (fn.identity, "bfloat16")
    assert (half.run(states, times, None) - whole).abs().max() < 0.1
    with pytest.raises(DeviceError, match="precision 'int4' is unknown"):
        fn.at(precision="int4", device="cpu")
