"""Backward warping and bilinear sampling."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stinet.ops.warp import bilinear_sample, warp, warp_cubic

CHANNELS = (3, 32)  # narrow images go one road, wide ones the other


def ramp(channels: int, height: int, width: int) -> Tensor:
    """A plane with another slope in every channel: bilinear sampling is exact on it."""
    slope = torch.linspace(0.5, 2, channels).view(1, -1, 1, 1)
    return slope * torch.arange(width).view(1, 1, 1, -1) - 0.3 * torch.arange(height).view(1, 1, -1, 1)


@pytest.mark.parametrize("channels", CHANNELS)
def test_zero_flow_returns_the_image_bit_for_bit(channels: int) -> None:
    image = torch.rand(2, channels, 13, 17)
    assert torch.equal(warp(image, torch.zeros(2, 2, 13, 17)), image)


@pytest.mark.parametrize("channels", CHANNELS)
def test_zero_flow_returns_the_values_when_gradients_are_asked_for(channels: int) -> None:
    image = torch.rand(2, channels, 13, 17, requires_grad=True)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, 13, 17)), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", CHANNELS)
def test_channel_0_of_the_flow_points_right_and_channel_1_down(channels: int) -> None:
    image = torch.rand(1, channels, 9, 11)
    right, down = torch.zeros(2, 1, 2, 9, 11)
    right[:, 0], down[:, 1] = 3, 2
    torch.testing.assert_close(warp(image, right)[..., :-3], image[..., 3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(warp(image, down)[..., :-2, :], image[..., 2:, :], atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_plane_is_sampled_exactly_between_its_pixels(channels: int) -> None:
    flow = torch.rand(1, 2, 20, 24) * 4 - 2
    moved = warp(ramp(channels, 20, 24), flow)[..., 2:-2, 2:-2]
    slope = torch.linspace(0.5, 2, channels).view(1, -1, 1, 1)
    expected = ramp(channels, 20, 24) + slope * flow[:, :1] - 0.3 * flow[:, 1:]
    torch.testing.assert_close(moved, expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", CHANNELS)
def test_outside_the_frame_the_nearest_edge_pixel_is_read(channels: int) -> None:
    image = torch.rand(1, channels, 5, 6)
    far = torch.full((1, 2, 5, 6), 100.0)
    torch.testing.assert_close(warp(image, far), image[..., -1:, -1:].expand(-1, -1, 5, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(warp(image, -far), image[..., :1, :1].expand(-1, -1, 5, 6), atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), wide=st.booleans(), padding=st.sampled_from(["border", "zeros"])
)
def test_both_roads_read_the_same_numbers(*, height: int, width: int, wide: bool, padding: str) -> None:
    image = torch.rand(2, 32 if wide else 1, height, width)
    x, y = torch.rand(2, 7, 5) * (width + 6) - 3, torch.rand(2, 7, 5) * (height + 6) - 3
    plain = bilinear_sample(image, x, y, padding=padding)
    differentiable = bilinear_sample(image.requires_grad_(), x, y, padding=padding)
    torch.testing.assert_close(plain, differentiable, atol=3e-6, rtol=0)


@pytest.mark.parametrize("channels", CHANNELS)
def test_zeros_padding_ramps_down_over_one_pixel(channels: int) -> None:
    image = torch.ones(1, channels, 4, 4)
    x = torch.tensor([[[-1.5, -1.0, -0.75, 0.0, 3.25, 4.0, 40.0]]])
    sampled = bilinear_sample(image, x, torch.full_like(x, 2), padding="zeros")
    expected = torch.tensor([0, 0, 0.25, 1, 0.75, 0, 0]).expand(1, channels, 1, 7)
    torch.testing.assert_close(sampled, expected, atol=1e-6, rtol=0)


def test_gradients_of_image_and_flow_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(2, 2, 5, 6, dtype=torch.float64) * 3 - 1.5).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, flow))


def test_wide_images_stay_channels_last() -> None:
    image = torch.rand(2, 32, 8, 9).contiguous(memory_format=torch.channels_last)
    moved = warp(image, torch.rand(2, 2, 8, 9))
    assert moved.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", CHANNELS)
def test_bfloat16_images_stay_bfloat16_and_coordinates_are_not_rounded(channels: int) -> None:
    image = ramp(channels, 4, 300).expand(1, -1, -1, -1) / 300
    flow = torch.full((1, 2, 4, 300), 0.5)
    moved = warp(image.bfloat16(), flow.bfloat16())
    assert moved.dtype == torch.bfloat16
    torch.testing.assert_close(moved.float(), warp(image, flow), atol=0.02, rtol=0)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_flow_that_is_not_a_number_does_not_crash_and_spoils_only_its_own_pixel(channels: int) -> None:
    flow = torch.full((1, 2, 6, 6), 0.25)
    flow[:, :, 2, 3] = torch.nan
    image = torch.rand(1, channels, 6, 6)
    moved, clean = warp(image, flow), warp(image, torch.full((1, 2, 6, 6), 0.25))
    moved[..., 2, 3] = clean[..., 2, 3]
    assert torch.equal(moved, clean)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: warp on a GPU was not compared")
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_gpu_warps_as_the_cpu_does(channels: int) -> None:
    image, flow = torch.rand(2, channels, 40, 50), torch.randn(2, 2, 40, 50) * 4
    torch.testing.assert_close(warp(image.cuda(), flow.cuda()).cpu(), warp(image, flow), atol=2e-5, rtol=0)


def test_the_cubic_kernel_reads_a_shifted_frame_exactly_at_whole_pixels() -> None:
    image = torch.rand(1, 3, 12, 14, dtype=torch.float64)
    flow = torch.zeros(1, 2, 12, 14, dtype=torch.float64)
    flow[:, 0], flow[:, 1] = 2, -1
    torch.testing.assert_close(warp_cubic(image, flow)[..., 1:, :-2], image[..., :-1, 2:])


def test_the_cubic_kernel_keeps_more_detail_than_the_bilinear_one() -> None:
    x = torch.arange(64, dtype=torch.float64)
    wave = torch.sin(1.6 * x).expand(1, 1, 8, 64)
    flow = torch.full((1, 2, 8, 64), 0.5, dtype=torch.float64)
    truth = torch.sin(1.6 * (x + 0.5)).expand(1, 1, 8, 64)
    errors = [(road(wave, flow) - truth)[..., 4:-4].abs().mean() for road in (warp_cubic, warp)]
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("is_learned", [True, False])
def test_a_flow_that_is_no_number_stays_inside_of_memory_on_the_way_back(*, is_learned: bool) -> None:
    image = torch.rand(2, 8, 9, 7, requires_grad=True)
    flow = torch.full((2, 2, 9, 7), torch.nan, requires_grad=is_learned)
    warp(image, flow).sum().backward()
    assert image.grad is not None
    assert image.grad.sum() == pytest.approx(2 * 8 * 9 * 7)  # every sample was read from somewhere in the image
