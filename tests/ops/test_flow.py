"""A network's flow is made by the method that it asks for."""

import torch
from torch import Tensor

from stinet.ops.farneback import expand, farneback
from stinet.ops.flow import flow_between
from stinet.ops.inverse_search import inverse_search


def pair(*, gradients: bool = False) -> list[Tensor]:
    """A soft texture that moves by three pixels."""
    coarse = torch.rand(1, 3, 8, 14, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.interpolate(coarse, (48, 84), mode="bicubic").clamp(0, 1)
    return [wide[..., first : first + 72].clone().requires_grad_(gradients) for first in (0, 3)]


def test_farnebacks_is_farnebacks_and_passes_gradients() -> None:
    first, second = pair()
    assert torch.equal(flow_between(expand(first), expand(second), "farneback"), farneback(first, second))
    first, second = pair(gradients=True)
    flow_between(expand(first), expand(second), "farneback").mean().backward()
    assert first.grad is not None
    assert second.grad is not None


def test_dense_inverse_search_is_of_the_same_brightness_and_passes_none() -> None:
    first, second = pair(gradients=True)
    before, after = expand(first), expand(second)
    flow = flow_between(before, after, "dis")
    assert not flow.requires_grad
    assert torch.equal(flow, inverse_search(before.gray, after.gray))
    assert (flow[..., 8:-8, 12:-12].mean((2, 3)) - torch.tensor([[-3.0, 0.0]])).abs().max() < 0.1
