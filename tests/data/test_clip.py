"""One place makes sharp frames and low resolution; what headers tell is told without decoding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import moving, write_frames, write_video

from stinet.data.clip import Clip, image_clip, image_size, low_frame, sharp_frame, video_clip
from stinet.errors import InputError
from stinet.ops.resample import downsample, quantize

RANDOM = np.random.default_rng(0)


def shrunk(frame: np.ndarray, factor: int) -> torch.Tensor:
    """The definition, written out."""
    exact = torch.from_numpy(frame).permute(2, 0, 1)[None].double() / 255
    return (quantize(downsample(exact, factor))[0] * 255).round().byte()


def test_sharp_frames_are_the_stored_ones_cropped_to_a_multiple_of_the_scale() -> None:
    frame = RANDOM.integers(0, 256, (35, 42, 3), dtype=np.uint8)
    assert torch.equal(sharp_frame(frame, 4), torch.from_numpy(frame[:32, :40]).permute(2, 0, 1))
    assert torch.equal(low_frame(frame, 4), shrunk(frame, 4))


def test_half_size_truth_and_low_resolution_are_each_one_step_from_the_stored_frame() -> None:
    frame = RANDOM.integers(0, 256, (720 // 8 + 5, 1280 // 8, 3), dtype=np.uint8)
    sharp, low = sharp_frame(frame, 4, reduced=2), low_frame(frame, 4, reduced=2)
    assert torch.equal(sharp, shrunk(frame[:88], 2))
    assert torch.equal(low, shrunk(frame, 8))
    assert sharp.shape[1:] == (44, 80)
    assert low.shape[1:] == (11, 20)
    twice = shrunk(sharp.permute(1, 2, 0).numpy(), 4)
    assert not torch.equal(low, twice), "made in two steps"


def test_a_clip_knows_its_frames_and_size_without_reading_a_pixel(tmp_path: Path) -> None:
    write_frames(tmp_path, moving(0, 3), ["2.png", "10.png", "1.png"])
    files = [tmp_path / name for name in ("1.png", "2.png", "10.png")]
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:40])
    clip = image_clip("walk", files)
    assert (clip.frames, clip.size) == (3, (48, 64))
    with pytest.raises(InputError, match=r"1\.png: cannot be read"):
        list(clip.read())


def test_a_video_and_frames_in_memory_tell_their_size(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mkv", moving(0, 3))
    assert video_clip("a", video).size == (48, 64)
    assert Clip("b", lambda: iter(moving(0, 1))).size == (48, 64)
    with pytest.raises(InputError, match="c: no frames"):
        _ = Clip("c", list).size


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_headers_of_all_kinds_of_images_are_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (31, 17)).save(tmp_path / f"a.{suffix}")
    assert image_size(tmp_path / f"a.{suffix}") == (17, 31)


def test_a_missing_image_and_one_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.png: missing"):
        image_size(tmp_path / "a.png")
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        image_size(tmp_path / "a.png")
