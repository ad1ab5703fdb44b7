"""MATLAB-true bicubic resampling, against a loop in float64, PyTorch's own kernel and MATLAB's own frames."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stinet.ops.resample import add_resized, downsample, downsample_uint8, quantize, resize, upsample


def keys(x: float) -> float:
    x = abs(x)
    if x < 1:
        return 1 - 2.5 * x * x + 1.5 * x**3
    return 2 - 4 * x + 2.5 * x * x - 0.5 * x**3 if x < 2 else 0.0


def resized_by_loop(line: list[float], length: int, *, antialias: bool) -> list[float]:
    """One line by the definition: all source pixels within reach, mirrored at the ends, weights summing to 1."""
    ratio = length / len(line)
    stretch = max(1 / ratio, 1) if antialias else 1
    out = []
    for index in range(length):
        centre = (index + 0.5) / ratio - 0.5
        total = norm = 0.0
        for at in range(math.floor(centre - 2 * stretch) - 1, math.ceil(centre + 2 * stretch) + 2):
            weight = keys((centre - at) / stretch)
            mirrored = at % (2 * len(line))
            total += weight * line[mirrored if mirrored < len(line) else 2 * len(line) - 1 - mirrored]
            norm += weight
        out.append(total / norm)
    return out


@settings(max_examples=60, deadline=None)
@given(source=st.integers(1, 40), target=st.integers(1, 90), antialias=st.booleans(), upright=st.booleans())
def test_every_ratio_follows_the_definition_on_either_side(
    *, source: int, target: int, antialias: bool, upright: bool
) -> None:
    line = torch.rand(source, dtype=torch.float64)
    expected = torch.tensor(resized_by_loop(line.tolist(), target, antialias=antialias), dtype=torch.float64)
    if upright:
        resized = resize(line.view(1, 1, -1, 1), (target, 1), antialias=antialias)
    else:
        resized = resize(line.view(1, 1, 1, -1), (1, target), antialias=antialias)
    torch.testing.assert_close(resized.flatten(), expected, atol=1e-12, rtol=0)


def test_sides_are_resized_independently_by_different_ratios() -> None:
    image = torch.rand(1, 2, 30, 20, dtype=torch.float64)
    both = resize(image, (11, 47))
    torch.testing.assert_close(both, resize(resize(image, (11, 20)), (11, 47)), atol=1e-12, rtol=0)
    torch.testing.assert_close(both, resize(resize(image, (30, 47)), (11, 47)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [(36, 45), (288, 360), (100, 77)])
def test_the_interior_equals_pytorchs_antialiased_bicubic(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, 144, 180, dtype=torch.float64)
    reference = functional.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    inner = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(resize(image, size)[inner], reference[inner], atol=1e-6, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_enlarging_reproduces_a_quadratic(factor: int) -> None:
    x = torch.arange(40, dtype=torch.float64)
    fine = (torch.arange(40 * factor, dtype=torch.float64) + 0.5) / factor - 0.5
    large = upsample((x * x - 3 * x).view(1, 1, 1, -1).expand(1, 1, 4, -1), factor)[0, 0, 0]
    inner = slice(2 * factor, -2 * factor)
    torch.testing.assert_close(large[inner], (fine * fine - 3 * fine)[inner], atol=1e-9, rtol=0)


def test_an_enlargement_can_be_added_to_interleaved_pixels() -> None:
    image = torch.rand(3, 37, 21, generator=torch.Generator().manual_seed(0))
    pixels = torch.rand(4 * 37, 4 * 21, 3, generator=torch.Generator().manual_seed(1))
    expected = pixels + upsample(image[None], 4)[0].permute(1, 2, 0)
    add_resized(pixels, image)
    torch.testing.assert_close(pixels, expected)


def test_a_flat_image_stays_flat_up_to_the_edge() -> None:
    flat = torch.full((1, 1, 33, 150), 0.7, dtype=torch.float64)
    for size in ((8, 37), (132, 600), (1, 1), (33, 150)):
        torch.testing.assert_close(resize(flat, size), flat.new_full((1, 1, *size), 0.7), atol=1e-12, rtol=0)


def test_the_same_size_returns_the_same_values() -> None:
    image = torch.rand(1, 3, 70, 65)
    assert torch.equal(resize(image, (70, 65)), image)


def test_shrinking_drops_the_rows_and_columns_beyond_a_multiple() -> None:
    image = torch.rand(1, 3, 30, 43)
    assert torch.equal(downsample(image, 4), downsample(image[..., :28, :40], 4))
    assert downsample(image, 4).shape == (1, 3, 7, 10)


def test_shrinking_leaves_no_alias_of_a_fine_pattern() -> None:
    stripes = (torch.arange(64) % 2).float().view(1, 1, 1, -1).expand(1, 1, 64, -1)
    assert (downsample(stripes, 4)[..., 2:-2] - 0.5).abs().max() < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once_and_autocast_changes_nothing(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 20, 24).to(dtype)
    expected = upsample(image.float(), 4).to(dtype)
    assert torch.equal(upsample(image, 4), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(upsample(image.float(), 4), upsample(image.float(), 4).float())
        assert torch.equal(upsample(image, 4), expected)


def test_channels_last_gives_the_same_values() -> None:
    image = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(upsample(image.contiguous(memory_format=torch.channels_last), 4), upsample(image, 4))


def test_gradients_are_those_of_finite_differences() -> None:
    image = torch.rand(1, 1, 6, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, (11, 4)), (image,))


def test_a_call_without_gradients_does_not_spoil_a_later_one_with_them() -> None:
    with torch.inference_mode():
        upsample(torch.rand(1, 1, 19, 23), 3)
    image = torch.rand(1, 1, 19, 23, requires_grad=True)
    upsample(image, 3).sum().backward()
    assert image.grad is not None
    torch.testing.assert_close(image.grad.sum(), torch.tensor(9.0 * 19 * 23))


@given(value=st.floats(-1, 2))
def test_quantized_values_are_the_nearest_that_8_bits_hold(value: float) -> None:
    quantized = float(quantize(torch.tensor([value], dtype=torch.float64)))
    assert abs(round(quantized * 255) - quantized * 255) < 1e-9
    assert abs(quantized - min(max(value, 0), 1)) <= 0.5 / 255 + 1e-12


def test_halves_are_rounded_up() -> None:
    halves = torch.tensor([0.5, 1.5, 254.5], dtype=torch.float64) / 255
    assert (quantize(halves) * 255).round().tolist() == [1, 2, 255]


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]


def test_the_uint8_road_gives_matlabs_own_frames_bit_for_bit(data: Path) -> None:
    references = sorted((data / "benchmarks/vid4_lr_reference/calendar").glob("*.png"))
    assert references
    for reference in references[:6]:
        (sharp,) = (data / "benchmarks/vid4/calendar").glob(f"{reference.stem}.*")
        assert torch.equal(downsample_uint8(read(sharp), 4), read(reference))


def test_the_two_roads_to_8_bits_stay_within_a_few_values() -> None:
    sharp = (torch.rand(1, 3, 64, 64) * 255).round().to(torch.uint8)
    by_floats = (quantize(downsample(sharp.double() / 255, 4)) * 255).round()
    assert 0 < (by_floats - downsample_uint8(sharp, 4)).abs().max() <= 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: resampling on a GPU was not compared")
def test_the_gpu_resamples_as_the_cpu_does() -> None:
    image = torch.rand(1, 3, 37, 50, dtype=torch.float64)
    torch.testing.assert_close(resize(image.cuda(), (90, 21)).cpu(), resize(image, (90, 21)), atol=1e-12, rtol=0)
