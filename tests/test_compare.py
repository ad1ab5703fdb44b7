"""Two sources against each other: figures by an independent reference, and what is said when they do not fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from stinet.compare import compare
from stinet.errors import InputError, OutputError

RANDOM = np.random.default_rng(3)


def folder(path: Path, frames: list[np.ndarray]) -> Path:
    path.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{index}.png")
    return path


def noise(height: int = 20, width: int = 30) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def luma(frame: np.ndarray) -> np.ndarray:
    return 16 + frame.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def test_figures_are_means_over_frames_as_scikit_image_gives_them(tmp_path: Path) -> None:
    a, b = [noise() for _ in range(3)], [noise() for _ in range(3)]
    expected = [peak_signal_noise_ratio(luma(x), luma(y), data_range=255) for x, y in zip(a, b, strict=True)]
    found = compare(folder(tmp_path / "a", a), folder(tmp_path / "b", b))
    assert found.psnr_db == pytest.approx(np.mean(expected), abs=1e-9)
    assert (found.worst_frame, found.worst_psnr_db) == (int(np.argmin(expected)), pytest.approx(min(expected)))


def test_order_of_the_sides_does_not_matter(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", [noise(), noise()]), folder(tmp_path / "b", [noise(), noise()])
    there, back = compare(a, b), compare(b, a)
    assert (there.psnr_db, there.ssim) == pytest.approx((back.psnr_db, back.ssim))


def test_identical_frames_count_as_100_db_and_are_counted(tmp_path: Path) -> None:
    same, a, b = noise(), noise(), noise()
    found = compare(folder(tmp_path / "a", [same, a]), folder(tmp_path / "b", [same, b]))
    assert found.identical == 1
    assert found.psnr_db == pytest.approx((100 + found.worst_psnr_db) / 2)
    assert "1 identical, as 100 dB" in found.line()
    assert "worst is frame 1" in found.line()


def test_single_images_are_compared(tmp_path: Path) -> None:
    image = noise()
    for name in ("a.png", "b.png"):
        Image.fromarray(image).save(tmp_path / name)
    assert (
        compare(tmp_path / "a.png", tmp_path / "b.png")
        .line()
        .startswith("PSNR-Y 100.00 dB, SSIM 1.0000, mean of 1 frame")
    )


@pytest.mark.parametrize(("count_a", "count_b", "longer"), [(2, 3, "b"), (3, 2, "a"), (2, 2, None)])
def test_frames_without_a_partner_are_not_measured_and_said(
    tmp_path: Path, count_a: int, count_b: int, longer: str | None
) -> None:
    a = folder(tmp_path / "a", [noise() for _ in range(count_a)])
    b = folder(tmp_path / "b", [noise() for _ in range(count_b)])
    found = compare(a, b)
    assert found.frames == 2
    assert found.longer == (tmp_path / longer if longer else None)
    assert ("more frames" in found.line()) == (longer is not None)


def test_different_sizes_are_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"30x20.*15x10"):
        compare(folder(tmp_path / "a", [noise()]), folder(tmp_path / "b", [noise(10, 15)]))


def test_the_picture_shows_the_pair_that_differs_most(tmp_path: Path) -> None:
    red, blue = (np.full((40, 60, 3), colour, dtype=np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    grey, darker = (np.full((40, 60, 3), level, dtype=np.uint8) for level in (128, 120))
    compare(folder(tmp_path / "a", [grey, red]), folder(tmp_path / "b", [darker, blue]), tmp_path / "new" / "pair.png")
    drawn = np.asarray(Image.open(tmp_path / "new" / "pair.png").convert("RGB")).astype(int)
    middle = drawn.shape[1] // 2
    assert ((drawn - (200, 0, 0)) ** 2).sum(axis=2)[:, :middle].min() < 30
    assert ((drawn - (0, 0, 200)) ** 2).sum(axis=2)[:, middle:].min() < 30


def test_a_picture_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", [noise()])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        compare(a, a, tmp_path / "file" / "pair.png")
