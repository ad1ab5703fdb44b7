"""Pipelines without a network: what must hold of them as clip functions, and as interpolators."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stinet.config import ClipFunction, Tile
from stinet.ops.resample import upsample
from stinet.peers.pairs import PEERS

BY_FLOW = ["flow+bicubic", "bicubic+flow", "dis+bicubic", "bicubic+dis"]
BUILT_IN = ["blend+bicubic", "bicubic+blend", *BY_FLOW]
"""What needs no package that carries weights; OpenCV is one of the tests' own."""


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 5 + 2, width // 5 + 2, generator=generator)
    return upsample(coarse, 5)[0, :, :height, :width].clamp(0, 1)


def moving(count: int, step_px: int, height: int = 40, width: int = 56) -> Tensor:
    """A texture that moves `step_px` to the right from frame to frame."""
    wide = texture(height, width + count * step_px)
    return torch.stack([wide[:, :, (count - i) * step_px : (count - i) * step_px + width] for i in range(count)])


def upscale(peer: ClipFunction, frames: Tensor, times: Sequence[Sequence[float]], tile: Tile | None = None) -> Tensor:
    states = [peer.prepare(frame) for frame in frames]
    return peer.run(states, times, peer.context(states, times), tile)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("scale", [2, 4])
def test_a_peer_is_a_clip_function_that_gives_every_frame_due(name: str, scale: int) -> None:
    peer = PEERS[name](scale)
    assert isinstance(peer, ClipFunction)
    output = upscale(peer, moving(3, 1), ((0.25, 0.5, 0.75), ()))
    assert output.shape == (6, 3, 40 * scale, 56 * scale)
    assert output.min() >= 0
    assert output.max() <= 1


@pytest.mark.parametrize("name", BUILT_IN)
def test_given_frames_are_plain_bicubic(name: str) -> None:
    frames = moving(3, 1)
    output = upscale(PEERS[name](4), frames, ((0.5,), (0.3, 0.6)))
    torch.testing.assert_close(output[[0, 2, 5]], upsample(frames, 4).clamp(0, 1))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_single_frame_is_enlarged(name: str) -> None:
    frames = moving(1, 1)
    torch.testing.assert_close(upscale(PEERS[name](2), frames, ()), upsample(frames, 2).clamp(0, 1))


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_clip_at_rest_stays_at_rest_inside(name: str) -> None:
    """At the edge Farneback's flow is not quite zero even between equal frames."""
    frames = texture(72, 80).expand(2, -1, -1, -1)
    output = upscale(PEERS[name](2), frames, ((0.2, 0.7),))[..., 32:-32, 32:-32]
    torch.testing.assert_close(output, output[:1].expand_as(output), rtol=0, atol=1e-3)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(BUILT_IN), st.integers(0, 30), st.integers(0, 40), st.integers(1, 10), st.integers(1, 16))
def test_a_tile_is_the_crop_of_the_whole(name: str, top: int, left: int, height: int, width: int) -> None:
    tile = Tile(top=top, left=left, bottom=top + height, right=left + width)
    peer, frames = PEERS[name](4), moving(2, 1)
    whole = upscale(peer, frames, ((0.5,),))
    crop = whole[..., 4 * top : 4 * tile.bottom, 4 * left : 4 * tile.right]
    torch.testing.assert_close(upscale(peer, frames, ((0.5,),), tile), crop, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_clip_in_reverse_gives_the_output_in_reverse(name: str) -> None:
    frames, peer = moving(3, 1), PEERS[name](4)
    forth = upscale(peer, frames, ((0.25,), (0.5, 0.6)))
    back = upscale(peer, frames.flip(0), ((0.4, 0.5), (0.75,)))
    torch.testing.assert_close(back.flip(0), forth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", BY_FLOW)
@pytest.mark.parametrize("tau", [0.25, 0.5, 0.75])
def test_flow_puts_a_moving_texture_where_it_is_at_that_time(name: str, tau: float) -> None:
    step_px = 4
    frames = moving(2, step_px)
    between = upscale(PEERS[name](2), frames, ((tau,),))[1]
    fine = moving(2 * step_px, 1)[: step_px + 1]
    torch.testing.assert_close(fine[[0, step_px]], frames)
    truth = upsample(fine[None, round(tau * step_px)], 2)[0]
    inside = (slice(None), slice(16, -16), slice(24, -24))
    blend = upscale(PEERS["blend+bicubic"](2), frames, ((tau,),))[1]
    assert (between - truth)[inside].abs().mean() < 0.25 * (blend - truth)[inside].abs().mean()


def test_blend_is_the_time_weighted_mean_of_the_neighbours() -> None:
    frames = torch.stack([torch.full((3, 12, 12), 0.2), torch.full((3, 12, 12), 0.6)])
    output = upscale(PEERS["blend+bicubic"](4), frames, ((0.25,),))
    torch.testing.assert_close(output[1], torch.full((3, 48, 48), 0.3))
