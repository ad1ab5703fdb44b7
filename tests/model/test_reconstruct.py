"""V = V^L + V^H, at every scale, and the phase-1 heads."""

from typing import Any

import pytest
import torch
from torch import nn

from stinet.model.reconstruct import DraftHeads, Reconstruct, unfold
from stinet.ops.resample import upsample


def made(**edit: Any) -> Reconstruct:
    torch.manual_seed(0)
    settings = {"channels": 8, "scale": 4, "upsampler": "shuffle", "fold": 1, "branches": ("low", "high"), "gain": 1.0}
    return Reconstruct(**{**settings, **edit})


@pytest.mark.parametrize("upsampler", ["shuffle", "direct"])
@pytest.mark.parametrize(("scale", "fold"), [(4, 1), (2, 1), (4, 4), (2, 2)])
def test_the_frame_is_the_sum_of_both_branches(scale: int, fold: int, upsampler: str) -> None:
    net = made(scale=scale, fold=fold, upsampler=upsampler)
    low, high = torch.rand(2, 8, 3, 5), torch.rand(2, 8, 3 * scale // fold, 5 * scale // fold)
    whole = net(low, high, None)
    assert whole.shape == (2, 3, 3 * scale, 5 * scale)
    torch.testing.assert_close(whole, net(low, None, None) + net(None, high, None))


@pytest.mark.parametrize("fold", [1, 2, 4])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_unfolding_is_pixelshuffle_in_contiguous_order(fold: int, order: torch.memory_format) -> None:
    x = torch.rand(2, 3 * fold * fold, 5, 7).to(memory_format=order)
    made = unfold(x, fold)
    assert torch.equal(made, nn.functional.pixel_shuffle(x, fold))
    assert fold == 1 or made.is_contiguous()
    assert unfold(x.bfloat16(), fold).dtype == torch.float32


def test_the_papers_is_two_pixelshuffle_layers_and_a_1x1_and_a_1x1_for_h() -> None:
    net = made()
    assert isinstance(net.low, nn.Sequential)
    assert sum(isinstance(layer, nn.PixelShuffle) for layer in net.modules()) == 2
    assert sum(isinstance(layer, nn.PixelShuffle) for layer in made(scale=2).modules()) == 1
    for last in (net.low[-1], net.high):
        assert isinstance(last, nn.Conv2d)
        assert (last.kernel_size, last.out_channels) == ((1, 1), 3)


def test_the_base_is_enlarged_by_bicubic_and_added() -> None:
    net, base = made(), torch.rand(1, 3, 4, 4)
    low, high = torch.rand(1, 8, 4, 4), torch.rand(1, 8, 16, 16)
    torch.testing.assert_close(net(low, high, base), net(low, high, None) + upsample(base, 4))


@pytest.mark.parametrize("fold", [1, 4])
def test_draft_heads_are_separate_1x1_convolutions_at_both_resolutions(fold: int) -> None:
    torch.manual_seed(0)
    heads = DraftHeads(channels=8, scale=4, fold=fold, branches=("low", "high"))
    low, high = heads(torch.rand(1, 8, 4, 5), torch.rand(1, 8, 16 // fold, 20 // fold), None)
    assert low is not None
    assert high is not None
    assert (low.shape, high.shape) == ((1, 3, 4, 5), (1, 3, 16, 20))
    assert {tuple(p.shape[-2:]) for p in heads.parameters() if p.ndim == 4} == {(1, 1)}


def test_an_absent_branch_has_no_head() -> None:
    heads = DraftHeads(channels=8, scale=4, fold=4, branches=("low",))
    assert heads.high is None
    assert heads(torch.rand(1, 8, 2, 2), None, None)[1] is None
    assert made(branches=("high",)).low is None


def test_the_gain_scales_the_correction_and_leaves_the_base() -> None:
    torch.manual_seed(0)
    loud = made()
    quiet = made(gain=0.05)
    quiet.load_state_dict(loud.state_dict())
    low, high, base = torch.rand(2, 8, 3, 5), torch.rand(2, 8, 12, 20), torch.rand(2, 3, 3, 5)
    torch.testing.assert_close(quiet(low, high, None), 0.05 * loud(low, high, None))
    torch.testing.assert_close(quiet(low, high, base) - quiet(low, high, None), upsample(base, 4))
