"""Pictures of few channels at full size: both roads."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stinet.ops import pictures
from stinet.ops.pictures import blend, enlarge, exp, goes_to_opencv, interleave, interleaved, rounded, warp_picture

SIZE = (24, 30)


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without OpenCV."""
    monkeypatch.setattr(pictures, "has_opencv", lambda *_: False)


def results() -> dict[str, Tensor]:
    picture, other = some(2, 3, *SIZE), some(2, 3, *SIZE, seed=1)
    flow = 6 * some(2, 2, *SIZE, seed=2) - 3
    flow[0, :, :4] *= 100
    weights = (1 + some(2, 2, *SIZE, seed=3)).split(1, dim=1)
    rows = torch.zeros(8, 3, 10, 6)
    interleave(some(6, 8, 10), rows[:, 1])
    return {
        "warped": warp_picture(picture, flow),
        "enlarged": enlarge(flow, 4),
        "blended": blend([picture.clone(), other], weights),
        "exponentials": exp(flow),
        "interleaved": rows,
    }


@pytest.fixture
def torch_results(by_torch: None) -> dict[str, Tensor]:
    return results()


def test_both_roads_give_the_same(torch_results: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert goes_to_opencv(some(1))
    for name, value in results().items():
        torch.testing.assert_close(value, torch_results[name], rtol=1e-5, atol=1e-4, msg=name)


def test_interleaved_maps_are_the_colours_of_a_row_of_pixels() -> None:
    maps, rows = some(6, 8, 10), torch.zeros(8, 3, 10, 6)
    interleave(maps, rows[:, 1])
    assert torch.equal(rows[:, 1], maps.permute(1, 2, 0))
    assert not rows[:, ::2].any()


def test_a_blend_is_a_mean_by_weights_of_any_sum() -> None:
    one, other = some(1, 3, *SIZE), some(1, 3, *SIZE, seed=1)
    weights = [torch.full((1, 1, *SIZE), value) for value in (1000.0, 3000.0)]
    torch.testing.assert_close(blend([one.clone(), other], weights), one / 4 + 3 * other / 4)


def test_gradients_and_other_precisions_stay_with_torch() -> None:
    assert not goes_to_opencv(some(1).requires_grad_())
    assert not goes_to_opencv(some(1).double())
    assert not goes_to_opencv(some(1).bfloat16())
    with torch.no_grad():
        assert goes_to_opencv(some(1).requires_grad_())


def test_blending_has_gradients_in_pictures_and_weights() -> None:
    leaves = [some(1, 3, 4, 5).double().requires_grad_(), some(1, 3, 4, 5, seed=1).double().requires_grad_()]
    weights = [some(1, 1, 4, 5, seed=seed).double().requires_grad_() for seed in (2, 3)]
    assert torch.autograd.gradcheck(lambda a, b, v, w: blend([a, b], [v, w]), (*leaves, *weights))


@pytest.mark.parametrize("channels", [1, 3])
def test_interleaving_changes_the_memory_alone(channels: int) -> None:
    given = some(2, channels, *SIZE)
    made = interleaved(given)
    assert torch.equal(made, given)
    assert made.permute(0, 2, 3, 1).is_contiguous()
    assert interleaved(made) is made


@pytest.mark.parametrize("wild", [float("inf"), 1e30, -1e9])
def test_a_wild_flow_reads_within_the_picture(wild: float) -> None:
    flow = torch.zeros(1, 2, *SIZE)
    flow[:, :, 3:9] = wild
    made = warp_picture(some(1, 3, *SIZE), flow)
    assert made.shape == (1, 3, *SIZE)
    torch.testing.assert_close(made[..., 10:, :], some(1, 3, *SIZE)[..., 10:, :])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_picture_is_rounded_to_the_nearest_levels_by_either_road(
    depth: type, by_torch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = 1.4 * some(3, *SIZE) - 0.2
    given = picture.clone()
    by_torch_made = rounded(picture, np.dtype(depth))
    monkeypatch.undo()
    made = rounded(picture, np.dtype(depth))
    assert made.shape == (*SIZE, 3)
    assert made.dtype == depth
    most = np.iinfo(depth).max
    off = np.abs(made - np.clip(given.permute(1, 2, 0).double().numpy(), 0, 1) * most)
    assert off.max() <= 0.5 + 1e-2
    assert np.array_equal(made, by_torch_made)
    assert torch.equal(picture, given)
