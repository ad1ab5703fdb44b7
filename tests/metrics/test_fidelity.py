"""PSNR and SSIM on Y and RGB: against scikit-image, and by what must hold of any such measure."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from stinet.errors import UsageError
from stinet.metrics.fidelity import levels, luma, psnr, rgb_psnr, rgb_ssim, ssim


def pair(height: int, width: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.nn.functional.interpolate(
        torch.rand(1, 3, 9, 9, generator=generator), (height, width), mode="bicubic"
    )[0].clamp(0, 1)
    return clean, (clean + noise * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


def test_luma_is_scikit_images_luma_of_the_8_bit_frame() -> None:
    frame, _ = pair(40, 52, 0.0)
    levels = (frame * 255 + 0.5).floor().byte().permute(1, 2, 0).numpy()
    np.testing.assert_allclose(luma(frame).numpy(), rgb2ycbcr(levels)[..., 0], atol=1e-9)


def test_luma_spans_16_to_235() -> None:
    assert luma(torch.zeros(3, 1, 1)).item() == pytest.approx(16)
    assert luma(torch.ones(3, 1, 1)).item() == pytest.approx(235)


def test_luma_clamps_and_rounds_half_up_before_it_weighs_colours() -> None:
    level = torch.tensor([-0.5, 0.4, 100.5, 254.4, 300.0], dtype=torch.float64) / 255
    rounded = torch.tensor([0.0, 0, 101, 254, 255], dtype=torch.float64) / 255
    torch.testing.assert_close(luma(level.expand(3, 1, 5)), luma(rounded.expand(3, 1, 5)), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(11, 11), (26, 27), (37, 64), (48, 101)])
@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_psnr_and_ssim_equal_scikit_images(size: tuple[int, int], noise: float) -> None:
    clean, noisy = (luma(frame) for frame in pair(*size, noise))
    full = structural_similarity(
        clean.numpy(),
        noisy.numpy(),
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]
    assert ssim(clean, noisy).item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-12)
    expected = peak_signal_noise_ratio(clean.numpy(), noisy.numpy(), data_range=255)
    assert psnr(clean, noisy).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [(26, 27), (37, 64)])
@pytest.mark.parametrize("noise", [0.01, 0.2])
def test_rgb_psnr_and_ssim_equal_scikit_images(size: tuple[int, int], noise: float) -> None:
    clean, noisy = (levels(frame) for frame in pair(*size, noise))
    first, second = (frame.byte().permute(1, 2, 0).numpy() for frame in (clean, noisy))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    full = structural_similarity(first, second, data_range=255, channel_axis=-1, full=True, **gaussian)[1]
    assert rgb_ssim(clean, noisy).item() == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)
    expected = peak_signal_noise_ratio(first, second, data_range=255)
    assert rgb_psnr(clean, noisy).item() == pytest.approx(expected, abs=1e-9)


def test_an_error_in_one_channel_is_a_third_of_the_rgb_error() -> None:
    frame = torch.full((3, 20, 20), 100.0, dtype=torch.float64)
    other = frame.clone()
    other[2] += 3
    assert rgb_psnr(frame, other).item() == pytest.approx(10 * math.log10(255**2 / 3))


@settings(max_examples=20, deadline=None)
@given(st.integers(11, 40), st.integers(11, 40), st.floats(0.01, 0.5), st.integers(0, 99))
def test_ssim_is_symmetric_and_below_one_for_frames_that_differ(
    height: int, width: int, noise: float, seed: int
) -> None:
    clean, noisy = (luma(frame) for frame in pair(height, width, noise, seed))
    assert ssim(clean, noisy).item() == pytest.approx(ssim(noisy, clean).item(), abs=1e-12)
    assert -1 <= ssim(clean, noisy).item() < 1


def test_identical_frames_have_infinite_psnr_and_ssim_one() -> None:
    frame = luma(pair(20, 20, 0.0)[0])
    assert psnr(frame, frame).item() == math.inf
    assert ssim(frame, frame).item() == pytest.approx(1, abs=1e-12)


def test_one_level_of_error_everywhere_is_48_db() -> None:
    frame = torch.full((20, 20), 100.0, dtype=torch.float64)
    assert psnr(frame, frame + 1).item() == pytest.approx(20 * math.log10(255))


def test_a_batch_is_measured_frame_by_frame() -> None:
    frames = [pair(24, 30, noise, seed) for seed, noise in enumerate((0.05, 0.1, 0.3))]
    clean = luma(torch.stack([first for first, _ in frames]))
    noisy = luma(torch.stack([second for _, second in frames]))
    for measure in (psnr, ssim):
        alone = torch.stack([measure(luma(first), luma(second)) for first, second in frames])
        torch.testing.assert_close(measure(clean, noisy), alone)
    first, second = (levels(torch.stack(side)) for side in zip(*frames, strict=True))
    for measure in (rgb_psnr, rgb_ssim):
        alone = torch.stack([measure(a, b) for a, b in zip(first, second, strict=True)])
        torch.testing.assert_close(measure(first, second), alone)


def test_frames_smaller_than_the_window_are_refused_with_their_size() -> None:
    frame = torch.zeros(10, 30, dtype=torch.float64)
    with pytest.raises(UsageError, match="30x10"):
        ssim(frame, frame)
