"""What is drawn from runs depends on seed, step and crop alone, and is the right place of every array."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from stinet.config import TrainConfig
from stinet.data.runs import Batch, Runs
from stinet.data.shelf import ArrayFrames, Held, Mapped, Shelf
from stinet.errors import InputError

CONFIG = TrainConfig(crop_px=8, frames=3, batch=4)


def shelf_of(folder: Path, lengths: list[int], size: tuple[int, int], seed: int = 0) -> Shelf:
    """Random frames in files, less contrast at the left; a flow holds the number of its first frame."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    height, width = size
    starts = np.cumsum([0, *lengths])
    flows = np.cumsum([0, *(max(length - 2, 0) for length in lengths)])
    frames = [start + k for start, length in zip(starts, lengths, strict=False) for k in range(length - 2)]
    pairs = np.broadcast_to(np.array(frames, np.float16)[:, None, None, None, None], (len(frames), 2, 2, *size)).copy()
    pairs[:, 1] *= -1
    low = random.integers(0, 256, (starts[-1], height, width, 3), dtype=np.uint8)
    low = (low * np.linspace(0, 1, width)[:, None]).astype(np.uint8)
    parts = {"high": low.repeat(4, axis=1).repeat(4, axis=2), "low": low, "flows": pairs}
    for name, part in parts.items():
        np.save(folder / f"{name}.npy", part)
    high, small, flow = (Mapped(folder / f"{name}.npy") for name in parts)
    table = np.stack([starts[:-1], lengths, flows[:-1]], axis=1).astype(np.int64)
    return Shelf(ArrayFrames(high), small, flow, table, "farneback")


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Two sizes; the last run is too short for five frames."""
    return Runs([shelf_of(tmp_path / "a", [9, 6], (12, 16)), shelf_of(tmp_path / "b", [7, 4], (20, 10), seed=1)])


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_has_the_promised_shapes_and_types(runs: Runs) -> None:
    batch = runs.draw(CONFIG, 0, range(4))
    assert [tuple(part.shape) for part in batch] == [
        (4, 5, 3, 32, 32),
        (4, 5, 3, 8, 8),
        (4, 2, 2, 8, 8),
        (4, 2, 2, 8, 8),
        (4, 2),
    ]
    assert [part.dtype for part in batch] == [torch.uint8, torch.uint8, torch.float16, torch.float16, torch.float32]
    assert batch.times == ((0.5,), (0.5,))


def test_a_crop_depends_on_seed_step_and_number_alone(runs: Runs) -> None:
    whole = runs.draw(CONFIG, 7, range(4))
    halves = [runs.draw(CONFIG, 7, range(2)), runs.draw(CONFIG, 7, range(2, 4))]
    assert same(whole, Batch(*(torch.cat(parts) for parts in zip(*halves, strict=True))))
    assert same(whole, runs.draw(dataclasses.replace(CONFIG, batch=2, steps=3, rate=1.0), 7, range(4)))
    assert not same(whole, runs.draw(CONFIG, 8, range(4)))
    assert not same(whole, runs.draw(dataclasses.replace(CONFIG, seed=1), 7, range(4)))
    assert not same(halves[0], halves[1])


def test_a_copy_for_a_worker_carries_paths_and_draws_the_same(runs: Runs) -> None:
    drawn = runs.draw(CONFIG, 3, range(4))
    parcel = pickle.dumps(runs)
    assert len(parcel) < 10_000 < runs.bytes
    assert same(pickle.loads(parcel).draw(CONFIG, 3, range(4)), drawn)


@pytest.mark.parametrize("candidates", [1, 3])
def test_runs_held_in_memory_draw_the_same(runs: Runs, candidates: int) -> None:
    config = dataclasses.replace(CONFIG, candidates=candidates)
    held = runs.to("cpu")
    assert all(isinstance(shelf.low, Held) for shelf in held.on)
    for step in range(8):
        assert same(held.draw(config, step, range(2)), runs.draw(config, step, range(2)))
    assert same(held.clip(3, 2), runs.clip(3, 2))


def test_bytes_are_those_of_all_arrays(runs: Runs, tmp_path: Path) -> None:
    assert runs.bytes == sum(np.load(path).nbytes for path in tmp_path.rglob("*.npy"))


def test_high_and_low_show_the_same_place_and_flows_belong_to_the_frames(tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path, [9, 6], (12, 16))
    frames = shelf.low.tensor
    for step in range(40):
        batch = Runs([shelf]).draw(dataclasses.replace(CONFIG, symmetries="paper"), step, range(1))
        assert torch.equal(batch.high[..., ::4, ::4], batch.low)
        numbers = batch.forward[0].abs().amax((1, 2, 3)).int().tolist()
        first, last = min(numbers), max(numbers)
        assert last == first + 2
        inside = frames[first : first + 5]
        assert set(batch.low.unique().tolist()) <= set(inside.unique().tolist())
        assert not (first < 9 < first + 5), "a clip crosses from one run into the next"


def test_every_moment_is_drawn_equally_often_whatever_its_size(runs: Runs) -> None:
    config = dataclasses.replace(CONFIG, symmetries="paper")
    places = [runs._place(config, np.random.default_rng((0, k))) for k in range(4000)]
    seen = {place[:3]: 0 for place in places}
    for place in places:
        seen[place[:3]] += 1
    moments = {(0, 0, first) for first in range(5)} | {(0, 1, 0), (0, 1, 1)} | {(1, 0, first) for first in range(3)}
    assert set(seen) == moments
    assert min(seen.values()) > 0.8 * max(seen.values())


def test_of_several_places_the_most_detailed_is_taken(runs: Runs) -> None:
    def roughness(candidates: int) -> float:
        config = dataclasses.replace(CONFIG, candidates=candidates)
        grey = runs.draw(config, 0, range(60)).low.float().mean(2)
        return float(grey.diff(dim=-1).abs().mean() + grey.diff(dim=-2).abs().mean())

    assert roughness(8) > 1.2 * roughness(1)


def test_one_source_frame_is_a_picture_without_flows(runs: Runs) -> None:
    batch = runs.draw(dataclasses.replace(CONFIG, frames=1), 0, range(3))
    assert batch.low.shape == (3, 1, 3, 8, 8)
    assert batch.forward.shape == batch.backward.shape == (3, 0, 2, 8, 8)


def test_a_validation_clip_is_the_beginning_of_its_run_untouched(runs: Runs) -> None:
    clip = runs.clip(1, 3)
    shelf = runs.shelves[0]
    assert torch.equal(clip.low[0], shelf.low.tensor[9:14].movedim(-1, 1))
    assert clip.forward[0, :, 0, 0, 0].tolist() == [9, 11]
    assert clip.backward[0, :, 0, 0, 0].tolist() == [-9, -11]
    assert runs.clip(2, 3).low.shape == (1, 5, 3, 20, 10)
    assert len(runs) == 4
    with pytest.raises(IndexError):
        runs.clip(4)


def test_a_crop_that_fits_nowhere_is_refused_with_the_sizes(runs: Runs) -> None:
    with pytest.raises(InputError, match="of 40 x 40 LR pixels does not fit into runs of 9 frames of 10 x 20"):
        runs.check(dataclasses.replace(CONFIG, crop_px=40))
    with pytest.raises(InputError, match="a clip of 19 frames"):
        runs.draw(dataclasses.replace(CONFIG, frames=10), 0, range(1))


def test_a_larger_crop_is_taken_where_it_fits(runs: Runs) -> None:
    config = dataclasses.replace(CONFIG, crop_px=12)
    assert {runs._place(config, np.random.default_rng((0, k))).shelf for k in range(50)} == {0}


RANDOM = dataclasses.replace(CONFIG, times="random", frames=3)


def ramp_of(folder: Path, lengths: list[int]) -> Shelf:
    """Runs whose frames hold their own number, brighter from left to right; no flow is on the shelf but noughts."""
    shelf = shelf_of(folder, lengths, (12, 16))
    numbers = np.arange(sum(lengths), dtype=np.uint8)[:, None, None, None]
    low = np.broadcast_to(numbers, (sum(lengths), 12, 16, 3)).copy()
    np.save(folder / "low.npy", low)
    np.save(folder / "high.npy", low.repeat(4, axis=1).repeat(4, axis=2))
    return Shelf(
        ArrayFrames(Mapped(folder / "high.npy")), Mapped(folder / "low.npy"), shelf.flows, shelf.table, "farneback"
    )


def test_random_times_are_where_their_frames_stand(tmp_path: Path) -> None:
    runs = Runs([ramp_of(tmp_path, [15, 9])])
    seen: set[tuple[int, float]] = set()
    for step in range(60):
        batch = runs.draw(RANDOM, step, range(3))
        assert torch.equal(batch.high[..., ::4, ::4], batch.low)
        assert torch.equal(batch.tau, batch.tau[:1].expand(3, 2))
        for crop in batch.low[:, :, 0, 0, 0].int().tolist():
            assert crop in (sorted(crop), sorted(crop, reverse=True))
            assert max(crop) < 15 or min(crop) >= 15, "a clip crosses from one run into the next"
            first, gap = crop[0], crop[2] - crop[0]
            assert crop[4] - crop[2] == gap
            assert (crop[1] - first) / gap == pytest.approx(batch.times[0][0])
            assert (crop[3] - crop[2]) / gap == pytest.approx(batch.times[1][0])
            seen.add((abs(gap), round(batch.times[0][0], 3)))
    assert {gap for gap, _ in seen} == {2, 3, 4, 5, 6}
    assert {(2, 0.5), (3, 0.333), (3, 0.667), (4, 0.25)} <= seen


def test_random_times_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    runs = Runs([ramp_of(tmp_path, [15, 9])])
    whole = runs.draw(RANDOM, 7, range(4))
    halves = [runs.draw(RANDOM, 7, range(2)), runs.draw(RANDOM, 7, range(2, 4))]
    assert same(whole, Batch(*(torch.cat(parts) for parts in zip(*halves, strict=True))))
    assert len({runs.draw(RANDOM, step, range(1)).times for step in range(20)}) > 5


def test_random_times_keep_to_the_gaps_that_runs_have_room_for(runs: Runs) -> None:
    gaps = {runs._spacing(RANDOM, np.random.default_rng(k)).gap for k in range(60)}
    assert gaps == {2, 3, 4}  # the longest run has 9 frames
    assert runs.draw(dataclasses.replace(RANDOM, frames=1), 0, range(2)).times == ()


def test_flows_over_other_gaps_are_those_of_the_frames_that_are_given(tmp_path: Path) -> None:
    coarse = torch.rand(1, 3, 6, 20, generator=torch.Generator().manual_seed(1))
    wide = torch.nn.functional.interpolate(coarse, (48, 160), mode="bicubic").clamp(0, 1)[0].movedim(0, -1)
    low = torch.stack([(255 * wide[:, k : k + 64]).byte() for k in range(15)]).numpy()
    shelf_of(tmp_path, [15], (12, 16))
    np.save(tmp_path / "low.npy", low)
    np.save(tmp_path / "high.npy", low.repeat(4, axis=1).repeat(4, axis=2))
    pairs = np.zeros((13, 2, 2, 48, 64), np.float16)
    np.save(tmp_path / "flows.npy", pairs)
    high, small, flow = (Mapped(tmp_path / f"{name}.npy") for name in ("high", "low", "flows"))
    shelf = Shelf(ArrayFrames(high), small, flow, np.array([[0, 15, 0]]), "farneback")
    crop = shelf.crop(0, 1, [0, 1, 4, 7, 8])
    middle = (slice(None), 0, slice(12, -12), slice(16, -16))
    # the picture moves one pixel to the left with every frame
    assert float(crop.forward[middle].float().median()) == pytest.approx(-4, abs=0.2)
    assert float(crop.backward[middle].float().median()) == pytest.approx(4, abs=0.2)
