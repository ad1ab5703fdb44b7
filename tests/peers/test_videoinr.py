"""VideoINR: decoded in strips, at any time, from the two frames around it."""

import pytest
import torch

from stinet.peers import videoinr
from stinet.peers.videoinr import VideoInr, VideoInrConfig


@pytest.fixture
def net() -> VideoInr:
    torch.manual_seed(0)
    sizes = {"channels": 8, "groups": 2, "front_blocks": 1, "back_blocks": 1, "hidden": 8, "wide": 16}
    return VideoInr(VideoInrConfig(**sizes)).eval()


@torch.no_grad()
def test_strips_change_nothing(net: VideoInr, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = torch.rand(1, 2, 3, 9, 11)
    whole = net(frames, (0.3,)).final
    monkeypatch.setattr(videoinr, "STRIP_ROWS", 2)
    torch.testing.assert_close(net(frames, (0.3,)).final, whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_frame_depends_on_its_interval_and_its_time(net: VideoInr) -> None:
    frames = torch.rand(1, 4, 3, 8, 8)
    made = net(frames, (0.25, 0.5)).final[0]
    changed = frames.clone()
    changed[:, 3] = 0
    again = net(changed, (0.25, 0.5)).final[0]
    moved = (made - again).abs().amax(dim=(1, 2, 3))
    # given frames 0 and 1 and what lies before frame 2 do not see frame 3
    torch.testing.assert_close(moved[:6], torch.zeros(6), rtol=0, atol=1e-4)
    assert bool((moved[6:] > 1e-3).all())
    assert (made[1] - made[2]).abs().max() > 1e-4


@torch.no_grad()
def test_the_last_given_frame_is_time_one_of_the_last_interval(net: VideoInr) -> None:
    frames = torch.rand(1, 2, 3, 8, 8)
    nearly = net(frames, (0.999999,)).final[0]
    torch.testing.assert_close(nearly[1], nearly[2], rtol=1e-3, atol=1e-4)


def test_a_flow_is_in_pixels_of_the_large_frame() -> None:
    """Four to the right show what lay one source pixel to the right; the authors' two grids make it 48 / 47."""
    ramp = torch.arange(12.0).expand(8, 12)[None, None]
    grid = videoinr._corners(torch.empty(1, 1, 32, 48))
    moved = grid + torch.tensor([4.0, 0.0]) / videoinr._half_spans(torch.empty(1, 1, 32, 48))[:2]
    steps = videoinr._sampled(ramp, moved) - videoinr._sampled(ramp, grid)
    torch.testing.assert_close(steps[0, 8:24, 8:32, 0], torch.full((16, 24), 48 / 47), rtol=1e-3, atol=1e-3)
