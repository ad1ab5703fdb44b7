"""Whatever moves a picture must turn its flows too: checked by warping a texture that really moves."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from stinet.data.symmetry import Crop, Symmetry, turned
from stinet.ops.warp import warp

SHIFTS = ((2, -1), (-1, -3), (3, 2))
"""dx, dy in LR pixels from one source frame to the next."""

MARGIN = 8
SIXTEEN = [Symmetry.of(number) for number in range(16)]


def moving_crop() -> Crop:
    """Seven frames of a texture that moves by SHIFTS between source frames (every other one), with its true flows."""
    source = [torch.randint(0, 256, (3, 40, 44), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))]
    for dx, dy in SHIFTS:
        source.append(source[-1].roll((dy, dx), dims=(1, 2)))
    low = torch.stack([source[(index + 1) // 2] for index in range(7)])
    flow = torch.tensor(SHIFTS, dtype=torch.float16)[:, :, None, None].expand(3, 2, 40, 44).contiguous()
    high = low.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    return Crop(high, low, flow, -flow)


def follows(crop: Crop) -> bool:
    """Whether every source frame is its neighbour warped by the flow to it, forward and backward."""
    source = list(crop.low[::2].float())
    ahead = [reads(here, there, flow) for (here, there), flow in zip(pairwise(source), crop.forward, strict=True)]
    back = [reads(here, there, flow) for (there, here), flow in zip(pairwise(source), crop.backward, strict=True)]
    return all(ahead + back)


def reads(here: Tensor, there: Tensor, flow: Tensor) -> bool:
    seen = warp(there[None], flow[None].float())[0]
    inside = (slice(None), slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    return torch.allclose(seen[inside], here[inside], atol=1e-2)


def test_the_made_up_crop_follows_its_flows() -> None:
    assert follows(moving_crop())


@pytest.mark.parametrize("symmetry", SIXTEEN, ids=str)
def test_a_turned_crop_still_follows_its_flows(symmetry: Symmetry) -> None:
    assert follows(turned(moving_crop(), symmetry))


@pytest.mark.parametrize("symmetry", SIXTEEN[1:], ids=str)
def test_flows_that_stay_behind_are_noticed(symmetry: Symmetry) -> None:
    crop = moving_crop()
    frames = turned(crop, symmetry)
    if frames.low.shape == crop.low.shape:
        assert not follows(Crop(frames.high, frames.low, crop.forward, crop.backward))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flow_with_one_wrong_sign_is_noticed(axis: int) -> None:
    crop = turned(moving_crop(), SIXTEEN[1])
    crop.forward[:, axis] *= -1
    assert not follows(crop)


@pytest.mark.parametrize("number", [0, 1, 2, 4, 8])
def test_a_change_made_twice_is_none(number: int) -> None:
    crop = moving_crop()
    twice = turned(turned(crop, Symmetry.of(number)), Symmetry.of(number))
    assert all(torch.equal(one, other) for one, other in zip(twice, crop, strict=True))


@pytest.mark.parametrize("symmetry", SIXTEEN, ids=str)
def test_high_and_low_frames_stay_one_picture(symmetry: Symmetry) -> None:
    crop = turned(moving_crop(), symmetry)
    assert torch.equal(crop.high[..., ::4, ::4], crop.low)


def test_the_sixteen_are_different_and_the_papers_eight_never_transpose() -> None:
    lows = [turned(moving_crop(), symmetry).low for symmetry in SIXTEEN]
    assert len({low.numpy().tobytes() for low in lows}) == 16
    assert all(low.shape[-2:] == (40, 44) for low in lows[:8])
    assert all(low.shape[-2:] == (44, 40) for low in lows[8:])


def test_a_single_frame_is_turned_without_flows() -> None:
    crop = moving_crop()
    single = Crop(crop.high[:1], crop.low[:1], crop.forward[:0], crop.backward[:0])
    for symmetry in SIXTEEN:
        assert turned(single, symmetry).forward.shape[0] == 0
