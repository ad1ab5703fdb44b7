"""A corpus of two small shards, made here, is cut into runs, cached, and sampled."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from stinet.data import corpus as subject
from stinet.data.corpus import RUN, open_corpus, sample_batch
from stinet.errors import InputError
from stinet.ops.resample import downsample, quantize

SIZE = (48, 64)


def write_video(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25, options={"level": "3"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def moving(seed: int, count: int) -> np.ndarray:
    """Smooth noise that slides one pixel a frame."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random((1, 3, 12, 40), dtype=np.float32))
    wide = torch.nn.functional.interpolate(coarse, (SIZE[0], SIZE[1] + count), mode="bicubic").clamp(0, 1)
    picture = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
    return np.stack([picture[:, index : index + SIZE[1]] for index in range(count)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "corpus"
    source.mkdir()
    for name, seed, runs in (("shard_000", 0, 2), ("shard_val", 9, 2)):
        write_video(source / f"{name}.mkv", np.concatenate([moving(seed + k, RUN) for k in range(runs)]))
        (source / f"{name}.mkv").rename(source / f"{name}.mp4")
    (source / "validation.txt").write_text(f"shard_val.mp4\t{RUN}\t{RUN}\n")
    return source


def test_shards_become_runs_and_measured_ones_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(folder, tmp_path / "cache")
    assert corpus.training.high.shape == (2, RUN, *SIZE, 3)
    assert corpus.validation.high.shape == (1, RUN, *SIZE, 3)
    np.testing.assert_array_equal(corpus.training.high[1], moving(1, RUN))
    np.testing.assert_array_equal(corpus.validation.high[0], moving(10, RUN))


def test_low_frames_are_the_one_definition_of_low(folder: Path, tmp_path: Path) -> None:
    runs = open_corpus(folder, tmp_path / "cache").training
    sharp = torch.tensor(runs.high[0]).permute(0, 3, 1, 2).float() / 255
    expected = (quantize(downsample(sharp, 4)) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(runs.low[0], expected)


def test_flows_point_where_the_picture_moved(folder: Path, tmp_path: Path) -> None:
    flows = open_corpus(folder, tmp_path / "cache").training.flows
    assert flows.shape == (2, RUN - 2, 2, 2, SIZE[0] // 4, SIZE[1] // 4)
    inside = flows[0, :, :, :, 3:-3, 4:-4].astype(np.float32).mean(axis=(0, 3, 4))
    np.testing.assert_allclose(inside, [[-0.5, 0], [0.5, 0]], atol=0.12)  # two frames, two sharp pixels, half an LR one


def test_the_second_time_nothing_is_decoded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_corpus(folder, tmp_path / "cache")
    monkeypatch.setattr(subject, "_fill", lambda *_: pytest.fail("decoded again"))
    again = open_corpus(folder, tmp_path / "cache")
    np.testing.assert_array_equal(first.training.low, again.training.low)


def test_a_cache_that_was_left_half_done_is_made_again(folder: Path, tmp_path: Path) -> None:
    open_corpus(folder, tmp_path / "cache")
    marker = next((tmp_path / "cache").glob("*/done.json"))
    marker.unlink()
    (marker.parent / "training-high.npy").write_bytes(b"half")
    assert open_corpus(folder, tmp_path / "cache").training.high.shape[0] == 2


def test_one_ordinary_video_is_cut_at_its_cuts(tmp_path: Path) -> None:
    bright = np.full((RUN + 5, *SIZE, 3), 240, np.uint8)
    dark = np.full((2 * RUN, *SIZE, 3), 10, np.uint8)
    write_video(tmp_path / "clip.mkv", np.concatenate([bright, dark]))
    corpus = open_corpus(tmp_path / "clip.mkv", tmp_path / "cache")
    assert corpus.training.high.shape[0] == 2
    assert corpus.training.high[0].min() == 240
    assert corpus.training.high[1].max() == 10
    assert corpus.validation.high.shape[0] == 1


def test_a_crop_is_the_same_place_in_all_arrays(folder: Path, tmp_path: Path) -> None:
    runs = open_corpus(folder, tmp_path / "cache").training
    clip = runs.clip(1, 3, 3, (2, 4, 8, 8))
    np.testing.assert_array_equal(clip.high, runs.high[1, 3:8, 8:40, 16:48])
    np.testing.assert_array_equal(clip.low, runs.low[1, 3:8, 2:10, 4:12])
    np.testing.assert_array_equal(clip.forward, runs.flows[1, [3, 5], 0, :, 2:10, 4:12])
    np.testing.assert_array_equal(clip.backward, runs.flows[1, [3, 5], 1, :, 2:10, 4:12])


def test_a_batch_depends_on_its_random_numbers_alone(folder: Path, tmp_path: Path) -> None:
    runs = open_corpus(folder, tmp_path / "cache").training
    draws = [sample_batch(runs, batch=3, frames=4, crop_px=8, random=np.random.default_rng(5)) for _ in range(2)]
    for one, other in zip(*draws, strict=True):
        np.testing.assert_array_equal(one.high, other.high)


def test_a_crop_that_does_not_fit_is_refused_with_the_sizes(folder: Path, tmp_path: Path) -> None:
    runs = open_corpus(folder, tmp_path / "cache").training
    with pytest.raises(InputError, match="32 x 32 LR pixels does not fit into runs of 15 frames of 16 x 12"):
        sample_batch(runs, batch=1, frames=4, crop_px=32, random=np.random.default_rng(0))


def test_a_missing_folder_and_an_empty_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        open_corpus(tmp_path / "nowhere", tmp_path / "cache")
    with pytest.raises(InputError, match=r"holds no shard_\*\.mp4"):
        open_corpus(tmp_path, tmp_path / "cache")


def test_of_several_places_the_most_detailed_is_taken(folder: Path, tmp_path: Path) -> None:
    runs = open_corpus(folder, tmp_path / "cache").training

    def roughness(candidates: int) -> float:
        random = np.random.default_rng(1)
        clips = sample_batch(runs, batch=40, frames=4, crop_px=4, random=random, candidates=candidates)
        greys = [clip.low[0].astype(float).mean(axis=2) for clip in clips]
        return float(np.mean([sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (0, 1)) for grey in greys]))

    assert roughness(6) > 1.2 * roughness(1)
