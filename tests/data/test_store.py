"""The cache holds what the definition says, survives being stopped, and is never written again once complete."""

import dataclasses
import errno
import json
import os
import pickle
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
import torch
import trees
from trees import moving, write_frames, write_video

from stinet.config import TrainConfig
from stinet.data import store
from stinet.data.clip import Clip, low_frame, sharp_frame
from stinet.data.collection import Collection
from stinet.data.degrade import REVISION, degrade, drawn, seed_of
from stinet.data.prepare import LONGEST_DEGRADED, Piece, Preparation
from stinet.data.runs import Runs
from stinet.data.shelf import Area, ArrayFrames, PictureFrames, Shelf
from stinet.data.training import TrainingData, open_training_data
from stinet.errors import InputError, OutputError
from stinet.ops.farneback import expand
from stinet.ops.flow import FlowMethod, flow_between

CONFIG = TrainConfig(crop_px=8, batch=2)


def opened(data: Path, cache: Path, **settings) -> TrainingData:
    return open_training_data(dataclasses.replace(CONFIG, data=str(data), cache=str(cache), **settings))


def only(runs: Runs) -> Shelf:
    (shelf,) = runs.shelves
    return shelf


def sharp_of(shelf: Shelf, run: int) -> np.ndarray:
    """All sharp frames of a run, t h w 3."""
    start, count = shelf.table[run][:2]
    return torch.stack(
        [shelf.high.read(int(start) + k, 1, Area(0, 0, *shelf.high.size))[0] for k in range(count)]
    ).numpy()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return trees.corpus(tmp_path / "corpus", runs=3)


def test_shards_become_runs_and_only_listed_ones_are_measured(corpus: Path, cache: Path) -> None:
    data = opened(corpus, cache)
    assert (len(data.training), len(data.validation)) == (3, 1)
    np.testing.assert_array_equal(sharp_of(only(data.training), 1), moving(1, 15))
    np.testing.assert_array_equal(sharp_of(only(data.validation), 0), moving(10, 15))


def test_low_frames_are_the_one_definition_of_low(corpus: Path, cache: Path) -> None:
    shelf = only(opened(corpus, cache).training)
    expected = torch.stack([low_frame(frame, 4) for frame in moving(2, 15)]).movedim(1, -1)
    assert torch.equal(shelf.low_frames[30:45], expected)


@pytest.mark.parametrize("by", ["farneback", "dis"])
def test_flows_are_the_networks_between_a_frame_and_the_next_but_one(corpus: Path, cache: Path, by: FlowMethod) -> None:
    shelf = only(opened(corpus, cache, overrides={"flow_by": by}).training)
    assert shelf.flow_pairs.shape == (6 * 13, 2, 2, 12, 16)
    start, _, flow = (int(number) for number in shelf.table[1])
    low = shelf.low_frames[start : start + 15].movedim(-1, 1).float() / 255
    for first in (0, 5, 12):
        one, other = low[first][None], low[first + 2][None]
        both = expand(one), expand(other)
        expected = torch.cat([flow_between(both[0], both[1], by), flow_between(both[1], both[0], by)]).half()
        assert torch.allclose(shelf.flow_pairs[flow + first], expected, atol=2e-3)
    inside = shelf.flow_pairs[flow : flow + 13, :, :, 3:-3, 4:-4].float().mean((0, 3, 4))
    wanted = torch.tensor([[-0.5, 0], [0.5, 0]])  # two frames, two sharp pixels, half an LR one
    assert torch.allclose(inside, wanted, atol=0.12)


def test_a_crop_is_the_same_place_in_all_arrays(corpus: Path, cache: Path) -> None:
    shelf = only(opened(corpus, cache).training)
    crop = shelf.crop(1, 3, range(5), Area(2, 4, 8, 8))
    np.testing.assert_array_equal(crop.high.movedim(1, -1), moving(1, 15)[3:8, 8:40, 16:48])
    assert torch.equal(crop.low.movedim(1, -1), shelf.low_frames[18:23, 2:10, 4:12])
    assert torch.equal(crop.forward, shelf.flow_pairs[[16, 18], 0, :, 2:10, 4:12])
    assert torch.equal(crop.backward, shelf.flow_pairs[[16, 18], 1, :, 2:10, 4:12])


