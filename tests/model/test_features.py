"""S-SR gives L and H of every frame on its own grid, each frame by itself."""

import pytest
import torch
from torch import nn

from stinet.model.features import Compact, Dbpn


def dbpn(*, low: bool = True, high: bool = True, stages: int = 3, scale: int = 4) -> Dbpn:
    torch.manual_seed(0)
    return Dbpn(channels=8, stages=stages, scale=scale, has_low=low, has_high=high)


def compact(*, up: int = 1, low: bool = True, high: bool = True) -> Compact:
    torch.manual_seed(0)
    return Compact(channels=8, low_blocks=2, high_blocks=1, up=up, has_low=low, has_high=high)


@pytest.mark.parametrize(("net", "up"), [(dbpn(), 4), (dbpn(scale=2), 2), (compact(), 1), (compact(up=4), 4)])
def test_l_is_on_the_lr_grid_and_h_on_the_finer_or_folded_one(net: nn.Module, up: int) -> None:
    low, high = net(torch.rand(2, 3, 5, 7))
    assert low.shape == (2, 8, 5, 7)
    assert high.shape == (2, 8, 5 * up, 7 * up)


@pytest.mark.parametrize("net", [dbpn(), compact(), compact(up=2)])
def test_every_frame_is_seen_by_itself(net: nn.Module) -> None:
    frames = torch.rand(3, 3, 5, 6)
    for together, alone in zip(net(frames), net(frames[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_back_projection_goes_up_once_more_than_down(stages: int) -> None:
    net = dbpn(stages=stages)
    assert (len(net.ups), len(net.downs)) == (stages, stages - 1)
    assert net.high.in_channels == 8 * stages
    assert net(torch.rand(1, 3, 3, 4))[1].shape == (1, 8, 12, 16)


def test_a_projection_that_projects_back_exactly_corrects_nothing() -> None:
    """With back(project(x)) = x, the error is zero and so is its projection (its bias is zero at the start)."""
    net = dbpn()
    up = net.ups[0]
    x = torch.zeros(1, 8, 3, 4)
    assert not up([x]).any()
    seen = {}
    up.get_submodule("correct").register_forward_hook(lambda _m, inputs, _o: seen.update(error=inputs[0]))
    up.get_submodule("back").register_forward_hook(lambda _m, _i, output: seen.update(back=output))
    x = torch.rand(1, 8, 3, 4)
    up([x])
    torch.testing.assert_close(seen["error"], seen["back"] - x)


def test_an_absent_branch_is_not_made() -> None:
    frames = torch.rand(1, 3, 4, 4)
    assert dbpn(low=False)(frames)[0] is None
    assert dbpn(high=False)(frames)[1] is None
    assert compact(low=False)(frames)[0] is None
    assert compact(high=False)(frames)[1] is None
    assert not [name for name, _ in compact(high=False).named_parameters() if "high" in name or "lift" in name]
    assert dbpn(low=False).low is None
