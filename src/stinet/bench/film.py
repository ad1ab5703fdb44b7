"""A film made for timing: soft texture that moves, so that flows, cuts and codecs have real work."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from stinet.video.frame import Frame
from stinet.video.write import Writer

__all__ = ["RATE", "moving", "write_film"]

RATE = Fraction(25)
_TURN = 24
"""Frames until the motion turns back."""


def moving(width: int, height: int) -> Iterator[Frame]:
    """Frames without end: a texture that pans 2 px right and 1 px down a frame, to and fro."""
    ground = _texture(height + _TURN + 1, width + 2 * _TURN + 2)
    for number in itertools.count():
        phase = number % (2 * _TURN)
        step = min(phase, 2 * _TURN - phase)
        rgb = np.ascontiguousarray(ground[step : step + height, 2 * step : 2 * step + width])
        yield Frame(rgb=rgb, time=number / RATE)


def write_film(path: Path, width: int, height: int, frames: int) -> Path:
    """The first frames of it as a file."""
    with Writer(path, size=(width, height), time_base=1 / RATE, rate=RATE) as writer:
        for frame in itertools.islice(moving(width, height), frames):
            writer.write(frame)
    return path


def _texture(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Noise of several sizes, the coarse more than the fine, as pictures have it."""
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3))
    for cell in (32, 16, 8, 4, 2):
        noise = rng.standard_normal((height // cell + 2, width // cell + 2, 3))
        total += cell**0.7 * np.stack([_enlarged(noise[..., c], height, width, cell) for c in range(3)], axis=-1)
    spread = total.std() or 1.0
    return np.clip(128 + 45 * total / spread, 0, 255).astype(np.uint8)


def _enlarged(noise: np.ndarray, height: int, width: int, cell: int) -> np.ndarray:
    """Linear between the cells' corners."""
    down, across = np.arange(height) / cell, np.arange(width) / cell
    i, j = down.astype(int), across.astype(int)
    v, u = (down - i)[:, None], (across - j)[None]
    top = noise[np.ix_(i, j)] * (1 - u) + noise[np.ix_(i, j + 1)] * u
    return top * (1 - v) + (noise[np.ix_(i + 1, j)] * (1 - u) + noise[np.ix_(i + 1, j + 1)] * u) * v
