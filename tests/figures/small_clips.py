"""A clip on the disk, and a network that is quick."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from stinet.checkpoint import save_model
from stinet.config import PRESETS
from stinet.model.stinet import STINet

__all__ = ["small_weights", "write_clip"]


def write_clip(folder: Path, count: int = 5, size: tuple[int, int] = (64, 96), px_per_frame: float = 2.0) -> Path:
    """Frames of a soft texture; its middle moves to the right, its rim stands still."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(_frames(count, size, px_per_frame)):
        Image.fromarray(frame).save(folder / f"{index:03}.png")
    return folder


def small_weights(path: Path, **changes: object) -> Path:
    """An untrained network of the compact kind."""
    config = replace(PRESETS["stinet-xs"], channels=8, graph_channels=8, **changes)  # pyright: ignore[reportArgumentType]
    net = STINet(config)
    save_model(path, net, net.state_dict(), {})
    return path


def _frames(count: int, size: tuple[int, int], px_per_frame: float) -> Iterator[np.ndarray]:
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    is_middle = (abs(y - size[0] / 2) < size[0] / 5) & (abs(x - size[1] / 2) < size[1] / 4)
    for index in range(count):
        moved = x - px_per_frame * index * is_middle
        wave = np.sin(moved / 2.5) + np.cos(y / 3) + np.sin((moved + 2 * y) / 5)
        yield np.stack([(128 + 35 * wave + 9 * c).astype(np.uint8) for c in range(3)], axis=2)
