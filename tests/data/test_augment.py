"""Whatever moves a picture must turn its flows too: checked on a texture that really moves."""

import numpy as np
import pytest

from stinet.data.augment import Clip, augmented, backward_in_time, mirrored, transposed, upside_down

SHIFT = (2, -1)  # dx, dy in LR pixels from one source frame to the next
MARGIN = 8


def moving_clip() -> Clip:
    """Seven frames of a texture that moves by SHIFT between source frames (every other one), with its true flows."""
    random = np.random.default_rng(3)
    texture = random.integers(0, 256, (40, 44, 3), dtype=np.uint8)
    source = [np.roll(texture, (SHIFT[1] * index, SHIFT[0] * index), axis=(0, 1)) for index in range(4)]
    low = np.stack([source[min((index + 1) // 2, 3)] for index in range(7)])
    flow = np.broadcast_to(np.array(SHIFT, np.float16)[None, :, None, None], (3, 2, 40, 44)).copy()
    return Clip(high=low.repeat(4, axis=1).repeat(4, axis=2), low=low, forward=flow, backward=-flow)


def follows(clip: Clip) -> bool:
    """Whether frame i + 1, read where frame i's forward flow points, is frame i, and the other way round."""
    source = clip.low[::2]
    pairs = [(source[i], source[i + 1], clip.forward[i]) for i in range(len(source) - 1)]
    pairs += [(source[i + 1], source[i], clip.backward[i]) for i in range(len(source) - 1)]
    return all(reads(here, there, flow) for here, there, flow in pairs)


def reads(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> bool:
    rows, columns = np.mgrid[MARGIN : here.shape[0] - MARGIN, MARGIN : here.shape[1] - MARGIN]
    dx, dy = (flow[axis, rows, columns].astype(int) for axis in (0, 1))
    return bool((there[rows + dy, columns + dx] == here[rows, columns]).all())


def test_the_made_up_clip_follows_its_flows() -> None:
    assert follows(moving_clip())


@pytest.mark.parametrize("change", [mirrored, upside_down, transposed, backward_in_time])
def test_a_changed_clip_still_follows_its_flows(change) -> None:
    assert follows(change(moving_clip()))


@pytest.mark.parametrize("seed", range(24))
def test_any_combination_still_follows_its_flows(seed: int) -> None:
    assert follows(augmented(moving_clip(), np.random.default_rng(seed)))


def test_a_flow_with_the_wrong_sign_is_noticed() -> None:
    clip = moving_clip()
    flipped = mirrored(clip)
    wrong = Clip(high=flipped.high, low=flipped.low, forward=clip.forward, backward=clip.backward)
    assert not follows(wrong)


@pytest.mark.parametrize("change", [mirrored, upside_down, transposed, backward_in_time])
def test_a_change_made_twice_is_none(change) -> None:
    clip = moving_clip()
    twice = change(change(clip))
    for name in ("high", "low", "forward", "backward"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(clip, name))


@pytest.mark.parametrize("seed", range(8))
def test_high_and_low_frames_stay_one_picture(seed: int) -> None:
    clip = augmented(moving_clip(), np.random.default_rng(seed))
    np.testing.assert_array_equal(clip.high[:, ::4, ::4], clip.low)


def test_all_sixteen_symmetries_are_drawn() -> None:
    random = np.random.default_rng(0)
    seen = {augmented(moving_clip(), random).low.tobytes() for _ in range(200)}
    assert len(seen) == 16
