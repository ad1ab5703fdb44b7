"""Two videos, images or folders of images against each other: PSNR and SSIM on Y, frame by frame, and a picture.

Frames are paired by their order; where one side has more, the rest is not measured, and that is said. Only the pair
that differs most is kept in memory, for the picture. Knows no model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet.errors import InputError, OutputError
from stinet.metrics import PSNR_CAP_DB, luma, psnr, ssim
from stinet.report.pictures import before_after
from stinet.video.source import read_source

__all__ = ["Comparison", "compare"]

Frame = UInt8[np.ndarray, "sh sw 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Means over the frames that were compared."""

    frames: int
    psnr_db: float
    """Identical frames count as 100 dB."""
    ssim: float
    identical: int
    worst_frame: int
    """The pair of lowest PSNR, counted from 0."""
    worst_psnr_db: float
    longer: Path | None
    """The side that has frames which were not compared."""

    def line(self) -> str:
        """Everything in one line."""
        count = "1 frame" if self.frames == 1 else f"{self.frames} frames"
        text = f"PSNR-Y {self.psnr_db:.2f} dB, SSIM {self.ssim:.4f}, mean of {count}"
        if self.identical:
            text += f"; {self.identical} identical, as {PSNR_CAP_DB:.0f} dB"
        if self.frames > max(self.identical, 1):
            text += f"; worst is frame {self.worst_frame} with {self.worst_psnr_db:.2f} dB"
        return text + (f"; {self.longer} has more frames, which were not compared" if self.longer else "")


def compare(
    first: Path,
    second: Path,
    picture: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Measure `first` against `second`; with `picture`, a PNG shows the pair that differs most.

    Raises:
        InputError: a side that cannot be read or holds no frame, or frames of different sizes.
        OutputError: `picture` cannot be written.

    """
    scores: list[tuple[float, float]] = []
    worst_db, worst, longer = float("inf"), None, None
    for a, b in zip_longest(_frames(first), _frames(second)):
        if a is None or b is None:
            longer = second if a is None else first
            break
        if a.shape != b.shape:
            raise InputError(f"{first} is {_size(a)}, {second} is {_size(b)}: bring both to one size first")
        luma_a, luma_b = luma(_tensor(a)), luma(_tensor(b))
        scores.append((psnr(luma_a, luma_b).item(), ssim(luma_a, luma_b).item()))
        if worst is None or scores[-1][0] < worst_db:
            worst_db, worst = scores[-1][0], (len(scores) - 1, a, b)
        if progress is not None:
            progress(len(scores), 0)
    if worst is None:
        raise InputError(f"{first}: no frame to compare with {second}")
    number, a, b = worst
    result = Comparison(
        frames=len(scores),
        psnr_db=sum(min(value, PSNR_CAP_DB) for value, _ in scores) / len(scores),
        ssim=sum(value for _, value in scores) / len(scores),
        identical=sum(value == float("inf") for value, _ in scores),
        worst_frame=number,
        worst_psnr_db=worst_db,
        longer=longer,
    )
    if picture is not None:
        _draw(a, b, picture, (f"{first.name}, frame {number}", second.name))
    return result


def _frames(path: Path) -> Iterator[Frame]:
    for frame in read_source(path, deep=False):
        yield frame.rgb


def _draw(first: Frame, second: Frame, path: Path, labels: tuple[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before_after(first, second, path, labels=labels)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: the picture cannot be written ({error})") from error


def _tensor(frame: Frame) -> Float[Tensor, "3 sh sw"]:
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).double() / 255


def _size(frame: Frame) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"
