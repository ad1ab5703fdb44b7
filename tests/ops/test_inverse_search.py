"""Flow by dense inverse search: our own arithmetic against OpenCV's, and both against motions that are known."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stinet.bench.film import moving
from stinet.ops.farneback import Expansion, flow_between
from stinet.ops.inverse_search import LEAST_PX, inverse_search

Search = Callable[[Tensor, Tensor], Tensor]

PAIRS = ["film", "far", "zoom", "noise", "signs", "flat"]
SMALL = [(48, 64), (33, 37), (9, 13), (12, 8)]
LARGE = [(144, 180, "film"), (64, 112, "far"), (61, 97, "zoom"), (45, 90, "signs"), (9, 120, "noise")]


def frames(pair: str, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Two gray frames of whole numbers in 0..255."""
    rng = np.random.default_rng(5)
    if pair == "flat":
        return torch.full((1, 1, height, width), 90.0), torch.full((1, 1, height, width), 140.0)
    if pair == "noise":
        first, second = rng.integers(0, 256, (2, height, width))
    elif pair == "signs":  # black and white
        first = 255 * np.kron(rng.integers(0, 2, (height // 6 + 1, width // 6 + 1)), np.ones((6, 6)))[:height, :width]
        second = np.roll(first, (2, 1), (0, 1))
    elif pair == "zoom":
        first, second = zoomed(rng.standard_normal((40, 3)), height, width)
    else:
        film = list(itertools.islice(moving(width, height), 7))
        first, second = (frame.rgb.mean(-1).round() for frame in (film[0], film[1 if pair == "film" else 6]))
    return gray(first), gray(second)


def zoomed(waves: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A sum of plane waves, and the same turned a little, enlarged by 3 % and moved."""
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")

    def view(across: np.ndarray, down: np.ndarray) -> np.ndarray:
        total = sum(np.cos(0.4 * fx * across + 0.4 * fy * down + 6 * phase) for fx, fy, phase in waves)
        return np.clip(128 + 18 * total, 0, 255).round()

    return view(x, y), view(0.97 * x + 0.02 * y + 2.3, 0.97 * y - 0.02 * x - 1.1)


def gray(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32))[None, None]


def by_pytorch(first: Tensor, second: Tensor) -> Tensor:
    """Our own arithmetic, as where OpenCV is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stinet.ops.inverse_search.has_opencv", lambda: False)
        return inverse_search(first, second)


def by_opencv(first: Tensor, second: Tensor) -> Tensor:
    """OpenCV with an object that has done nothing before."""
    cv2 = pytest.importorskip("cv2")
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setVariationalRefinementIterations(2)
    flow = search.calc(first[0, 0].byte().numpy(), second[0, 0].byte().numpy(), None)
    return torch.from_numpy(flow).permute(2, 0, 1)[None]


def has_the_build_that_is_followed() -> bool:
    """Whether this OpenCV rounds as the one whose roundings were followed."""
    cv2 = pytest.importorskip("cv2")
    return cv2.__version__.startswith("5.0.") and "*AVX2" in cv2.getCPUFeaturesLine().split() and cv2.ipp.useIPP()


def assert_equals(flow: Tensor, expected: Tensor) -> None:
    """The same bits, or with another build of OpenCV the same but for a patch here and there."""
    if has_the_build_that_is_followed():
        assert torch.equal(flow, expected)
    difference = (flow - expected).norm(dim=1).flatten()
    assert difference.mean() < 0.01
    assert difference.quantile(0.99) < 0.1


@pytest.mark.parametrize(("height", "width", "pair"), [*((*size, pair) for size in SMALL for pair in PAIRS), *LARGE])
def test_it_equals_opencv_at_every_size(height: int, width: int, pair: str) -> None:
    first, second = frames(pair, height, width)
    expected = by_opencv(first, second)
    assert torch.equal(inverse_search(first, second), expected)
    assert_equals(by_pytorch(first, second), expected)
    assert pair == "flat" or expected.norm(dim=1).mean() > 0.2


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
@pytest.mark.parametrize(("pair", "dx", "dy"), [("film", -2, -1), ("far", -12, -6)])
def test_flow_points_to_where_the_texture_went(search: Search, pair: str, dx: float, dy: float) -> None:
    flow = search(*frames(pair, 64, 96))[..., 16:-8, 24:-8]
    assert (flow[:, 0] - dx).abs().mean() < 0.05
    assert (flow[:, 1] - dy).abs().mean() < 0.05


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
@pytest.mark.parametrize("pair", ["film", "noise", "flat"])
def test_a_frame_and_itself_have_no_flow(search: Search, pair: str) -> None:
    first, _ = frames(pair, 48, 64)
    assert search(first, first).abs().max() < 1e-3


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
def test_a_batch_equals_its_pairs_one_by_one(search: Search) -> None:
    firsts, seconds = (torch.cat(side) for side in zip(*(frames(pair, 30, 36) for pair in PAIRS), strict=True))
    apart = [search(firsts[i : i + 1], seconds[i : i + 1]) for i in range(len(PAIRS))]
    assert torch.equal(search(firsts, seconds), torch.cat(apart))


def test_several_threads_find_the_flows_of_one_in_any_order() -> None:
    pairs = [frames(pair, height, 96) for pair in PAIRS for height in (64, 33)] * 8
    one_by_one = [inverse_search(*pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: inverse_search(*pair), pairs))
    assert all(torch.equal(a, b) for a, b in zip(together, one_by_one, strict=True))
    assert all(torch.equal(a, by_opencv(*pair)) for a, pair in zip(together, pairs[: 2 * len(PAIRS)], strict=False))


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
def test_gray_is_rounded_half_up_to_8_bits(search: Search) -> None:
    first, second = frames("film", 24, 32)
    expected = search(first, second)
    assert torch.equal(search(first - 0.5, second + 0.49), expected)
    white = torch.full_like(first, 255.0)
    assert torch.equal(search(white + 0.5, first), search(white, first))


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
def test_neither_precision_nor_autocast_changes_the_flow(search: Search) -> None:
    first, second = frames("zoom", 24, 32)
    expected = search(first, second)
    for dtype in (torch.float64, torch.bfloat16):
        flow = search(first.to(dtype), second.to(dtype))
        assert flow.dtype == torch.float32
        assert torch.equal(flow, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(search(first, second), expected)


@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
@pytest.mark.parametrize("width", [32, 5])
def test_no_gradient_passes(search: Search, width: int) -> None:
    first, second = frames("film", 24, width)
    assert not search(first.requires_grad_(), second).requires_grad
    with torch.inference_mode():
        assert torch.equal(search(first, second), search(first.detach(), second))


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), pair=st.sampled_from(PAIRS))
def test_any_size_gives_a_finite_flow_on_both_paths(height: int, width: int, pair: str) -> None:
    first, second = frames(pair, height, width)
    for flow in (inverse_search(first, second), by_pytorch(first, second)):
        assert flow.shape == (1, 2, height, width)
        assert flow.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(7, 40), (40, 7), (11, 11), (8, 11), (1, 1)])
def test_a_frame_that_opencv_refuses_has_the_flow_of_farneback(height: int, width: int) -> None:
    cv2 = pytest.importorskip("cv2")
    first, second = frames("film", height, width)
    with pytest.raises(cv2.error):
        by_opencv(first, second)
    expected = flow_between(Expansion(first), Expansion(second))
    assert torch.equal(inverse_search(first, second), expected)
    assert torch.equal(by_pytorch(first, second), expected)
    assert min(height, width) < LEAST_PX[0] or max(height, width) < LEAST_PX[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: flow on a GPU was not compared")
@pytest.mark.parametrize("search", [inverse_search, by_pytorch])
def test_the_gpu_finds_the_flow_that_the_cpu_finds(search: Search) -> None:
    first, second = frames("zoom", 61, 97)
    flow = search(first.cuda(), second.cuda())
    assert flow.is_cuda
    difference = (flow.cpu() - search(first, second)).norm(dim=1).flatten()
    assert difference.mean() < 0.01
    assert difference.quantile(0.99) < 0.1
