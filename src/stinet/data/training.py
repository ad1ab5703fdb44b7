"""Open the data that a recipe names, whatever its layout, and check it before anything is trained."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from stinet.config import TrainConfig
from stinet.data import layouts, store
from stinet.data.collection import MEASURED, Collection, check_headers
from stinet.data.degrade import REVISION
from stinet.data.prepare import Preparation
from stinet.data.runs import (
    VALIDATION_FRAMES,
    Batch,  # noqa: F401 - offered beside the function that leads to it
    Runs,
)
from stinet.data.shelf import ArrayFrames, Mapped, Shelf
from stinet.errors import InputError
from stinet.ops.flow import FlowMethod

__all__ = ["NO_DATA", "TrainingData", "open_training_data"]

BUNDLED = Path(__file__).parents[1] / "samples" / "with_audio_480x270.mp4"

NO_DATA = "no data is named: training on the bundled clip (a few seconds of video, good for a trial only)"

HELD_OUT_FRAMES = 15
"""Frames at the end of a single clip that are measured and not trained on."""


class TrainingData(NamedTuple):
    """What is trained on, and what is only measured."""

    training: Runs
    validation: Runs


def open_training_data(config: TrainConfig, progress: Callable[[str], None] = lambda _: None) -> TrainingData:
    """Open the training data of a run, decoding it into `config.cache` where that was not done yet.

    Raises:
        InputError: the data is missing, incomplete, or does not fit the crops of one of the run's stages.
        OutputError: the cache cannot be written.

    """
    source = Path(config.data) if config.data else BUNDLED
    if not config.data:
        progress(NO_DATA)
    collection = layouts.collect(source, config.layout, progress)
    by = Preparation(config.model_config.scale, config.model_config.flow_by, config.degradation)
    folder = Path(config.cache) / _cache_name(collection, by)
    _check_known(collection, config, by.scale)
    if not store.is_complete(folder):
        check_headers(collection)
        store.build(collection, source, folder, by=by, workers=config.workers, progress=progress)
    data = _opened_before(folder, by.flow_by) or _divided(store.shelves(folder, source, by.flow_by), collection)
    for stage in _stages(config):
        data.training.check(stage)
    return data


def _cache_name(collection: Collection, by: Preparation) -> str:
    """Names and sizes of files decide whether a cache belongs to a data set; other flows and low frames their own."""
    files = [(clip.name, (clip.video or clip.files[0]).stat().st_size) for clip in collection.clips]
    about: list[object] = [files]
    if collection.layout == "corpus":
        listing = json.dumps(sorted(files))
    else:
        about += [collection.runs, [(len(clip.files), clip.reduced) for clip in collection.clips]]
        listing = json.dumps(about)
    flow = "" if by.flow_by == "farneback" else f"-{by.flow_by}"
    low = "" if by.degradation == "bicubic" else f"-{by.degradation}{REVISION}"
    return f"{collection.layout}-x{by.scale}-{hashlib.sha256(listing.encode()).hexdigest()[:12]}{flow}{low}"


def _check_known(collection: Collection, config: TrainConfig, scale: int) -> None:
    """Refuse crops that cannot fit, as far as that is known before hours of preparing."""
    first = collection.clips[0]
    if not collection.has_one_size or not first.files:
        return
    height, width = (side // first.reduced // scale for side in first.size)
    length = max(len(clip.files) for clip in collection.training)
    for stage in _stages(config):
        if stage.crop_px > min(height, width) or 2 * stage.frames - 1 > length:
            raise InputError(
                f"a clip of {2 * stage.frames - 1} frames of {stage.crop_px} x {stage.crop_px} LR pixels does not fit"
                f" into clips of {length} frames of {width} x {height}: use fewer frames or a smaller crop_px"
            )


def _opened_before(folder: Path, flow_by: FlowMethod) -> TrainingData | None:
    """A corpus that an earlier version prepared: arrays of runs of equal length, for either part."""
    if not (folder / "training-low.npy").exists():
        return None
    parts = []
    for part in TrainingData._fields:
        high, low, flows = (Mapped(folder / f"{part}-{name}.npy") for name in ("high", "low", "flows"))
        count, length = low.tensor.shape[:2]
        runs = np.arange(count, dtype=np.int64)
        table = np.stack([runs * length, np.full_like(runs, length), runs * (length - 2)], axis=1)
        parts.append(Runs([Shelf(ArrayFrames(high), low, flows, table, flow_by)]))
    return TrainingData(*parts)


def _divided(shelves: list[tuple[Shelf, Int64[np.ndarray, "_ 2"]]], collection: Collection) -> TrainingData:
    """Runs to train on and to measure.

    Raises:
        InputError: nothing is left to measure, or to train on.

    """
    training, measured = [], []
    for shelf, origin in shelves:
        is_training = origin[:, 0] < len(collection.training)
        training.append(shelf.table[is_training])
        measured.append(shelf.table[~is_training & _is_wanted(shelf, origin, collection)])
    if not collection.validation:
        training, measured = _held_out(training)
    elif collection.listed is None:
        measured = _thinned(measured)
    if not any(map(len, measured)):
        names = ", ".join(clip.name for clip in collection.validation[:3])
        raise InputError(f"no scene of {VALIDATION_FRAMES} frames to measure in {names}; name longer clips")
    parts = [shelf for shelf, _ in shelves]
    return TrainingData(*(Runs(list(map(Shelf.of, parts, tables))) for tables in (training, measured)))


def _is_wanted(shelf: Shelf, origin: Int64[np.ndarray, "runs 2"], collection: Collection) -> np.ndarray:
    """Runs that are long enough to measure, and listed where there is a list."""
    long = shelf.table[:, 1] >= VALIDATION_FRAMES
    if collection.listed is None:
        return long
    clips = collection.clips
    return long & np.array([(clips[clip].name, int(first)) in collection.listed for clip, first in origin], bool)


def _held_out(tables: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The end of the last run, or all of it where it is short and there are others."""
    kept, measured = [table.copy() for table in tables], [table[:0] for table in tables]
    for place in reversed(range(len(kept))):
        for row in reversed(range(len(kept[place]))):
            first, frames, flow = kept[place][row]
            if frames >= 2 * HELD_OUT_FRAMES:
                left = frames - HELD_OUT_FRAMES
                measured[place] = np.array([[first + left, HELD_OUT_FRAMES, flow + left]])
                kept[place][row, 1] = left
                return kept, measured
            if frames >= VALIDATION_FRAMES and sum(map(len, kept)) > 1:
                measured[place] = kept[place][row : row + 1]
                kept[place] = np.delete(kept[place], row, axis=0)
                return kept, measured
    raise InputError(
        f"nothing is left to measure: a single clip needs {2 * HELD_OUT_FRAMES} frames, or two scenes of"
        f" {VALIDATION_FRAMES}"
    )


def _thinned(tables: list[np.ndarray]) -> list[np.ndarray]:
    """At most as many runs as a validation measures, evenly spread."""
    count = sum(map(len, tables))
    if count <= MEASURED:
        return tables
    chosen = np.zeros(count, bool)
    chosen[[k * count // MEASURED for k in range(MEASURED)]] = True
    ends = np.cumsum([len(table) for table in tables])
    return [table[chosen[end - len(table) : end]] for table, end in zip(tables, ends, strict=True)]


def _stages(config: TrainConfig) -> Iterator[TrainConfig]:
    """Settings of every stage of a run."""
    step = 0
    while step < config.total_steps:
        stage = config.stage(step)
        yield stage.config
        step = stage.first + stage.config.steps
