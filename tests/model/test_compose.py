"""In-between frames composed of the network's own and both restored neighbours, warped on the HR grid."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model.small_networks import COMPACT, KINDS, build, clip, some_flows
from stinet.model.compose import Compose
from stinet.model.interpolate import Between, enlarge_flow
from stinet.model.timeline import Timeline
from stinet.ops.pictures import warp_picture

LINE = Timeline.of(3, [(0.25, 0.5), (0.75,)])
MADE, GIVEN = [1, 2, 4], [0, 3, 5]
LEFT, RIGHT = [0, 0, 3], [3, 3, 5]
NETWORK, BEFORE, AFTER = range(3)


def only(share: int, scale: int = 2) -> Compose:
    """Give all weight to one of the three estimates."""
    part = Compose(channels=4, scale=scale, fold=scale)
    with torch.no_grad():
        bias_of(part).view(3, -1)[share] = 100.0
    return part


def bias_of(part: nn.Module | None) -> Tensor:
    assert isinstance(part, Compose)
    assert part.trust.bias is not None
    return part.trust.bias


def inputs(scale: int = 2) -> tuple[Tensor, Tensor, Between]:
    """Frames and features of two clips, u frames each, and flows of a pixel or two."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(12, 3, 8 * scale, 10 * scale, generator=generator)
    features = torch.rand(12, 4, 8, 10, generator=generator)
    to_left, to_right = torch.randn(2, 6, 2, 8, 10, generator=generator)
    return frames, features, Between(to_left, to_right, torch.rand(6, 3, 8, 10, generator=generator))


def composed(part: Compose) -> tuple[Tensor, Tensor, Between]:
    frames, features, between = inputs()
    with torch.no_grad():
        out = part(frames.clone(), features, between, LINE)
    return frames.unflatten(0, (2, 6)), out.unflatten(0, (2, 6)), between


def test_given_frames_stay_as_they_are() -> None:
    frames, out, _ = composed(Compose(channels=4, scale=2, fold=2))
    assert torch.equal(out[:, GIVEN], frames[:, GIVEN])
    assert not torch.isclose(out[:, MADE], frames[:, MADE], atol=1e-2).all(dim=(0, 2, 3, 4)).any()


def test_full_trust_in_the_network_gives_its_frames() -> None:
    frames, out, _ = composed(only(NETWORK))
    torch.testing.assert_close(out, frames, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("share", "places"), [(BEFORE, LEFT), (AFTER, RIGHT)])
def test_full_trust_in_a_neighbour_gives_it_warped_at_full_size(share: int, places: list[int]) -> None:
    frames, out, between = composed(only(share))
    flow = enlarge_flow(between.to_left if share == BEFORE else between.to_right, 2)
    expected = warp_picture(frames[:, places].flatten(0, 1), flow).unflatten(0, (2, 3))
    torch.testing.assert_close(out[:, MADE], expected, rtol=0, atol=1e-5)


def test_a_fresh_one_takes_half_of_the_network_and_half_of_the_neighbours_by_time() -> None:
    frames, out, between = composed(Compose(channels=4, scale=2, fold=2))
    moved = [
        warp_picture(frames[:, places].flatten(0, 1), enlarge_flow(flow, 2)).unflatten(0, (2, 3))
        for places, flow in ((LEFT, between.to_left), (RIGHT, between.to_right))
    ]
    tau = torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1, 1)
    expected = 0.5 * frames[:, MADE] + 0.5 * ((1 - tau) * moved[0] + tau * moved[1])
    torch.testing.assert_close(out[:, MADE], expected, rtol=0, atol=1e-5)


def test_a_clip_without_in_between_frames_is_not_composed() -> None:
    net = build(COMPACT)
    with torch.no_grad():
        given = net(clip(), ((), ()), some_flows()).final
        bias_of(net.compose).mul_(5)
        assert torch.equal(net(clip(), ((), ()), some_flows()).final, given)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_the_weights(kind: str) -> None:
    net = build(replace(KINDS[kind], composed=True, residual_base=False))
    final = net(clip(), (0.5,), some_flows()).final
    final[:, 1].square().mean().backward()
    for name, parameter in net.named_parameters():
        if not name.startswith("compose."):
            continue
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_each_sub_pixel_has_weights_of_its_own() -> None:
    part = Compose(channels=4, scale=2, fold=2)
    with torch.no_grad():
        bias_of(part).view(3, 4)[NETWORK] = torch.tensor([100.0, -100.0, -100.0, -100.0])
    frames, out, _ = composed(part)
    same = torch.isclose(out[:, MADE], frames[:, MADE], rtol=0, atol=1e-6)
    assert same[..., ::2, ::2].all()
    assert same[..., 1::2, 1::2].float().mean() < 0.1
