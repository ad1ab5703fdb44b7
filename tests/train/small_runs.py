"""A video and a network small enough to be trained in a test, and a run without any command."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from stinet.config import TrainConfig
from stinet.data.training import Batch, TrainingData, open_training_data
from stinet.train.machine import open_machine
from stinet.train.state import Run, begin
from stinet.train.step import Stepper

__all__ = ["TINY", "data_of", "first_batch", "quiet", "settings", "stepper_of", "weights", "write_video"]

TINY = {"channels": 8, "low_blocks": 1, "high_blocks": 1, "shared_blocks": 1, "fusion_blocks": 1, "graph_channels": 8}
LENGTH = 15
"""Frames of a run that an ordinary video is cut into."""

quiet: Callable[[str], None] = lambda _: None  # noqa: E731


def write_video(path: Path) -> Path:
    """Two runs of sliding smooth noise."""
    coarse = torch.rand(1, 3, 5, 12, generator=torch.Generator().manual_seed(1))
    wide = torch.nn.functional.interpolate(coarse, (48, 64 + 4 * LENGTH), mode="bicubic").clamp(0, 1)
    picture = (wide[0].permute(1, 2, 0) * 255).byte().numpy()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "bgr0"
        for index in range(2 * LENGTH):
            frame = np.ascontiguousarray(picture[:, 2 * index : 2 * index + 64])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def settings(video: Path, out: Path, **changed: object) -> TrainConfig:
    """Six steps of two crops on the CPU."""
    values = {
        "overrides": TINY, "data": str(video), "out": str(out), "cache": str(video.parent / "cache"), "steps": 6,
        "batch": 2, "crop_px": 8, "warmup_steps": 2, "schedule": "late", "decay_steps": 2, "log_every": 1,
        "save_every": 100, "validate_every": 3, "precision": "fp32", "device": "cpu", "tensorboard": False,
        "threads": 1,
    }  # fmt: skip
    if "stages" in changed:
        del values["steps"]
    return TrainConfig(**{**values, **changed})  # pyright: ignore[reportArgumentType]


def stepper_of(config: TrainConfig) -> Stepper:
    """A run as `fit` would begin it."""
    return Stepper(begin(config, open_machine(config), quiet))


def data_of(config: TrainConfig) -> TrainingData:
    """The video's runs."""
    return open_training_data(config, quiet)


def first_batch(config: TrainConfig) -> Batch:
    """All crops of step 0."""
    return data_of(config).training.draw(config, 0, range(config.batch))


def weights(run: Run) -> dict[str, Tensor]:
    """Everything that must be equal at the end: weights, their average, Adam's moments and counts."""
    return run.tensors()
