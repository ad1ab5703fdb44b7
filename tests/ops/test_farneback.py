"""Farneback flow, against OpenCV and against motions that are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stinet.ops.farneback import expand, farneback, flow_between

SIZES = [
    (16, 16),
    (63, 47),
    (64, 64),
    (112, 64),
    (128, 96),
    (256, 448),
    (1, 1),
    (1, 9),
    (4, 4),
    (8, 40),
    (33, 7),
    (9, 12),
]


def scene(height: int, width: int, dx: float = 0.0, dy: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A smooth random texture that has moved by (dx, dy), exactly: a sum of plane waves, in [0, 1]."""
    waves = np.random.default_rng(7).normal(scale=[0.35, 0.35, 1, 1], size=(40, 4))
    y, x = np.meshgrid(np.arange(height) - dy, np.arange(width) - dx, indexing="ij")
    total = sum(np.cos(fx * x + fy * y + 6 * phase) * (0.5 + abs(size)) for fx, fy, phase, size in waves)
    return torch.from_numpy(0.5 + 0.05 * total).clamp(0, 1).to(dtype)[None, None]


def photos(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two views of a photograph: the second one zoomed, turned and moved; 8-bit RGB values in [0, 1]."""
    cv2 = pytest.importorskip("cv2")
    photo = pytest.importorskip("skimage.data").astronaut()
    motion = np.array([[1.01, 0.012, 2.3], [-0.012, 1.01, -1.2]], dtype=np.float32)
    moved = cv2.warpAffine(photo, motion, photo.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    crop = (slice(60, 60 + height), slice(40, 40 + width))
    first, second = (torch.from_numpy(view[crop]).permute(2, 0, 1)[None].float() / 255 for view in (photo, moved))
    return first, second


def by_pytorch(first: Tensor, second: Tensor) -> Tensor:
    """Our own arithmetic: a frame that asks for gradients never goes to OpenCV."""
    return farneback(first.clone().requires_grad_(), second).detach()


def by_opencv(first: Tensor, second: Tensor) -> Tensor:
    """OpenCV on 8-bit gray frames."""
    cv2 = pytest.importorskip("cv2")
    gray = [(frame[0, 0] * 255).round().to(torch.uint8).numpy() for frame in (first, second)]
    flow = cv2.calcOpticalFlowFarneback(gray[0], gray[1], None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return torch.from_numpy(flow).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_equals_opencv_at_every_size(height: int, width: int) -> None:
    first, second = ((frame.mean(1, keepdim=True) * 255).round() / 255 for frame in photos(height, width))
    expected = by_opencv(first, second)
    for flow in (by_pytorch(first, second), farneback(first, second)):
        difference = (flow - expected).abs().flatten()
        assert difference.mean() < 1e-5
        assert difference.quantile(0.999) < 1e-3
    assert min(height, width) < 16 or expected.abs().mean() > 0.3


@pytest.mark.parametrize("pair", ["photos", "texture"])
def test_colour_frames_give_the_same_flow_with_and_without_gradients(pair: str) -> None:
    first, second = photos(96, 130) if pair == "photos" else (scene(70, 81), scene(70, 81, 6.2, -3.4))
    difference = (farneback(first, second) - by_pytorch(first, second)).abs().flatten()
    assert difference.mean() < 1e-5
    assert difference.quantile(0.999) < 1e-3


@pytest.mark.parametrize(("dx", "dy"), [(1.5, -0.5), (-2.25, 1.0), (5.0, 4.0)])
def test_flow_points_to_where_the_texture_went(dx: float, dy: float) -> None:
    flow = by_pytorch(scene(128, 160), scene(128, 160, dx, dy))[..., 24:-24, 24:-24]
    assert (flow[:, 0] - dx).abs().mean() < 0.05
    assert (flow[:, 1] - dy).abs().mean() < 0.05


def test_a_frame_and_itself_have_no_flow_away_from_the_edge() -> None:
    first, _ = photos(64, 96)
    inner = (..., slice(16, -16), slice(16, -16))  # the last row and column count as outside, as in OpenCV
    assert by_pytorch(first, first)[inner].abs().max() < 1e-3
    assert farneback(first, first)[inner].abs().max() < 1e-3


def test_flat_frames_have_no_flow() -> None:
    assert by_pytorch(torch.full((1, 3, 40, 40), 0.3), torch.full((1, 3, 40, 40), 0.6)).abs().max() < 1e-6


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_batch_equals_its_pairs_one_by_one(*, differentiable: bool) -> None:
    frames = torch.cat([scene(70, 66, dx, dx / 2) for dx in (0.0, 1.0, 2.5, 4.5)]).requires_grad_(differentiable)
    together = farneback(frames[:-1], frames[1:])
    apart = torch.cat([farneback(frames[i : i + 1], frames[i + 1 : i + 2]) for i in range(3)])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=0)


def test_an_expansion_serves_both_directions_and_several_pairs() -> None:
    frames = [scene(64, 64, dx).requires_grad_() for dx in (0.0, 1.0, 2.0)]
    expansions = [expand(frame) for frame in frames]
    for i, j in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 2)):
        assert torch.equal(flow_between(expansions[i], expansions[j]), farneback(frames[i], frames[j]))


@pytest.mark.parametrize("differentiable", [False, True])
def test_frames_named_by_number_give_the_flows_of_those_frames(*, differentiable: bool) -> None:
    frames = torch.cat([scene(64, 64, dx) for dx in (0.0, 1.0, 2.5)]).requires_grad_(differentiable)
    expansion = expand(frames)
    first, second = torch.tensor([0, 2, 0, 1]), torch.tensor([1, 0, 2, 1])
    expected = farneback(frames[first], frames[second])
    torch.testing.assert_close(flow_between(expansion.of(first), expansion.of(second)), expected, atol=1e-4, rtol=0)


def test_an_expansion_used_without_gradients_first_still_passes_them_later() -> None:
    first, second = scene(40, 40).requires_grad_(), scene(40, 40, 1.0)
    expansions = expand(first), expand(second)
    with torch.no_grad():
        assert not flow_between(*expansions).requires_grad
    flow_between(*expansions).square().sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize(("height", "width", "dx"), [(24, 26, 1.0), (64, 70, 2.0)])
def test_gradients_of_both_frames_are_those_of_finite_differences(height: int, width: int, dx: float) -> None:
    first = scene(height, width, dtype=torch.float64).requires_grad_()
    second = scene(height, width, dx, 0.7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: farneback(a, b)[..., 8:-8, 8:-8], (first, second), fast_mode=True, eps=1e-7, atol=1e-4
    )


def test_a_step_along_the_gradient_brings_the_flow_nearer_to_a_wanted_one() -> None:
    first, second = scene(48, 48), scene(48, 48, 1.0).requires_grad_()
    wanted = farneback(first, scene(48, 48, 1.4))

    def miss(frame: Tensor) -> Tensor:
        return (farneback(first, frame) - wanted).square().mean()

    loss = miss(second)
    (gradient,) = torch.autograd.grad(loss, second)
    assert miss(second.detach() - 0.05 * gradient / gradient.abs().max()) < loss


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_frames_and_autocast_give_float32_flow_of_the_same_motion(dtype: torch.dtype) -> None:
    first, second = scene(64, 80), scene(64, 80, 1.5, -0.5)
    rough = by_pytorch(first.to(dtype), second.to(dtype))
    assert rough.dtype == torch.float32
    assert (rough - by_pytorch(first, second)).abs().mean() < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(by_pytorch(first, second), by_pytorch(first.float(), second.float()))
        under = by_pytorch(first, second)
    assert torch.equal(under, by_pytorch(first, second))


def test_a_call_without_gradients_does_not_spoil_a_later_one_with_them() -> None:
    first, second = scene(36, 38, dtype=torch.float64), scene(36, 38, 1.0, dtype=torch.float64)
    with torch.inference_mode():
        farneback(first, second)
    farneback(first.requires_grad_(), second).sum().backward()
    assert first.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: flow on a GPU was not compared")
def test_the_gpu_finds_the_flow_that_the_cpu_finds() -> None:
    first, second = scene(128, 160, dtype=torch.float64), scene(128, 160, 2.5, -1.0, dtype=torch.float64)
    difference = (farneback(first.cuda(), second.cuda()).cpu() - farneback(first, second)).abs().flatten()
    assert difference.quantile(0.999) < 1e-6
    single = (farneback(first.float().cuda(), second.float().cuda()).cpu() - farneback(first, second)).abs().flatten()
    assert single.mean() < 1e-5