def test_a_complete_cache_is_never_written_again(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(corpus, cache)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in cache.rglob("*")}
    monkeypatch.setattr(store, "build", lambda *_, **__: pytest.fail("built again"))
    monkeypatch.setattr("stinet.data.training.check_headers", lambda _: pytest.fail("read headers again"))
    again = opened(corpus, cache)
    assert torch.equal(only(first.training).low_frames, only(again.training).low_frames)
    again.training.draw(CONFIG, 0, range(4)).low.zero_()
    only(again.training).low_frames[:] = 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in cache.rglob("*")} == before
    assert only(opened(corpus, cache).training).low_frames.any()


def test_another_scale_another_flow_and_other_files_have_a_cache_of_their_own(corpus: Path, cache: Path) -> None:
    opened(corpus, cache)
    opened(corpus, cache, overrides={"scale": 2})
    opened(corpus, cache, overrides={"flow_by": "farneback"})
    write_video(corpus / "shard_001.mp4", moving(5, 30))
    assert len(opened(corpus, cache).training) == 5
    assert len(list(cache.iterdir())) == 4


def test_flows_that_are_not_in_the_cache_are_made_like_those_that_are(corpus: Path, cache: Path) -> None:
    shelf = only(opened(corpus, cache, overrides={"flow_by": "dis"}).training)
    first, second = (expand(frame.movedim(-1, 0)[None].float() / 255) for frame in shelf.low_frames[[0, 4]])
    expected = flow_between(first, second, "dis")[0].half()
    torch.testing.assert_close(shelf.crop(0, 0, [0, 2, 4]).forward[0], expected)


def test_degraded_runs_have_their_own_cache_and_each_its_own_degradation(corpus: Path, cache: Path) -> None:
    plain = opened(corpus, cache)
    (name,) = (folder.name for folder in cache.iterdir())
    real = opened(corpus, cache, degradation="real")
    assert {folder.name for folder in cache.iterdir()} == {name, f"{name}-real{REVISION}"}
    for clip, numbers, before, after in (
        ("shard_000.mp4", range(3), only(plain.training), only(real.training)),
        ("shard_val.mp4", [1], only(plain.validation), only(real.validation)),
    ):
        assert not torch.equal(before.low_frames, after.low_frames)
        for run, number in enumerate(numbers):
            np.testing.assert_array_equal(sharp_of(before, run), sharp_of(after, run))
            seed = seed_of(clip, 15 * number)
            how = drawn(np.random.default_rng((*seed, 0)))
            expected = np.stack(list(degrade(sharp_of(after, run), how, 4, (*seed, 1))))
            start = int(after.table[run, 0])
            np.testing.assert_array_equal(after.low_frames[start : start + 15].numpy(), expected)


def test_flows_of_degraded_runs_are_those_of_what_is_given(corpus: Path, cache: Path) -> None:
    shelf = only(opened(corpus, cache, overrides={"flow_by": "farneback"}, degradation="real").training)
    first, second = (expand(frame.movedim(-1, 0)[None].float() / 255) for frame in shelf.low_frames[[0, 2]])
    expected = flow_between(first, second, "farneback")[0].half()
    torch.testing.assert_close(shelf.flow_pairs[0, 0], expected, atol=2e-3, rtol=0)


def test_a_long_run_is_degraded_in_pieces_and_a_piece_is_a_run(tmp_path: Path, cache: Path) -> None:
    write_video(tmp_path / "films" / "long.mkv", moving(1, 2 * LONGEST_DEGRADED + 9))
    write_video(tmp_path / "films" / "short.mkv", moving(2, 8))
    data = opened(tmp_path / "films", cache, degradation="real")
    assert sorted(data.training.lengths + data.validation.lengths) == [8, 9, LONGEST_DEGRADED, LONGEST_DEGRADED]


