"""The papers' protocol: sharp clips -> low resolution -> a clip function, window by window -> PSNR and SSIM on Y.

Low resolution is the clip cropped to a multiple of the scale, shrunk by `ops.resample` in float64 and rounded
to 8 bit once. What a model yields is clamped and rounded to 8 bit before it is measured. A clip's score is the
mean over its counted frames, the score of a benchmark the mean over its clips; given and interpolated frames
are reported apart, too. Identical frames count as 100 dB and their number is reported. Seconds are the model's
alone: prepare, context and run, every window from nothing.

Windows: `data.benchmarks`. One clip is in memory at a time. Knows no model by name: it gets clip functions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stinet.config import ClipFunction
from stinet.data.benchmarks import Clip, Window, windows
from stinet.errors import InputError, ModelError
from stinet.metrics import PSNR_CAP_DB, luma, psnr, ssim
from stinet.ops.resample import crop_to_multiple, downsample, quantize

__all__ = ["FrameScore", "ModelReport", "Protocol", "Report", "benchmark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How clips are shown to a model; part of every report, because figures of different protocols do not compare."""

    window: int = 7
    """Output frames of a window."""

    step: int = 2
    """Every step-th frame of a window is given."""

    variant: str = "all"
    """"all" frames, or "160": without the tails that fill no window."""

    def to_json(self, scale: int) -> dict[str, Any]:
        """In words and numbers."""
        given = range(0, self.window, self.step)
        return {
            **asdict(self),
            "windows": f"{len(given)} frames in, {self.window} out, the shared frame counted once",
            "low_resolution": f"bicubic x1/{scale}, antialiased, rounded once to 8 bit",
            "measure": "Y of 8-bit RGB, peak 255, no border crop; mean over frames, then over clips",
            "identical_frames_psnr_db": PSNR_CAP_DB,
        }


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One counted frame of a clip."""

    index: int
    is_given: bool
    psnr_db: float
    """Infinite for a frame that is identical to the truth."""

    ssim: float


@dataclass
class ModelReport:
    """What one clip function reached, clip by clip."""

    name: str
    scale: int
    protocol: Protocol
    clips: dict[str, list[FrameScore]] = field(default_factory=dict)
    seconds: float = 0.0
    output_frames: int = 0
    """Frames that the model made in these seconds, counted or not."""

    @property
    def psnr_db(self) -> float:
        """The benchmark's one number: mean over frames, then over clips."""
        return self.to_json()["mean"]["psnr_db"]

    def to_json(self) -> dict[str, Any]:
        """Plain values: mean, clips, protocol, model. None stands where there is nothing to average."""
        clips = {name: _clip_scores(frames) for name, frames in self.clips.items()}
        rate = self.output_frames / self.seconds if self.seconds else None
        return {
            "mean": _mean_scores(list(clips.values())),
            "clips": clips,
            "protocol": self.protocol.to_json(self.scale),
            "model": {
                "name": self.name,
                "scale": self.scale,
                "seconds": self.seconds,
                "output_frames": self.output_frames,
                "frames_per_second": rate,
            },
        }


@dataclass(frozen=True)
class Report:
    """What every clip function reached on the same clips."""

    models: Mapping[str, ModelReport]

    def to_json(self) -> dict[str, Any]:
        """The object of the one model, or `{"models": {name: object}}` of several."""
        objects = {name: model.to_json() for name, model in self.models.items()}
        return next(iter(objects.values())) if len(objects) == 1 else {"models": objects}


def benchmark(
    clips: Iterable[Clip],
    functions: Mapping[str, ClipFunction],
    protocol: Protocol = Protocol(),
    progress: Callable[[str, str, float], None] | None = None,
) -> Report:
    """Measure every clip function on every clip. `progress` hears of (clip, model, share of this clip done).

    Raises:
        InputError: a clip without frames or with frames too small to measure, or no clip.
        ModelError: a model yields frames of another number or size, or values that are not finite.

    """
    reports = {name: ModelReport(name, function.scale, protocol) for name, function in functions.items()}
    for clip in clips:
        frames = list(clip.read())
        if not frames:
            raise InputError(f"{clip.name}: no frames in it")
        sources = {scale: _Sources(clip.name, frames, scale) for scale in {model.scale for model in reports.values()}}
        for name, function in functions.items():
            scores: list[FrameScore] = []
            cut = windows(len(frames), protocol.window, protocol.step, protocol.variant)
            for done, window in enumerate(cut, 1):
                scores += _measure(function, sources[function.scale], window, reports[name])
                if progress is not None:
                    progress(clip.name, name, done / len(cut))
            reports[name].clips[clip.name] = scores
    if not all(model.clips for model in reports.values()):
        raise InputError("no clips to measure on")
    return Report(reports)


