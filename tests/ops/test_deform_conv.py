"""Modulated deformable convolution, against a loop in float64 that follows the definition."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stinet.ops.deform_conv import bound_offsets, deform_conv


def read(plane: Tensor, x: float, y: float) -> Tensor:
    """All channels of `plane` (c h w) at one place, zero outside."""
    total = plane.new_zeros(plane.shape[0])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[1] and 0 <= column < plane.shape[2]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[:, row, column]
    return total


def by_loop(
    x: Tensor, offset: Tensor, mask_logits: Tensor, weight: Tensor, bias: Tensor, groups: int, flow: Tensor
) -> Tensor:
    """Tap by tap and pixel by pixel: of each group and tap, dy comes first, then dx; then the mask logits."""
    batch, channels, height, width = x.shape
    side, per_group = weight.shape[-1], channels // groups
    out = bias.view(1, -1, 1, 1).repeat(batch, 1, height, width)
    for n in range(batch):
        for group in range(groups):
            own = slice(group * per_group, (group + 1) * per_group)
            for tap in range(side * side):
                number = group * side * side + tap
                i, j = divmod(tap, side)
                for row in range(height):
                    for column in range(width):
                        dy, dx = offset[n, 2 * number, row, column], offset[n, 2 * number + 1, row, column]
                        at_y = row + i - side // 2 + float(dy + flow[n, 1, row, column])
                        at_x = column + j - side // 2 + float(dx + flow[n, 0, row, column])
                        mask = torch.sigmoid(mask_logits[n, number, row, column])
                        out[n, :, row, column] += weight[:, own, i, j] @ read(x[n, own], at_x, at_y) * mask
    return out


def inputs(channels: int, kernel: int, groups: int, out: int = 5, size: tuple[int, int] = (4, 5)) -> tuple[Tensor, ...]:
    """x, offset, mask logits, weight, bias and flow, in float64; offsets that also leave the image."""
    torch.manual_seed(channels + kernel + groups)
    taps = groups * kernel * kernel
    shapes = [(2, channels, *size), (2, 2 * taps, *size), (2, taps, *size), (out, channels, kernel, kernel), (out,)]
    x, offset, mask, weight, bias = (torch.randn(*shape, dtype=torch.float64) for shape in shapes)
    return x, 2 * offset, mask, weight, bias, torch.randn(2, 2, *size, dtype=torch.float64)


# 16 channels a group and more go another road than fewer do
@pytest.mark.parametrize(("channels", "kernel", "groups"), [(8, 1, 8), (4, 3, 2), (16, 3, 1), (32, 1, 2), (6, 5, 1)])
@pytest.mark.parametrize("differentiable", [False, True])
def test_it_equals_the_definition(channels: int, kernel: int, groups: int, *, differentiable: bool) -> None:
    x, offset, mask, weight, bias, flow = inputs(channels, kernel, groups)
    expected = by_loop(x, offset, mask, weight, bias, groups, flow)
    x.requires_grad_(differentiable)
    out = deform_conv(x, offset, mask, weight, bias, groups=groups, base_flow=flow)
    torch.testing.assert_close(out.detach(), expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("channels", [6, 32])
def test_without_offsets_it_is_half_the_plain_convolution(channels: int) -> None:
    x, weight = torch.randn(1, channels, 7, 8), torch.randn(4, channels, 3, 3)
    out = deform_conv(x, torch.zeros(1, 36, 7, 8), torch.zeros(1, 18, 7, 8), weight, groups=2)
    torch.testing.assert_close(out, functional.conv2d(x, weight, padding=1) / 2, atol=1e-4, rtol=1e-4)


def test_the_first_offset_channel_of_a_tap_points_down() -> None:
    x = torch.randn(1, 1, 6, 6)
    offset = torch.zeros(1, 2, 6, 6)
    offset[:, 0] = 1
    out = deform_conv(x, offset, torch.full((1, 1, 6, 6), 50.0), torch.ones(1, 1, 1, 1), groups=1)
    torch.testing.assert_close(out[..., :-1, :], x[..., 1:, :], atol=1e-5, rtol=0)
    assert out[..., -1, :].abs().max() < 1e-5


def test_a_base_flow_is_the_same_as_offsets_that_contain_it() -> None:
    x, offset, mask, weight, bias, flow = inputs(8, 3, 2)
    contained = (offset.view(2, 18, 2, 4, 5) + flow.flip(1).unsqueeze(1)).view_as(offset)
    torch.testing.assert_close(
        deform_conv(x, offset, mask, weight, bias, groups=2, base_flow=flow),
        deform_conv(x, contained, mask, weight, bias, groups=2),
    )


@pytest.mark.parametrize(("kernel", "groups"), [(1, 2), (3, 1)])
def test_gradients_of_all_inputs_are_those_of_finite_differences(kernel: int, groups: int) -> None:
    tensors = [tensor.requires_grad_() for tensor in inputs(2, kernel, groups, out=2, size=(3, 4))]

    def function(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, flow: Tensor) -> Tensor:
        return deform_conv(x, offset, mask, weight, bias, groups=groups, base_flow=flow)

    assert torch.autograd.gradcheck(function, tensors)


@pytest.mark.parametrize("channels", [16, 64])
def test_under_autocast_it_stays_close_to_float32(channels: int) -> None:
    x, offset, mask, weight, bias, flow = (tensor.float() for tensor in inputs(channels, 1, 4, size=(12, 12)))
    exact = deform_conv(x, offset, mask, weight, bias, groups=4, base_flow=flow)
    with torch.autocast("cpu", torch.bfloat16):
        rough = deform_conv(x.bfloat16(), offset, mask, weight, bias, groups=4, base_flow=flow)
    assert (rough.float() - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_channels_last_gives_the_same_values() -> None:
    x, offset, mask, weight, bias, _ = (tensor.float() for tensor in inputs(32, 3, 2))
    last = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, offset, mask))
    x_last, offset_last, mask_last = last
    torch.testing.assert_close(
        deform_conv(x_last, offset_last, mask_last, weight, bias, groups=2),
        deform_conv(x, offset, mask, weight, bias, groups=2),
    )


@pytest.mark.parametrize("channels", [4, 32])
def test_a_frame_of_a_batch_of_clips_can_be_read(channels: int) -> None:
    x, offset, mask, weight, bias, _ = (tensor.float() for tensor in inputs(channels, 3, 2))
    clip = torch.stack([x, x.flip(-1), x], dim=1)
    assert not clip[:, 2].is_contiguous()
    torch.testing.assert_close(
        deform_conv(clip[:, 2], offset, mask, weight, bias, groups=2),
        deform_conv(x, offset, mask, weight, bias, groups=2),
    )


def test_bounded_offsets_keep_small_values_and_never_pass_the_bound() -> None:
    raw = torch.linspace(-1000, 1000, 4001)
    bounded = bound_offsets(raw, 16.0)
    assert bounded.abs().max() <= 16
    assert bool((bounded.diff() >= 0).all())
    small = torch.linspace(-0.5, 0.5, 11)
    torch.testing.assert_close(bound_offsets(small, 16.0), small, atol=3e-4, rtol=0)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: deformable convolution on a GPU not compared"
)
def test_the_gpu_convolves_as_the_cpu_does() -> None:
    tensors = inputs(32, 3, 2, size=(20, 24))
    x, offset, mask, weight, bias, flow = (tensor.cuda() for tensor in tensors)
    on_gpu = deform_conv(x, offset, mask, weight, bias, groups=2, base_flow=flow).cpu()
    on_cpu = deform_conv(*tensors[:5], groups=2, base_flow=tensors[5])
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-10, rtol=0)
