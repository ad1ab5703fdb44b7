"""Strips like the paper's Fig. 5: one place of one interpolated frame, by all models and as it was.

Of every clip the interpolated frame with the most motion is taken, and of it the box where detail moves most; the clip
with the fastest frame comes first. Frame and box can be named instead. The figure under a crop is the PSNR on Y of
that crop alone.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from stinet.errors import UsageError
from stinet.figures.films import Film, flow_at, moving_box
from stinet.metrics.fidelity import luma, psnr
from stinet.report.pictures import Box
from stinet.report.strips import Cell, Strip, enlarged

__all__ = ["crop_psnr_db", "moments", "strip"]

_CROP_PX = (48, 72)
_ENLARGE = 3

Picture = UInt8[np.ndarray, "h w 3"]


def moments(
    films: Sequence[Film],
    frame: int | None = None,
    box: Box | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Strip]:
    """A strip of every film, the fastest first; `labels` are what models are called, where not by their names.

    Raises:
        UsageError: a frame or a box that a film does not have.

    """
    found = [(speed, strip(film, index, box, labels)) for film in films for speed, index in (_fastest(film, frame),)]
    return [row for _, row in sorted(found, key=lambda one: -one[0])]


def strip(film: Film, index: int, box: Box | None = None, labels: Mapping[str, str] | None = None) -> Strip:
    """One frame of a film: bicubic, every model (under its label, if it has one) and the truth.

    Raises:
        UsageError: a frame or a box that it does not have.

    """
    if not 0 <= index < len(film.truth):
        raise UsageError(f"{film.name} has no frame {index}: its frames are 0 to {len(film.truth) - 1}")
    truth = film.truth[index]
    height, width = truth.shape[:2]
    if box is not None and not (0 <= box[0] < box[2] <= height and 0 <= box[1] < box[3] <= width):
        raise UsageError(f"the box lies outside of {film.name}, whose frames are {width}x{height}")
    flow = flow_at(film.truth, index)
    top, left, bottom, right = place = box or moving_box(truth, flow, _CROP_PX)
    area = (slice(top, bottom), slice(left, right))
    parts = {"bicubic of the moment": film.bicubic[index], **{n: frames[index] for n, frames in film.made.items()}}
    names = labels or {}
    cells = [
        Cell(
            label=names.get(name, name),
            picture=enlarged(part[area], _ENLARGE),
            note=_decibels(crop_psnr_db(part[area], truth[area])),
        )
        for name, part in parts.items()
    ]
    speed = float(np.hypot(*flow[area].reshape(-1, 2).T).mean())
    kind = "given" if film.given[index] else "interpolated"
    return Strip(
        title=film.name,
        detail=f"frame {index}, {kind}; the place moves {speed:.1f} px a frame",
        whole=truth,
        marked=place,
        cells=[*cells, Cell(label="truth", picture=enlarged(truth[area], _ENLARGE), note="PSNR on Y of the crop")],
    )


def crop_psnr_db(made: Picture, truth: Picture) -> float:
    """PSNR on Y."""
    first, second = (luma(torch.from_numpy(part.transpose(2, 0, 1) / 255.0)) for part in (made, truth))
    return float(psnr(first, second))


def _fastest(film: Film, frame: int | None) -> tuple[float, int]:
    """Mean motion, and the interpolated frame that has most of it; a frame that was named is taken as it is."""
    between = [index for index, is_given in enumerate(film.given) if not is_given]
    candidates = between if frame is None else [min(max(frame, 0), len(film.truth) - 1)]
    speeds = [float(np.hypot(*flow_at(film.truth, index).reshape(-1, 2).T).mean()) for index in candidates]
    best = int(np.argmax(speeds))
    return speeds[best], candidates[best] if frame is None else frame


def _decibels(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "identical"