class _Sources:
    """One clip at one scale: low-resolution frames made when they are first asked for, and the truth."""

    def __init__(self, name: str, frames: Sequence[UInt8[np.ndarray, "sh sw 3"]], scale: int) -> None:
        height, width = (side - side % scale for side in frames[0].shape[:2])
        if min(height, width) < max(11, scale):
            raise InputError(f"{name}: {width}x{height} frames are too small to measure; 11x11 is the least")
        self.name, self.scale, self.frames = name, scale, frames
        self._low: dict[int, Tensor] = {}

    def truth(self, index: int) -> Float[Tensor, "3 sh sw"]:
        """Frame `index` in [0, 1], cropped to a multiple of the scale."""
        frame = torch.from_numpy(np.ascontiguousarray(self.frames[index])).permute(2, 0, 1)
        return crop_to_multiple(frame, self.scale).double() / 255

    def low(self, index: int) -> Float[Tensor, "3 h w"]:
        """Frame `index` at low resolution."""
        if index not in self._low:
            self._low[index] = quantize(downsample(self.truth(index)[None], self.scale))[0].float()
        return self._low[index]


def _measure(function: ClipFunction, sources: _Sources, window: Window, report: ModelReport) -> Iterator[FrameScore]:
    low = [sources.low(window.start + place) for place in window.given]
    output, seconds = _run(function, low, window.times)
    report.seconds += seconds
    report.output_frames += window.size
    expected = (window.size, 3, *(sources.scale * side for side in low[0].shape[-2:]))
    if tuple(output.shape) != expected:
        raise ModelError(f"{report.name}: {tuple(output.shape)} came out where {expected} is due")
    for place in window.counted:
        if not output[place].isfinite().all():
            raise ModelError(f"{report.name}: frame {window.start + place} of {sources.name} is not finite")
        index = window.start + place
        made, truth = luma(output[place]), luma(sources.truth(index))
        yield FrameScore(index, place in window.given, psnr(made, truth).item(), ssim(made, truth).item())


def _run(
    function: ClipFunction, frames: Sequence[Float[Tensor, "3 h w"]], times: Sequence[Sequence[float]]
) -> tuple[Float[Tensor, "u 3 sh sw"], float]:
    """Frames out, on the CPU, and the seconds of the model."""
    # Not inference mode: tensors that an operation keeps for later would then be unfit for training.
    with torch.no_grad():
        started = time.perf_counter()
        states = [function.prepare(frame) for frame in frames]
        output: Tensor = function.run(states, times, function.context(states, times))
        if output.is_cuda:
            torch.cuda.synchronize(output.device)
        seconds = time.perf_counter() - started
        return output.float().cpu(), seconds


def _clip_scores(frames: Sequence[FrameScore]) -> dict[str, Any]:
    given = [frame for frame in frames if frame.is_given]
    between = [frame for frame in frames if not frame.is_given]
    return {
        **_frame_means(frames),
        "given": _frame_means(given),
        "interpolated": _frame_means(between),
        "frames": len(frames),
        "given_frames": len(given),
        "identical_frames": sum(frame.psnr_db == float("inf") for frame in frames),
    }


def _frame_means(frames: Sequence[FrameScore]) -> dict[str, float | None]:
    return {
        "psnr_db": _mean([min(frame.psnr_db, PSNR_CAP_DB) for frame in frames]),
        "ssim": _mean([frame.ssim for frame in frames]),
    }


def _mean_scores(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def over(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        return {key: _mean([row[key] for row in rows if row[key] is not None]) for key in ("psnr_db", "ssim")}

    return {
        **over(clips),
        "given": over([clip["given"] for clip in clips]),
        "interpolated": over([clip["interpolated"] for clip in clips]),
        **{key: sum(clip[key] for clip in clips) for key in ("frames", "given_frames", "identical_frames")},
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
