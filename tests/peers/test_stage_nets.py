"""SepConv, RCAN and EDVR: what each does, and as stages of a pair that is named by files."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stinet.catalogue import clip_function
from stinet.config import ClipFunction
from stinet.errors import ConfigError, ModelError
from stinet.peers.edvr import Edvr, EdvrConfig
from stinet.peers.networks import build, save_rival
from stinet.peers.official import from_edvr
from stinet.peers.parts import RivalNet
from stinet.peers.rcan import Rcan, RcanConfig
from stinet.peers.sepconv import SepConv, SepConvConfig, separable_sum
from stinet.peers.stage_nets import Halving
from stinet.peers.stages import Interpolator
from stinet.peers.zooming import ZoomingConfig

EDVR = EdvrConfig(channels=8, groups=2, front_blocks=1, back_blocks=1)
RCAN = RcanConfig(channels=16, groups=2, blocks=2, reduction=2)
SEPCONV = SepConvConfig(taps=5, widths=(4, 4, 4, 4, 4))
CONFIGS = {
    "sepconv": SEPCONV,
    "rcan": RCAN,
    "edvr-l": EDVR,
    "zooming-slow-mo": ZoomingConfig(channels=8, groups=2, front_blocks=1, back_blocks=1),
}


def small(name: str) -> RivalNet:
    torch.manual_seed(0)
    return build(name, CONFIGS[name]).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    for name in CONFIGS:
        net = small(name)
        save_rival(folder / f"{name}.safetensors", name, net, net.state_dict(), {})
    return folder


def test_a_separable_sum_is_its_definition() -> None:
    torch.manual_seed(0)
    frame = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    column, row = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = torch.zeros_like(frame)
    for y in range(4):
        for x in range(5):
            for i in range(3):
                for j in range(3):
                    at = frame[:, :, min(max(y + i - 1, 0), 3), min(max(x + j - 1, 0), 4)]
                    weight = (column[:, i, y, x] * row[:, j, y, x])[:, None]
                    expected = expected.clone()
                    expected[:, :, y, x] += weight * at
    torch.testing.assert_close(separable_sum(frame, column, row), expected)
    assert torch.autograd.gradcheck(separable_sum, (frame[:1, :1, :2, :2], column[:1, :, :2, :2], row[:1, :, :2, :2]))


def test_kernels_of_one_tap_in_the_middle_give_the_mean_of_both_frames() -> None:
    net = SepConv(SEPCONV)
    for kernel in net.kernels:
        last = kernel.get_submodule("last")
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, 0.0, 0.5**0.5, 0.0, 0.0]))
    before, after = torch.rand(2, 1, 3, 33, 7)
    torch.testing.assert_close(net(before, after), (before + after) / 2)


@pytest.mark.parametrize("taps", [50, 0])
def test_a_kernel_without_a_centre_is_refused(taps: int) -> None:
    with pytest.raises(ConfigError, match=f"{taps} taps"):
        SepConvConfig(taps=taps)
    with pytest.raises(ConfigError, match="no middle"):
        EdvrConfig(frames=4)


@pytest.mark.parametrize("name", ["rcan", "edvr-l"])
def test_an_enlarger_gives_four_times_the_size_and_learns(name: str) -> None:
    net = small(name)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    made = net(torch.rand(3, 3, 9, 7))
    assert made.shape == (3, 3, 36, 28)
    made.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sepconv_learns() -> None:
    net = small("sepconv")
    net(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_rcan_takes_the_mean_off_and_puts_it_on_again() -> None:
    net = small("rcan")
    assert isinstance(net, Rcan)
    nn.init.zeros_(net.last.weight)
    with torch.no_grad():
        made = net(torch.rand(1, 3, 4, 4))
    torch.testing.assert_close(made, torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1).expand(1, 3, 16, 16))


def test_edvr_sees_two_frames_on_either_side_and_no_more() -> None:
    net, frames = small("edvr-l"), torch.rand(7, 3, 8, 8)
    changed = frames.clone()
    changed[0] += 0.3
    with torch.no_grad():
        moved = (net(changed) - net(frames)).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert moved.tolist() == [True, True, True, False, False, False, False]


def test_a_window_with_its_reach_gives_what_the_whole_film_gives(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    fn, frames = clip_function("blend+edvr-l.safetensors"), torch.rand(9, 3, 8, 8)

    def made(clip: Tensor) -> Tensor:
        states, times = [fn.prepare(frame) for frame in clip], ((0.5,),) * (len(clip) - 1)
        return fn.run(states, times, fn.context(states, times))

    first, last, reach = 3, 5, fn.reach
    window = made(frames[first - reach : last + reach + 1])
    torch.testing.assert_close(window[2 * reach : 2 * reach + 5], made(frames)[2 * first : 2 * last + 1])
    assert (reach, Edvr(EdvrConfig(channels=8, groups=2, frames=7)).reach) == (2, 3)
    assert clip_function("blend+rcan.safetensors").reach == 0


def test_both_layouts_of_edvr_mean_the_same() -> None:
    pairs = {
        "pcd_align.L3_offset_conv2.weight": "pcd_align.offset_conv2.l3.weight",
        "pcd_align.L1_dcnpack.conv_offset_mask.bias": "pcd_align.dcn_pack.l1.conv_offset.bias",
        "pcd_align.cas_dcnpack.weight": "pcd_align.cas_dcnpack.weight",
        "tsa_fusion.tAtt_2.weight": "fusion.temporal_attn1.weight",
        "tsa_fusion.sAtt_L2.bias": "fusion.spatial_attn_l2.bias",
        "fea_L3_conv1.weight": "conv_l3_1.weight",
        "recon_trunk.7.conv2.bias": "reconstruction.7.conv2.bias",
        "HRconv.bias": "conv_hr.bias",
    }
    names = set(Edvr(EdvrConfig(channels=8, groups=2)).state_dict())
    for first, later in pairs.items():
        assert from_edvr(first) == from_edvr(later), first
        assert from_edvr(first) in names, first


def test_halving_finds_quarters_from_middles() -> None:
    class Mean(RivalNet):
        def forward(self, before: Tensor, after: Tensor) -> Tensor:
            return (before + after) / 2

    stage = Halving(Mean(), "mean")
    assert isinstance(stage, Interpolator)
    ends = [stage.prepare(torch.full((3, 2, 2), value)) for value in (0.0, 1.0)]
    made = stage.between(ends[0], ends[1], (0.01, 0.25, 0.5, 0.8125))
    assert [float(frame.mean()) for frame in made] == [0.0, 0.25, 0.5, 0.8125]


@pytest.mark.parametrize(("name", "frames"), [
    ("sepconv.safetensors+bicubic", 5), ("flow+rcan.safetensors", 5), ("rcan.safetensors+blend", 5),
    ("sepconv.safetensors+edvr-l.safetensors", 5),
])  # fmt: skip
def test_files_are_stages(files: Path, monkeypatch: pytest.MonkeyPatch, name: str, frames: int) -> None:
    monkeypatch.chdir(files)
    fn = clip_function(name)
    assert isinstance(fn, ClipFunction)
    states = [fn.prepare(torch.rand(3, 12, 12)) for _ in range(3)]
    times = ((0.25, 0.5), ())
    made = fn.run(states, times, fn.context(states, times))
    assert made.shape == (frames, 3, 48, 48)
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize(("name", "said"), [
    ("rcan.safetensors+bicubic", "one stage must make frames in between"),
    ("edvr-l.safetensors+flow", "EDVR makes a frame of those around it; name it second"),
    ("flow+zooming-slow-mo.safetensors", "zooming-slow-mo does both stages in one; name it alone"),
    ("rcan.safetensors+nonesuch", "unknown stage 'nonesuch'"),
    ("rcan.safetensors", "rcan is one of two stages, an enlarger"),
])  # fmt: skip
def test_stages_that_make_no_pair_are_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(ModelError, match=said):
        clip_function(name)
    with pytest.raises(ModelError, match="enlarges by 4, not by 2"):
        clip_function("flow+rcan.safetensors", scale=2)
