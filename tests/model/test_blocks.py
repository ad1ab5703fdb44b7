"""The small parts keep sizes, start where they say, and put frames in the order asked for."""

import pytest
import torch
from torch import nn

from stinet.model.blocks import (
    ResidualBlock,
    conv,
    downscale_conv,
    join_times,
    residual_blocks,
    take,
    upscale_conv,
)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 7)])
def test_scaling_convolutions_are_exact_in_size_and_undo_each_others_size(scale: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, 4, *size)
    large = upscale_conv(4, 6, scale)(x)
    assert large.shape == (2, 6, scale * size[0], scale * size[1])
    assert downscale_conv(6, 4, scale)(large).shape == x.shape


def test_convolutions_start_with_the_variance_kaiming_asks_for() -> None:
    torch.manual_seed(0)
    for layer in (conv(64, 64), upscale_conv(64, 64, 4), downscale_conv(64, 64, 4)):
        x = torch.randn(1, 64, 16, 16)
        inner = layer(x)[..., 4:-4, 4:-4] if not isinstance(layer, nn.Conv2d) or layer.stride == (1, 1) else layer(x)
        # leaky ReLU of slope 0.1 halves the power: the convolution doubles it
        assert 1.5 < inner.var() < 2.6


def test_a_gain_of_zero_starts_from_zero() -> None:
    layer = conv(3, 5, gain=0.0)
    assert not layer(torch.rand(1, 3, 4, 4)).any()


def test_a_residual_block_starts_near_the_identity_and_leaves_its_input_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 16, 8, 8)
    kept = x.clone()
    change = ResidualBlock(16)(x) - kept
    assert torch.equal(x, kept)
    assert 0 < change.std() < 0.5
    assert torch.equal(residual_blocks(16, 0)(x), x)


def test_take_and_join_follow_the_frames_of_each_clip() -> None:
    batch, given, between = 2, torch.arange(6.0).view(6, 1, 1, 1), 10 + torch.arange(4.0).view(4, 1, 1, 1)
    assert take(given, batch, [2, 0]).flatten().tolist() == [2, 0, 5, 3]
    assert take(given, batch, [0, 1, 2]) is given
    joined = join_times(given, between, batch, [0, 3, 1, 4, 2])
    assert joined.flatten().tolist() == [0, 10, 1, 11, 2, 3, 12, 4, 13, 5]
    assert join_times(given, between[:0], batch, [0, 1, 2]) is given


def test_take_keeps_channels_last() -> None:
    x = torch.rand(4, 8, 3, 5).contiguous(memory_format=torch.channels_last)
    assert take(x, 2, [1, 1, 0]).is_contiguous(memory_format=torch.channels_last)
