"""Low resolution as people have it: each part by an independent reference, the draws by their shares."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from data.trees import moving
from stinet.data.clip import low_frame
from stinet.data.degrade import CLEAN, STRENGTHS, Degradation, degrade, drawn, seed_of


def made(frames: Sequence[np.ndarray] | np.ndarray, how: Degradation, scale: int = 4, seed: int = 0) -> np.ndarray:
    return np.stack(list(degrade(frames, how, scale, (seed,))))


def grey(level: int, count: int = 2, side: int = 128) -> np.ndarray:
    return np.full((count, side, side, 3), level, np.uint8)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_default_is_the_papers_low_resolution(scale: int) -> None:
    frames = moving(0, 3, (51, 66))
    expected = torch.stack([low_frame(frame, scale) for frame in frames]).movedim(1, -1)
    np.testing.assert_array_equal(made(frames, Degradation(), scale), expected.numpy())


@pytest.mark.parametrize("sigmas", [(1.5, 1.5), (0.4, 2.0), (0.0, 1.0)])
def test_the_blur_is_scikit_images(sigmas: tuple[float, float]) -> None:
    (frame,) = moving(1, 1)
    expected = gaussian(frame / 255, (*sigmas, 0), mode="nearest", truncate=3) * 255  # pyright: ignore[reportArgumentType]
    assert np.abs(made([frame], Degradation(blur=sigmas), 1)[0] - expected).max() < 1.5


def test_the_blur_is_as_wide_at_any_scale() -> None:
    (frame,) = moving(4, 1, (96, 128))
    (blurred,) = made([frame], Degradation(blur=(1.0, 1.0)), 1)
    expected = low_frame(blurred, 2).permute(1, 2, 0).numpy().astype(int)
    np.testing.assert_allclose(made([frame], Degradation(blur=(0.5, 0.5)), 2)[0], expected, atol=1)


def test_area_is_the_mean_of_what_becomes_one_pixel() -> None:
    (frame,) = moving(2, 1)
    blocks = frame.reshape(12, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(made([frame], Degradation(reduction="area"))[0] - blocks).max() <= 0.501


@pytest.mark.parametrize("how", [
    Degradation(reduction="bilinear"),
    Degradation(reduction="area"),
    Degradation(detour=0.6),
    Degradation(blur=(0.3, 0.5)),
], ids=["bilinear", "area", "detour", "blur"])  # fmt: skip
def test_nothing_is_shifted(how: Degradation) -> None:
    frames = moving(5, 1, (64, 96))
    turned = made(frames[:, ::-1, ::-1], how)[:, ::-1, ::-1]
    np.testing.assert_allclose(made(frames, how).astype(int), turned, atol=1)


@pytest.mark.parametrize(
    "how", [Degradation(reduction="bilinear"), Degradation(detour=0.5)], ids=["bilinear", "detour"]
)
def test_detail_is_lost_on_the_way(how: Degradation) -> None:
    checked = np.indices((64, 64)).sum(0) // 8 % 2 * 255
    frames = np.repeat(checked[None, :, :, None], 3, -1).astype(np.uint8)
    assert made(frames, how).std() < made(frames, Degradation()).std()


def test_noise_is_as_strong_as_it_says_and_new_in_every_frame() -> None:
    noise = made(grey(120), Degradation(noise=6 / 255)).astype(float) - 120
    assert noise.std() == pytest.approx(6, rel=0.05)
    assert abs(noise.mean()) < 0.5
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.1


def test_shot_noise_grows_with_the_root_of_the_level() -> None:
    dark, bright = (made(grey(level), Degradation(noise=4 / 255, shot=True)).std() for level in (50, 200))
    assert bright / dark == pytest.approx(2, rel=0.05)


def test_grey_noise_is_the_same_in_all_colours() -> None:
    noisy = made(grey(120), Degradation(noise=6 / 255, grey=True))
    assert noisy.std() > 5
    assert (noisy == noisy[..., :1]).all()


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("size", [(8, 8), (37, 53)])
def test_every_strength_takes_tiny_and_odd_frames_and_is_decided_by_its_seed(name: str, size: tuple[int, int]) -> None:
    frames = moving(6, 4, size)
    one, again, other = (made(frames, STRENGTHS[name], 4, seed) for seed in (1, 1, 2))
    assert one.shape == (4, size[0] // 4, size[1] // 4, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() == bool(STRENGTHS[name].noise)


def test_stronger_ones_lose_more() -> None:
    frames = moving(7, 9, (128, 192))
    clean = made(frames, Degradation()).astype(int)
    lost = [np.abs(made(frames, how) - clean).mean() for how in STRENGTHS.values()]
    assert list(STRENGTHS) == ["light", "moderate", "strong"]
    assert 0.2 < lost[0] < lost[1] < lost[2]


def test_draws_are_decided_by_their_seed() -> None:
    def draws(seed: int) -> list[Degradation]:
        random = np.random.default_rng(seed)
        return [drawn(random) for _ in range(9)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_draws_are_mostly_mild_and_some_are_clean() -> None:
    random = np.random.default_rng(0)
    draws = [drawn(random) for _ in range(3000)]
    clean = sum(how == Degradation() for how in draws) / len(draws)
    assert clean == pytest.approx(CLEAN, abs=0.025)
    noise = np.array([how.noise * 255 for how in draws])
    assert np.quantile(noise, 0.75) < 4
    assert 9 < noise.max() <= 10
    assert max(max(how.blur) for how in draws) <= 0.55
    encoders = Counter(coding.encoder for how in draws for coding in how.codings)
    assert encoders.most_common()[0][0] == "libx264"
    assert min(encoders.values()) > 100
    assert len(encoders) == 6
    assert {len(how.codings) for how in draws} == {0, 1, 2}


def test_what_is_drawn_can_be_made() -> None:
    random = np.random.default_rng(3)
    frames = moving(8, 3, (32, 48))
    for how in (drawn(random) for _ in range(40)):
        assert made(frames, how).shape == (3, 8, 12, 3)


def test_runs_have_seeds_of_their_own() -> None:
    seeds = {seed_of(name, first) for name in ("a.mp4", "b.mp4") for first in (0, 15)}
    assert len(seeds) == 4
    assert seed_of("a.mp4", 15) == seed_of("a.mp4", 15)
