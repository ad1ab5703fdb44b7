"""A report as a page: its tables, its figures frame by frame, and pictures before and after.

Of every clip (the first ones, where there are many) one interpolated frame near its middle is kept, cut to where it has
the most detail: bicubic enlargement of the same moment against every model, and the first model against the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet.data.benchmarks import Window
from stinet.evaluate.measuring import Shown
from stinet.evaluate.scores import FrameScore, Report
from stinet.metrics import PSNR_CAP_DB
from stinet.metrics.fidelity import levels
from stinet.ops.resample import upsample
from stinet.report.page import Page, Slider, write_page
from stinet.report.pictures import busiest_box
from stinet.report.plots import Plot
from stinet.report.tables import models_of, protocol_of, views

__all__ = ["Album", "write_report"]

MOST_CLIPS = 12
"""Clips that a page shows pictures and plots of."""

_CROP_PX = (288, 448)
_LABELS = {
    "psnr_db": "PSNR-Y, dB",
    "motion_px": "motion error, px",
    "flicker": "flicker, levels of Y",
    "lpips": "LPIPS",
}
"""Figures that are drawn frame by frame, where they were measured."""

_NAMES = {"sha256": "SHA-256 of the weights"}
"""What the report calls a thing, for people."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass
class _Moment:
    """One frame of a clip, by everyone who made it."""

    index: int
    is_given: bool
    area: tuple[slice, slice]
    truth: Picture
    bicubic: Picture
    made: dict[str, tuple[Picture, FrameScore]] = field(default_factory=dict)


class Album:
    """Watches a benchmark and keeps one moment of every clip."""

    def __init__(self, most_clips: int = MOST_CLIPS) -> None:
        self.most_clips = most_clips
        self.moments: dict[str, _Moment] = {}

    def __call__(self, shown: Shown) -> None:
        """Look at a frame that was measured; keep it if it is the clip's moment."""
        is_full = len(self.moments) >= self.most_clips and shown.clip not in self.moments
        if is_full or shown.score.index != _moment_of(shown.windows):
            return
        if shown.clip not in self.moments:
            truth = _picture(shown.truth)
            area = _detailed_area(truth)
            scale = shown.truth.shape[-1] // shown.low.shape[-1]
            large = _picture(upsample(shown.low[None].double(), scale)[0])
            moment = _Moment(shown.score.index, shown.score.is_given, area, truth[area], large[area])
            self.moments[shown.clip] = moment
        moment = self.moments[shown.clip]
        moment.made[shown.model] = (_picture(shown.made)[moment.area], shown.score)

    def sliders(self) -> list[Slider]:
        """Bicubic against every model, then the first model against the truth, clip by clip."""
        found: list[Slider] = []
        for clip, moment in self.moments.items():
            kind = "given" if moment.is_given else "interpolated"
            for number, (model, (made, score)) in enumerate(moment.made.items()):
                name = f"{clip}, frame {moment.index}: {model}"
                detail = f"{kind}; {min(score.psnr_db, PSNR_CAP_DB):.2f} dB, {score.ssim:.4f} of the whole frame"
                if made.shape == moment.bicubic.shape:
                    found.append(_slider(name, "bicubic of the true moment", model, moment.bicubic, made, detail))
                if number == 0 and made.shape == moment.truth.shape:
                    found.append(_slider(f"{name} and the truth", model, "truth", made, moment.truth, detail))
        return found


def write_report(report: Report, album: Album, title: str, path: Path) -> None:
    """Write everything as one HTML file that opens from disk."""
    write_page(_page(report, album, title), path)


def _page(report: Report, album: Album, title: str) -> Page:
    values = report.to_json()
    models, tables = models_of(values), views(values)
    first = models[0]
    return Page(
        title=title,
        lead=f"Protocol: {protocol_of(values)}.",
        facts=_facts(first, values.get("run", {})),
        tables=[*tables[len(models) :], *tables[: len(models)]],  # what compares models comes first
        sliders=album.sliders(),
        plots=list(_plots(report)),
    )


def _facts(model: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    protocol = model["protocol"]
    facts = {"low resolution": protocol["low_resolution"], "measured on": protocol["measure"]}
    facts |= {name.upper(): reason for name, reason in model.get("not_measured", {}).items()}
    for key, value in run.items():
        if isinstance(value, Mapping):
            facts[_NAMES.get(key, key)] = ", ".join(f"{name} {number or 'none'}" for name, number in value.items())
        else:
            facts[_NAMES.get(key, key)] = "not known" if value is None else str(value)
    return facts


def _plots(report: Report) -> list[Plot]:
    """Every figure over the frames of a clip, all models in one plot."""
    models = report.models.values()
    first = next(iter(models))
    found: list[Plot] = []
    for clip in list(first.clips)[:MOST_CLIPS]:
        frames = first.clips[clip]
        for key, label in _LABELS.items():
            if key != "psnr_db" and key not in first.extras:
                continue
            lines = {model.name: _points(model.clips[clip], key) for model in models}
            hollow = {float(frame.index) for frame in frames if not frame.counts_as_given(key)}
            found.append(Plot(title=clip, y_label=label, lines=lines, hollow=hollow))
    return found


def _points(frames: Sequence[FrameScore], key: str) -> list[tuple[float, float]]:
    top = PSNR_CAP_DB if key == "psnr_db" else float("inf")
    return [(float(frame.index), min(frame.figures[key], top)) for frame in frames if key in frame.figures]


def _slider(name: str, before_label: str, after_label: str, before: Picture, after: Picture, detail: str) -> Slider:
    return Slider(
        name=name, before_label=before_label, after_label=after_label, before=before, after=after, detail=detail
    )


def _moment_of(windows: Sequence[Window]) -> int:
    """The interpolated frame that is nearest to the middle of a clip, or the middle itself."""
    kinds = {window.start + place: place in window.given for window in windows for place in window.counted}
    middle = max(kinds) // 2
    between = [index for index, is_given in kinds.items() if not is_given]
    return min(between, key=lambda index: abs(index - middle), default=middle)


def _detailed_area(frame: Picture) -> tuple[slice, slice]:
    """The part of a frame that is shown, around its most detailed spot."""
    top, left, bottom, right = busiest_box(frame)
    cuts = []
    for centre, side, most in zip(((top + bottom) // 2, (left + right) // 2), frame.shape[:2], _CROP_PX, strict=True):
        size = min(side, most)
        start = min(max(centre - size // 2, 0), side - size)
        cuts.append(slice(start, start + size))
    return cuts[0], cuts[1]


def _picture(frame: Float[Tensor, "3 sh sw"]) -> Picture:
    return levels(frame).byte().permute(1, 2, 0).numpy()