@pytest.mark.parametrize("degradation", ["bicubic", "real"])
def test_a_build_that_was_stopped_goes_on_and_ends_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degradation: str
) -> None:
    monkeypatch.setattr(store, "JOURNAL_EVERY_S", -1.0)
    root = tmp_path / "films"
    for number in range(4):
        write_video(root / f"{number}.mkv", moving(number, 8 + number, (32, 40) if number % 2 else (48, 64)))
    opened(root, tmp_path / "whole", degradation=degradation)
    add, seen = store._Builder.add, []

    def stopping(builder: store._Builder, number: int, clip: Clip, made: Iterable[Piece], least: int) -> None:
        seen.append(number)
        if number == 2 and seen.count(2) == 1:
            add(builder, number, clip, list(made)[:5], least)
            raise KeyboardInterrupt
        add(builder, number, clip, made, least)

    monkeypatch.setattr(store._Builder, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        opened(root, tmp_path / "parts", degradation=degradation)
    (folder,) = (tmp_path / "parts").iterdir()
    assert not store.is_complete(folder)
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('{"done": 9, "sta')  # a line that was cut off
    for path in folder.glob("*-low.npy"):
        path.write_bytes(path.read_bytes() + b"torn")
    opened(root, tmp_path / "parts", degradation=degradation)
    assert seen == [0, 1, 2, 2, 3]
    (whole,) = (tmp_path / "whole").iterdir()
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in folder.iterdir())
    assert all((whole / name).read_bytes() == (folder / name).read_bytes() for name in names)


def test_a_cache_whose_files_lost_what_its_journal_promises_is_begun_anew(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "JOURNAL_EVERY_S", -1.0)
    monkeypatch.setattr(store, "_write_whole", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        opened(corpus, tmp_path / "cache")
    monkeypatch.undo()
    (low,) = (tmp_path / "cache").rglob("*-low.npy")
    low.write_bytes(low.read_bytes()[:1000])
    told: list[str] = []
    config = dataclasses.replace(CONFIG, data=str(corpus), cache=str(tmp_path / "cache"))
    shelf = only(open_training_data(config, told.append).training)
    assert any("preparing shard_000" in text for text in told)
    assert torch.equal(shelf.low_frames[0].movedim(-1, 0), low_frame(moving(0, 15)[0], 4))


@pytest.mark.parametrize("degradation", ["bicubic", "real"])
def test_processes_that_prepare_ahead_make_the_same_cache(tmp_path: Path, degradation: str) -> None:
    root = trees.septuplets(tmp_path / "vimeo")
    for workers in (0, 1):
        opened(root, tmp_path / str(workers), workers=workers, degradation=degradation)
    (alone,), (helped,) = ((tmp_path / str(workers)).iterdir() for workers in (0, 1))
    for path in alone.iterdir():
        assert (helped / path.name).read_bytes() == path.read_bytes()


def test_two_runs_that_start_at_once_build_one_cache(corpus: Path, cache: Path) -> None:
    told: list[str] = []
    config = dataclasses.replace(CONFIG, data=str(corpus), cache=str(cache))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: open_training_data(config, told.append), range(2))
    assert sum(text.startswith("preparing shard_000") for text in told) == 1
    assert torch.equal(one.training.draw(CONFIG, 0, range(2)).high, other.training.draw(CONFIG, 0, range(2)).high)


def test_a_full_disk_is_an_output_error_and_nothing_counts_as_done(
    corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store._Writer, "append", full)
        with pytest.raises(OutputError, match=r"No space left on device.*cache=FOLDER"):
            opened(corpus, cache)
    assert not any(cache.rglob("done.json"))
    assert len(opened(corpus, cache).training) == 3


