"""Open the data that a recipe names, whatever its layout, and check it before anything is trained."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stinet.config import TrainConfig
from stinet.data import corpus
from stinet.data.runs import ArrayFrames, Mapped, Runs, Shelf
from stinet.data.runs import Batch  # noqa: F401 - offered beside the function that leads to it

__all__ = ["TrainingData", "open_training_data"]

BUNDLED = Path(__file__).parents[1] / "samples" / "with_audio_480x270.mp4"


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
        progress("no data is named: training on the bundled clip (a few seconds of video, good for a trial only)")
    corpus.open_corpus(source, Path(config.cache), scale=config.model_config.scale, progress=progress)
    folder = corpus.cache_folder(source, Path(config.cache), config.model_config.scale)
    data = TrainingData(_opened(folder, "training"), _opened(folder, "validation"))
    for stage in _stages(config):
        data.training.check(stage)
    return data


def _opened(folder: Path, part: str) -> Runs:
    high, low, flows = (Mapped(folder / f"{part}-{name}.npy") for name in ("high", "low", "flows"))
    count, length = low.tensor.shape[:2]
    runs = np.arange(count, dtype=np.int64)
    table = np.stack([runs * length, np.full_like(runs, length), runs * (length - 2)], axis=1)
    return Runs([Shelf(ArrayFrames(high), low, flows, table)])


def _stages(config: TrainConfig) -> Iterator[TrainConfig]:
    """Settings of every stage of a run."""
    step = 0
    while step < config.total_steps:
        stage = config.stage(step)
        yield stage.config
        step = stage.first + stage.config.steps
