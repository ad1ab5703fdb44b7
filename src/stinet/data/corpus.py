"""Training clips from a folder of video shards, decoded once into a cache of plain arrays.

A shard is a video of many runs, each of `RUN` consecutive frames of one size; `manifest.tsv` names them,
`validation.txt` those that are only measured. Or the source is one ordinary video: it is cut into runs at its hard
cuts, and the last run is the validation.

The cache holds for every run the sharp frames (uint8), their LR by `ops.resample.downsample` (rounded to 8 bit once,
as the benchmarks store it) and Farneback's flows between every frame and the next but one, both ways, on whole LR
frames (float16, LR pixels): a crop is too small to see where something moved.

Arrays are opened memory-mapped: the operating system keeps what is used.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stinet.data.augment import Clip, augmented
from stinet.errors import InputError
from stinet.ops.farneback import expand, flow_between
from stinet.ops.resample import downsample, quantize

__all__ = ["RUN", "Corpus", "Runs", "cache_folder", "open_corpus", "sample_batch"]

RUN = 15
"""Frames of one run."""

CUT = 0.12
"""Mean absolute difference of neighbouring frames, in [0, 1], from which on they count as a hard cut."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one size: arrays r t h w 3 (frames) and r t-2 2 2 h w (flows: forward and backward, then dx and dy)."""

    high: np.ndarray
    low: np.ndarray
    flows: np.ndarray

    def clip(self, run: int, first: int, frames: int, crop: tuple[int, int, int, int] | None = None) -> Clip:
        """Frames first .. first + 2 * frames - 2 of a run; `crop` is (top, left, height, width) in LR pixels."""
        top, left, height, width = crop or (0, 0, *self.low.shape[2:4])
        scale = self.high.shape[2] // self.low.shape[2]
        span = slice(first, first + 2 * frames - 1)
        low = self.low[run, span, top : top + height, left : left + width]
        high = self.high[run, span, scale * top : scale * (top + height), scale * left : scale * (left + width)]
        flows = self.flows[run, first : first + 2 * frames - 3 : 2, :, :, top : top + height, left : left + width]
        return Clip(high=high, low=low, forward=flows[:, 0], backward=flows[:, 1])


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained on, and what is only measured."""

    training: Runs
    validation: Runs


def sample_batch(
    runs: Runs, *, batch: int, frames: int, crop_px: int, random: np.random.Generator, candidates: int = 1
) -> list[Clip]:
    """Draw augmented crops of random runs, moments and places; of every `candidates` the most detailed one.

    Raises:
        InputError: the runs are too short or too small for such a crop.

    """
    count, length, height, width = runs.low.shape[:4]
    span = 2 * frames - 1
    if span > length or crop_px > min(height, width):
        raise InputError(
            f"a clip of {span} frames of {crop_px} x {crop_px} LR pixels does not fit into runs of {length} frames of"
            f" {width} x {height}: use fewer frames or a smaller crop_px"
        )
    clips = []
    for _ in range(batch):
        drawn: list[Clip] = []
        for _ in range(candidates):
            place = (random.integers(height - crop_px + 1), random.integers(width - crop_px + 1))
            crop = (int(place[0]), int(place[1]), crop_px, crop_px)
            drawn.append(runs.clip(int(random.integers(count)), int(random.integers(length - span + 1)), frames, crop))
        clips.append(augmented(max(drawn, key=_detail) if candidates > 1 else drawn[0], random))
    return clips


def _detail(clip: Clip) -> float:
    """Mean change of brightness between neighbouring LR pixels of the first frame: flat crops teach little."""
    grey = clip.low[0].astype(np.float32).mean(axis=2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


def open_corpus(
    source: Path, cache: Path, *, scale: int = 4, progress: Callable[[str], None] = lambda _: None
) -> Corpus:
    """Open the corpus in folder (or video file) `source`, decoding it into `cache` if that was not done yet.

    Raises:
        InputError: nothing usable is there.

    """
    shards = _shards(source)
    target = cache_folder(source, cache, scale)
    if not (target / "done.json").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        _fill(source, shards, target, scale, progress)
    return Corpus(_load(target, "training"), _load(target, "validation"))


def cache_folder(source: Path, cache: Path, scale: int) -> Path:
    """Where the decoded corpus lies."""
    return cache / f"corpus-x{scale}-{_fingerprint(_shards(source))}"


def _shards(source: Path) -> list[Path]:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; name the corpus with data=FOLDER")
    shards = sorted(source.glob("shard_*.mp4")) if source.is_dir() else [source]
    if not shards:
        raise InputError(f"{source}: holds no shard_*.mp4")
    return shards


def _load(folder: Path, part: str) -> Runs:
    return Runs(*(np.load(folder / f"{part}-{name}.npy", mmap_mode="r") for name in ("high", "low", "flows")))


def _fingerprint(shards: Sequence[Path]) -> str:
    """Names and sizes decide whether a cache belongs to a corpus."""
    listing = json.dumps([(shard.name, shard.stat().st_size) for shard in shards])
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


def _fill(source: Path, shards: Sequence[Path], target: Path, scale: int, progress: Callable[[str], None]) -> None:
    if source.is_dir():
        measured = _listed(source / "validation.txt")
        training = [shard for shard in shards if shard.name not in {name for name, _ in measured}]
        parts = {"training": (training, None), "validation": (shards, measured)}
    else:
        parts = {"training": (shards, None), "validation": (shards, None)}
    for part, (files, wanted) in parts.items():
        runs = (
            (
                run
                for number, file in enumerate(files)
                for run in _told(_runs(file, wanted), file, number, files, progress)
            )
            if source.is_dir()
            else iter(_split(list(_cut_runs(source)), part))
        )
        _write(target, part, runs, scale)
    (target / "done.json").write_text(json.dumps({"source": source.name, "scale": scale}), encoding="utf-8")


def _told(
    runs: Iterator[np.ndarray], file: Path, number: int, files: Sequence[Path], progress: Callable[[str], None]
) -> Iterator[np.ndarray]:
    progress(f"decoding {file.name} ({number + 1} of {len(files)})")
    yield from runs


def _listed(file: Path) -> set[tuple[str, int]]:
    """Shard and first frame of the runs that are only measured."""
    if not file.exists():
        raise InputError(f"{file}: missing; it lists the validation runs (shard, first frame, frames)")
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(row[0], int(row[1])) for row in rows}


def _runs(file: Path, wanted: set[tuple[str, int]] | None) -> Iterator[np.ndarray]:
    """Runs of one shard, t h w 3; only the wanted ones."""
    from stinet.video.read import read_frames

    if wanted is not None and file.name not in {name for name, _ in wanted}:
        return
    held: list[np.ndarray] = []
    for number, frame in enumerate(read_frames(file)):
        held.append(frame.rgb)
        if len(held) == RUN:
            if wanted is None or (file.name, number - RUN + 1) in wanted:
                yield np.stack(held)
            held = []


def _cut_runs(file: Path) -> Iterator[np.ndarray]:
    """Runs of an ordinary video that do not cross a hard cut."""
    from stinet.video.read import read_frames

    held: list[np.ndarray] = []
    for frame in read_frames(file):
        if held and np.abs(frame.rgb.astype(np.int16) - held[-1]).mean() > CUT * 255:
            held = []
        held.append(frame.rgb)
        if len(held) == RUN:
            yield np.stack(held)
            held = []


def _split(runs: list[np.ndarray], part: str) -> list[np.ndarray]:
    if len(runs) < 2:
        raise InputError(f"the video has {len(runs)} runs of {RUN} frames between its cuts; at least 2 are needed")
    return runs[:-1] if part == "training" else runs[-1:]


def _write(folder: Path, part: str, runs: Iterator[np.ndarray], scale: int) -> None:
    """Append runs to plain files, then give the files their numpy headers: the number of runs is known last."""
    names = ("high", "low", "flows")
    raw = {name: folder / f"{part}-{name}.raw" for name in names}
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    count = 0
    with raw["high"].open("wb") as high, raw["low"].open("wb") as low, raw["flows"].open("wb") as flows:
        for run in runs:
            arrays = dict(zip(names, _derived(run, scale), strict=True))
            for name, array in arrays.items():
                if shapes.setdefault(name, (array.shape, array.dtype)) != (array.shape, array.dtype):
                    raise InputError(f"run {count} has frames of another size: {array.shape}, not {shapes[name][0]}")
            for file, array in zip((high, low, flows), arrays.values(), strict=True):
                file.write(np.ascontiguousarray(array).tobytes())
            count += 1
    if count == 0:
        raise InputError(f"no run of {RUN} frames was found for the {part} part")
    for name, (shape, dtype) in shapes.items():
        _with_header(raw[name], folder / f"{part}-{name}.npy", (count, *shape), dtype)


def _with_header(raw: Path, target: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    source = np.memmap(raw, dtype=dtype, mode="r", shape=shape)
    out = np.lib.format.open_memmap(target, mode="w+", dtype=dtype, shape=shape)
    for index in range(shape[0]):
        out[index] = source[index]
    out.flush()
    del source
    raw.unlink()


def _derived(run: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sharp frames cropped to a multiple of the scale, LR frames, flows."""
    height, width = (side // scale * scale for side in run.shape[1:3])
    run = run[:, :height, :width]
    sharp = torch.from_numpy(np.ascontiguousarray(run)).permute(0, 3, 1, 2).float() / 255
    low = quantize(downsample(sharp, scale))
    with torch.no_grad():
        first, second = expand(low[:-2]), expand(low[2:])
        flows = torch.stack([flow_between(first, second), flow_between(second, first)], dim=1)
    small = (low * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return run, small.numpy(), flows.to(torch.float16).numpy()