@pytest.mark.parametrize("layout", ["corpus", "septuplets"])
def test_every_file_is_on_the_disk_with_all_its_bytes_before_the_cache_is_called_done(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    synced: dict[int, int] = {}
    sync = os.fsync

    def noted(number: int) -> None:
        sync(number)
        synced[os.fstat(number).st_ino] = os.fstat(number).st_size

    monkeypatch.setattr(os, "fsync", noted)
    opened(getattr(trees, layout)(tmp_path / layout), cache)
    written = [path.stat() for path in cache.rglob("*") if path.suffix in {".npy", ".json"}]
    assert {file.st_ino: file.st_size for file in written} == synced
    (done,) = cache.rglob("done.json")
    assert list(synced)[-1] == done.stat().st_ino


def test_room_for_image_folders_is_asked_for_before_they_are_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.septuplets(tmp_path / "vimeo")
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(store._Builder, "add", lambda *_: pytest.fail("began"))
    with pytest.raises(OutputError, match="GiB are free"):
        opened(root, cache)


def test_septuplets_stay_in_their_files_and_are_read_when_drawn(tmp_path: Path, cache: Path) -> None:
    root = trees.septuplets(tmp_path / "vimeo", (50, 66))
    data = opened(root, cache)
    shelf = only(data.training)
    assert isinstance(shelf.high, PictureFrames)
    assert not list(cache.rglob("*-high.npy"))
    assert (len(data.training), len(data.validation)) == (4, 6)
    np.testing.assert_array_equal(sharp_of(shelf, 2), moving(2, 7, (50, 66))[:, :48, :64])
    batch = data.training.draw(dataclasses.replace(CONFIG, candidates=2), 1, range(3))
    copy = pickle.loads(pickle.dumps(data.training)).draw(dataclasses.replace(CONFIG, candidates=2), 1, range(3))
    held = data.training.to("cpu").draw(dataclasses.replace(CONFIG, candidates=2), 1, range(3))
    for other in (copy, held):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    (root / "sequences/00001/0266/im3.png").write_bytes(b"gone bad")
    with pytest.raises(InputError, match=r"im3\.png"):
        sharp_of(shelf, 2)


def test_adobe240_caches_halved_frames_and_low_resolution_from_the_stored_ones(tmp_path: Path, cache: Path) -> None:
    root = trees.adobe240(tmp_path / "adobe", (96, 128))
    data = opened(root, cache)
    shelf = only(data.training)
    assert isinstance(shelf.high, ArrayFrames)
    assert (shelf.high.size, shelf.low_frames.shape) == ((48, 64), (30, 12, 16, 3))
    stored = moving(0, 10, (96, 128), step=2)
    expected = torch.stack([sharp_frame(frame, 4, 2) for frame in stored]).movedim(1, -1)
    np.testing.assert_array_equal(sharp_of(shelf, 0), expected)
    assert torch.equal(shelf.low_frames[0], low_frame(stored[0], 4, 2).movedim(0, -1))


def test_no_run_crosses_a_cut(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "films"
    write_video(root / "a.mkv", np.concatenate([moving(1, 12), moving(2, 20)]))
    write_frames(root / "b", np.concatenate([moving(3, 9), moving(4, 8)]), [f"{k}.png" for k in range(17)])
    write_video(root / "c.mkv", moving(5, 9))
    data = opened(root, cache)
    lengths = sorted(int(row[1]) for shelf in data.training.shelves for row in shelf.table)
    assert lengths == [8, 9, 12, 20]
    assert [int(shelf.table[0, 1]) for shelf in data.validation.shelves] == [9]
    stored = next(shelf for shelf in data.training.shelves if isinstance(shelf.high, ArrayFrames))
    np.testing.assert_array_equal(sharp_of(stored, 1), moving(2, 20))
    pictures = next(shelf for shelf in data.training.shelves if isinstance(shelf.high, PictureFrames))
    np.testing.assert_array_equal(sharp_of(pictures, 1), moving(4, 8))


def test_sizes_may_differ_from_clip_to_clip(tmp_path: Path, cache: Path) -> None:
    sizes = [(48, 64), (40, 72), (48, 64), (48, 64)]
    for number, size in enumerate(sizes):
        write_video(tmp_path / "films" / f"{number}.mkv", moving(number, 9, size))
    data = opened(tmp_path / "films", cache)
    assert sorted((shelf.high.size, len(shelf.table)) for shelf in data.training.shelves) == [
        ((40, 72), 1),
        ((48, 64), 2),
    ]
    assert data.training.draw(CONFIG, 0, range(20)).high.shape == (20, 7, 3, 32, 32)


def test_of_one_video_the_end_is_measured_and_not_trained_on(tmp_path: Path, cache: Path) -> None:
    film = write_video(tmp_path / "film.mkv", moving(1, 40))
    data = opened(film, cache)
    training, validation = only(data.training), only(data.validation)
    np.testing.assert_array_equal(sharp_of(training, 0), moving(1, 40)[:25])
    np.testing.assert_array_equal(sharp_of(validation, 0), moving(1, 40)[25:])
    assert torch.equal(validation.crop(0, 0, range(3)).forward[0], validation.flow_pairs[25, 0])


def test_of_one_short_video_with_a_cut_the_last_scene_is_measured(tmp_path: Path, cache: Path) -> None:
    film = write_video(tmp_path / "film.mkv", np.concatenate([moving(1, 12), moving(2, 14)]))
    data = opened(film, cache)
    assert (only(data.training).table[:, 1].tolist(), only(data.validation).table[:, 1].tolist()) == ([12], [14])
    with pytest.raises(InputError, match="a single clip needs 30 frames"):
        opened(write_video(tmp_path / "short.mkv", moving(1, 20)), cache)


def test_a_folder_whose_held_out_clip_is_too_short_to_measure_is_refused(tmp_path: Path, cache: Path) -> None:
    write_video(tmp_path / "films" / "a.mkv", moving(1, 12))
    write_video(tmp_path / "films" / "b.mkv", moving(2, 5))
    with pytest.raises(InputError, match=r"no scene of 7 frames to measure in b\.mkv"):
        opened(tmp_path / "films", cache)


def test_a_clip_whose_frames_change_their_size_is_named(tmp_path: Path) -> None:
    frames = [*moving(0, 2), *moving(0, 2, (48, 60))]
    collection = Collection(layout="folder", training=[Clip("odd", lambda: iter(frames))], validation=())
    with pytest.raises(InputError, match="odd: its frames change from 64x48 to 60x48"):
        store.build(collection, tmp_path, tmp_path / "cache", by=Preparation(4, "farneback"))


def test_a_corpus_that_an_earlier_version_prepared_stays_valid(
    corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = opened(corpus, cache)
    (folder,) = cache.iterdir()
    config = dataclasses.replace(CONFIG, candidates=2)
    drawn = fresh.training.draw(config, 3, range(6))
    measured = fresh.validation.clip(0)
    for part, runs in zip(("training", "validation"), fresh, strict=True):
        shelf = only(runs)
        rows = [slice(int(first), int(first) + 15) for first, _, _ in shelf.table]
        flows = [slice(int(flow), int(flow) + 13) for _, _, flow in shelf.table]
        np.save(folder / f"{part}-high.npy", np.stack([sharp_of(shelf, run) for run in range(len(rows))]))
        np.save(folder / f"{part}-low.npy", np.stack([shelf.low_frames[row] for row in rows]))
        np.save(folder / f"{part}-flows.npy", np.stack([shelf.flow_pairs[flow] for flow in flows]))
    for path in folder.glob("[0-9]*.npy"):
        path.unlink()
    (folder / "done.json").write_text(json.dumps({"source": "corpus", "scale": 4}))
    monkeypatch.setattr(store, "build", lambda *_, **__: pytest.fail("built again"))
    old = opened(corpus, cache)
    for one, other in ((old.training.draw(config, 3, range(6)), drawn), (old.validation.clip(0), measured)):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_image_files_whose_names_are_no_unicode_are_prepared_and_read(tmp_path: Path, cache: Path) -> None:
    for name in ("a", "caf\udce9"):
        write_frames(tmp_path / "clips" / name, moving(0, 9, (48, 64)), [f"{k}.png" for k in range(9)])
    opened = open_training_data(dataclasses.replace(CONFIG, data=str(tmp_path / "clips"), cache=str(cache)))
    assert opened.validation.clip(0).high.shape[1] == 7


def test_a_run_that_waits_for_anothers_cache_says_so(corpus: Path, cache: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    opened(corpus, cache)
    (folder,) = cache.iterdir()
    (folder / "done.json").rename(folder / "hidden")
    told: list[str] = []
    with (folder / "lock").open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        config = dataclasses.replace(CONFIG, data=str(corpus), cache=str(cache))
        waiting = pool.submit(open_training_data, config, told.append)
        until = monotonic() + 20
        while not any("waiting" in text for text in told) and monotonic() < until:
            sleep(0.01)
        (folder / "hidden").rename(folder / "done.json")
        fcntl.flock(held, fcntl.LOCK_UN)
        assert len(waiting.result(20).training)
    assert sum("waiting" in text for text in told) == 1


@pytest.mark.parametrize("part", ["low", "flows", "files", "runs"])
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_complete_cache_that_was_damaged_is_named_with_the_remedy(
    tmp_path: Path, cache: Path, part: str, *, is_gone: bool
) -> None:
    root = trees.septuplets(tmp_path / "vimeo")
    opened(root, cache)
    (file,) = cache.rglob(f"*-{part}.npy")
    file.unlink() if is_gone else file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"{file.parent.name}: the cache is damaged .*delete this folder"):
        opened(root, cache)
