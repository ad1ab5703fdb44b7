"""Alignment over a pyramid: it moves what it is told to move, at any frame size."""

import pytest
import torch
from torch import Tensor, nn

from stinet.model.pyramid import Deform, PairAlign, Pyramid, PyramidAlign


class TimesSource(nn.Module):
    """A modulator that is nothing at time 0."""

    def forward(self, source: Tensor, time: Tensor) -> Tensor:
        return source * time


def align() -> PyramidAlign:
    torch.manual_seed(0)
    return PyramidAlign(channels=4, groups=2, modulators=[TimesSource() for _ in range(3)])


@pytest.mark.parametrize(("height", "width"), [(8, 12), (5, 6), (7, 9), (1, 3)])
def test_a_pyramid_halves_twice_and_alignment_gives_the_finest_size_back(height: int, width: int) -> None:
    torch.manual_seed(0)
    pyramid, pair = Pyramid(4), PairAlign.of(4, kernel=3, groups=2, max_offset_px=None)
    levels = pyramid(torch.randn(2, 4, height, width))
    sizes = [tuple(level.shape[-2:]) for level in levels]
    assert sizes == [(-(-height // s), -(-width // s)) for s in (1, 2, 4)]
    assert pair(levels, levels).shape == (2, 4, height, width)


@pytest.mark.parametrize("bound", [None, 8.0])
def test_a_deformable_convolution_reads_where_its_guide_says(bound: float | None) -> None:
    net, x = Deform(2, kernel=1, groups=1, max_offset_px=bound), torch.randn(1, 2, 6, 8)
    with torch.no_grad():
        net.weights.weight.copy_(2 * torch.eye(2).view(2, 2, 1, 1))  # a mask starts at a half
        assert net.offsets.bias is not None
        wanted = torch.tensor([1.0, 2.0])
        net.offsets.bias[:2] = wanted if bound is None else bound * torch.atanh(wanted / bound)
        out = net(x, torch.zeros_like(x))
    torch.testing.assert_close(out[..., :-1, :-2], x[..., 1:, 2:])
    assert out[..., -1, :].abs().max() == 0


def test_without_a_bound_an_offset_may_leave_any_range() -> None:
    net, x = Deform(2, kernel=1, groups=1, max_offset_px=None), torch.ones(1, 2, 4, 40)
    with torch.no_grad():
        assert net.offsets.bias is not None
        net.offsets.bias[1] = 30
        net.weights.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        out = net(x, x)
    assert out[..., :10].min() == 0.5
    assert out[..., 10:].max() == 0


def test_time_changes_what_is_aligned_unless_the_modulators_give_nothing() -> None:
    net = align()
    first, second = (Pyramid(4)(torch.randn(1, 4, 8, 8)) for _ in range(2))
    with torch.no_grad():
        for deform in net.deform:
            assert isinstance(deform, Deform)
            deform.offsets.weight.normal_(std=0.1)
        plain = net(first, second)
        at = [net(first, second, torch.full((1, 1, 1, 1), time)) for time in (0.0, 0.5)]
    torch.testing.assert_close(at[0], plain)
    assert (at[1] - plain).abs().max() > 1e-3


def test_a_pair_turned_round_at_the_opposite_time_is_the_same_pair() -> None:
    ways = align(), align()
    pair = PairAlign(channels=4, ahead=ways[0], back=ways[1])
    first, second = (Pyramid(4)(torch.randn(1, 4, 8, 8)) for _ in range(2))
    time = torch.full((1, 1, 1, 1), 0.4)
    with torch.no_grad():
        pair.fuse.weight[:, 4:] = pair.fuse.weight[:, :4]
        torch.testing.assert_close(pair(first, second, time), pair(second, first, -time), rtol=1e-4, atol=1e-5)


def test_gradients_reach_both_pyramids() -> None:
    torch.manual_seed(0)
    net, pyramid = align(), Pyramid(4)
    moving, fixed = (torch.randn(1, 4, 8, 8, requires_grad=True) for _ in range(2))
    for deform in net.deform:
        assert isinstance(deform, Deform)
        nn.init.normal_(deform.offsets.weight, std=0.1)
    net(pyramid(moving), pyramid(fixed)).square().sum().backward()
    for feature in (moving, fixed):
        assert feature.grad is not None
        assert feature.grad.abs().max() > 0
